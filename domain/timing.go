package domain

import (
	"errors"
	"fmt"
	"time"
)

// Timing holds the durations that the rules depend on. The zero value is not
// useful; see [DefaultTiming].
type Timing struct {
	HeartbeatInterval   time.Duration // what workers are told
	MaxHeartbeatTimeout time.Duration // bound of three missed heartbeats
	Lease               time.Duration // how long a lease-capable worker may run unheard
	Drift               time.Duration // allowance for clocks that run apart during a lease
	ProbeInterval       time.Duration
	ProbeRetry          time.Duration // between probes after a first refusal
	ProbeFailures       int           // refusals in a row that mean crashed
	FailoverDelay       time.Duration // grace for a crashed worker to come back
	DisconnectDebounce  time.Duration // how long a DISCONNECTED may be a moment of a restart
	StartTimeout        time.Duration // a start not confirmed by then is asked for again
	StartAttempts       int           // on one worker, before another is tried
	RestartAttempts     int           // after an unwanted disconnect, before giving up
	RestartBackoff      time.Duration // before the first; doubles each time
	MaxBackoff          time.Duration
	StableAfter         time.Duration // connected for so long, earlier attempts are forgiven
	ExclusionPeriod     time.Duration // how long the worker that just failed a session is avoided
	QRLife              time.Duration
	MessageLife         time.Duration // a message of unknown outcome fails after it
	CanaryPeriod        time.Duration // how long a worker is watched after it joined or changed its version
}

// DefaultTiming returns the durations of the reference service.
func DefaultTiming() Timing {
	return Timing{
		HeartbeatInterval:   30 * time.Second,
		MaxHeartbeatTimeout: 90 * time.Second,
		Lease:               45 * time.Second,
		Drift:               time.Second,
		ProbeInterval:       5 * time.Second,
		ProbeRetry:          500 * time.Millisecond,
		ProbeFailures:       3,
		FailoverDelay:       5 * time.Second,
		DisconnectDebounce:  5 * time.Second,
		StartTimeout:        45 * time.Second,
		StartAttempts:       2,
		RestartAttempts:     5,
		RestartBackoff:      2 * time.Second,
		MaxBackoff:          time.Minute,
		StableAfter:         time.Minute,
		ExclusionPeriod:     time.Minute,
		QRLife:              time.Minute,
		MessageLife:         time.Hour,
		CanaryPeriod:        15 * time.Minute,
	}
}

// WithDefaults returns a copy in which every zero field has its default.
func (t Timing) WithDefaults() Timing {
	d := DefaultTiming()
	for i, field := range t.durations() {
		if *field.value == 0 {
			*field.value = *d.durations()[i].value
		}
	}
	for have, standard := range map[*int]int{
		&t.ProbeFailures: d.ProbeFailures, &t.StartAttempts: d.StartAttempts, &t.RestartAttempts: d.RestartAttempts,
	} {
		if *have == 0 {
			*have = standard
		}
	}
	return t
}

type duration struct {
	name  string
	value *time.Duration
}

func (t *Timing) durations() []duration {
	return []duration{
		{"HeartbeatInterval", &t.HeartbeatInterval}, {"MaxHeartbeatTimeout", &t.MaxHeartbeatTimeout}, {"Lease", &t.Lease},
		{"Drift", &t.Drift}, {"ProbeInterval", &t.ProbeInterval}, {"ProbeRetry", &t.ProbeRetry},
		{"FailoverDelay", &t.FailoverDelay}, {"DisconnectDebounce", &t.DisconnectDebounce}, {"StartTimeout", &t.StartTimeout},
		{"RestartBackoff", &t.RestartBackoff}, {"MaxBackoff", &t.MaxBackoff}, {"StableAfter", &t.StableAfter},
		{"ExclusionPeriod", &t.ExclusionPeriod}, {"QRLife", &t.QRLife}, {"MessageLife", &t.MessageLife}, {"CanaryPeriod", &t.CanaryPeriod},
	}
}

// Validate reports every duration or count that is negative, and a lease
// that a worker could not keep with its heartbeats.
func (t Timing) Validate() error {
	var errs []error
	for _, d := range t.durations() {
		if *d.value < 0 {
			errs = append(errs, fmt.Errorf("timing: %s must not be negative", d.name))
		}
	}
	if t.ProbeFailures < 0 || t.StartAttempts < 0 || t.RestartAttempts < 0 {
		errs = append(errs, errors.New("timing: ProbeFailures, StartAttempts and RestartAttempts must not be negative"))
	}
	if t.Lease <= t.HeartbeatInterval {
		errs = append(errs, fmt.Errorf("timing: Lease (%v) must be longer than HeartbeatInterval (%v)", t.Lease, t.HeartbeatInterval))
	}
	return errors.Join(errs...)
}

// Backoff gives the wait before an attempt, counted from 1.
func (t Timing) Backoff(attempt int) time.Duration {
	d := t.RestartBackoff
	for ; attempt > 1 && d < t.MaxBackoff; attempt-- {
		d *= 2
	}
	return min(d, t.MaxBackoff)
}
