package domain

import (
	"errors"
	"fmt"
	"time"
)

// Timing holds the durations of the rules. The zero value is not useful; see [DefaultTiming].
type Timing struct {
	HeartbeatInterval   time.Duration // the interval that workers are asked to keep
	MaxHeartbeatTimeout time.Duration // limit of three missed heartbeats
	Lease               time.Duration // how long a worker with a lease may run without an accepted heartbeat
	Drift               time.Duration // allowance for clocks that run at different rates during a lease
	ProbeInterval       time.Duration
	ProbeRetry          time.Duration // between probes after a first refused connection
	ProbeFailures       int           // consecutive refused connections that mean crashed
	FailoverDelay       time.Duration // grace for a crashed worker to return
	HomeWait            time.Duration // how long a linked session waits for its home before it takes a worker without its credentials
	DisconnectDebounce  time.Duration // how long a DISCONNECTED may be part of a restart
	StartTimeout        time.Duration // a start that is not confirmed by then is sent again
	StartAttempts       int           // on one worker, before another is tried
	RestartAttempts     int           // after unwanted disconnects, before the session fails
	RestartBackoff      time.Duration // before the first restart; doubles each time
	MaxBackoff          time.Duration
	StableAfter         time.Duration // a connection of this length resets the count of restarts
	ExclusionPeriod     time.Duration // how long placement avoids a worker on which the session failed
	QRLife              time.Duration
	MessageLife         time.Duration // a message of unknown outcome fails after this time
	CanaryPeriod        time.Duration // how long a worker is a canary
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
		HomeWait:            10 * time.Minute,
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

// A duration is one field of Timing with its name.
type duration struct {
	name  string
	value *time.Duration
}

// durations returns the duration fields of t.
func (t *Timing) durations() []duration {
	return []duration{
		{"HeartbeatInterval", &t.HeartbeatInterval}, {"MaxHeartbeatTimeout", &t.MaxHeartbeatTimeout}, {"Lease", &t.Lease},
		{"Drift", &t.Drift}, {"ProbeInterval", &t.ProbeInterval}, {"ProbeRetry", &t.ProbeRetry},
		{"FailoverDelay", &t.FailoverDelay}, {"HomeWait", &t.HomeWait},
		{"DisconnectDebounce", &t.DisconnectDebounce}, {"StartTimeout", &t.StartTimeout},
		{"RestartBackoff", &t.RestartBackoff}, {"MaxBackoff", &t.MaxBackoff}, {"StableAfter", &t.StableAfter},
		{"ExclusionPeriod", &t.ExclusionPeriod}, {"QRLife", &t.QRLife}, {"MessageLife", &t.MessageLife}, {"CanaryPeriod", &t.CanaryPeriod},
	}
}

// Validate reports every negative duration or count, and a lease that is too short for the heartbeat
// interval.
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

// Backoff returns the wait before an attempt. Attempts count from 1.
func (t Timing) Backoff(attempt int) time.Duration {
	d := t.RestartBackoff
	for ; attempt > 1 && d < t.MaxBackoff; attempt-- {
		d *= 2
	}
	return min(d, t.MaxBackoff)
}
