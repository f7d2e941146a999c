package domain

import "time"

// Timing holds the durations that the rules depend on. The zero value is not
// useful; see [DefaultTiming].
type Timing struct {
	HeartbeatInterval time.Duration // what workers are told
	MaxStale          time.Duration // bound of three missed heartbeats
	Lease             time.Duration // how long a lease-capable worker may run unheard
	Drift             time.Duration // allowance for clocks that run apart during a lease
	ProbeInterval     time.Duration
	ProbeRetry        time.Duration // between probes after a first refusal
	ProbeFailures     int           // refusals in a row that mean crashed
	FailoverDelay     time.Duration // grace for a crashed worker to come back
	Settle            time.Duration // how long a DISCONNECTED may be a moment of a restart
	StartTimeout      time.Duration // a start not confirmed by then is asked for again
	StartTries        int           // on one worker, before another is tried
	RestartTries      int           // after an unwanted disconnect, before giving up
	RestartBackoff    time.Duration // before the first; doubles each time
	MaxBackoff        time.Duration
	Stable            time.Duration // connected for so long, earlier tries are forgiven
	Avoid             time.Duration // how long the worker that just failed a session is avoided
	QRLife            time.Duration
	MessageLife       time.Duration // a message of unknown outcome fails after it
}

// DefaultTiming returns the durations of the reference service.
func DefaultTiming() Timing {
	return Timing{
		HeartbeatInterval: 30 * time.Second,
		MaxStale:          90 * time.Second,
		Lease:             45 * time.Second,
		Drift:             time.Second,
		ProbeInterval:     5 * time.Second,
		ProbeRetry:        500 * time.Millisecond,
		ProbeFailures:     3,
		FailoverDelay:     5 * time.Second,
		Settle:            5 * time.Second,
		StartTimeout:      45 * time.Second,
		StartTries:        2,
		RestartTries:      5,
		RestartBackoff:    2 * time.Second,
		MaxBackoff:        time.Minute,
		Stable:            time.Minute,
		Avoid:             time.Minute,
		QRLife:            time.Minute,
		MessageLife:       time.Hour,
	}
}

// Backoff gives the wait before a try, counted from 1.
func (t Timing) Backoff(try int) time.Duration {
	d := t.RestartBackoff
	for ; try > 1 && d < t.MaxBackoff; try-- {
		d *= 2
	}
	return min(d, t.MaxBackoff)
}
