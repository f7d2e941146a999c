package domain_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

// registered returns a worker that registered at noon.
func registered(caps ...domain.Capability) *domain.Worker {
	w := &domain.Worker{ID: "w1", CPU: -1, Memory: -1, CreatedAt: noon}
	w.Register(domain.Registration{WorkerID: "w1", Endpoint: "http://w1:8001", Capacity: 50, Capabilities: caps}, timing, noon)
	return w
}

func TestWorkerRegister_Registration_OnlineWithItsValues(t *testing.T) {
	w := &domain.Worker{ID: "w1", Used: 3, Draining: true}
	r := domain.Registration{
		WorkerID: "w1", Endpoint: "http://w1:8001", Capacity: 50, Description: "first", Version: "1.2.3", Environment: "TEST",
		Labels: map[string]string{"pool": "max"}, Capabilities: []domain.Capability{domain.CapLease},
	}
	events := w.Register(r, timing, noon)
	require.Equal(t, []domain.Event{{Type: domain.EventWorkerOnline, At: noon, WorkerID: "w1", Reason: "registered"}}, events)
	require.Equal(t, []any{"http://w1:8001", 50, 3, "first", "1.2.3", "TEST", timing.HeartbeatInterval},
		[]any{w.Endpoint, w.Capacity, w.Used, w.Description, w.Version, w.Environment, w.Interval})
	require.Equal(t, []time.Time{noon, noon, noon}, []time.Time{w.RegisteredAt, w.LastHeartbeat, w.UpdatedAt})
	require.Equal(t, domain.WorkerMaintenance, w.Status(), "an operator's drain outlives the process")
	require.True(t, w.Supports(domain.CapLease))
	require.False(t, w.Supports(domain.CapDedupe))
	r.Labels["pool"], r.Capabilities[0] = "basic", domain.CapDedupe
	require.Equal(t, []any{"max", true}, []any{w.Labels["pool"], w.Supports(domain.CapLease)}, "the worker shares nothing with the registration")

	// The worker registers again with another interval and without capabilities. The latest
	// registration counts.
	later := noon.Add(time.Minute)
	w.ReportedBreakdown = &domain.Breakdown{Total: 9}
	require.Empty(t, w.Register(domain.Registration{Endpoint: "http://w1:9001", Capacity: 2, Interval: time.Second}, timing, later))
	require.Equal(t, []any{"http://w1:9001", 2, time.Second, later}, []any{w.Endpoint, w.Capacity, w.Interval, w.RegisteredAt})
	require.Nil(t, w.ReportedBreakdown, "it belonged to the former process")
	require.False(t, w.Supports(domain.CapLease))
}

func TestWorkerMarkDown_Reason_GraceUntilReturn(t *testing.T) {
	back := map[string]func(w *domain.Worker, now time.Time) []domain.Event{
		"register": func(w *domain.Worker, now time.Time) []domain.Event {
			return w.Register(domain.Registration{Endpoint: w.Endpoint, Capacity: 50}, timing, now)
		},
		"heartbeat": func(w *domain.Worker, now time.Time) []domain.Event {
			return w.ApplyHeartbeat(domain.Heartbeat{}, timing, now)
		},
	}
	for why, grace := range map[domain.DownReason]time.Duration{
		domain.DownCrashed: timing.FailoverDelay, domain.DownUnregistered: timing.FailoverDelay, domain.DownHeartbeatTimeout: 0,
	} {
		for name, comeBack := range back {
			w := registered()
			at := noon.Add(time.Hour)
			events := w.MarkDown(why, timing, at)
			require.Equal(t, []domain.Event{{Type: domain.EventWorkerOffline, At: at, WorkerID: "w1", Reason: string(why)}}, events)
			require.Equal(t, []any{domain.WorkerOffline, why, at, at.Add(grace)}, []any{w.Status(), w.DownReason, w.DownAt, w.FailoverAt})

			require.Empty(t, w.MarkDown(domain.DownHeartbeatTimeout, timing, at.Add(time.Second)), "a worker is marked down only once")
			require.Equal(t, []any{why, at.Add(grace)}, []any{w.DownReason, w.FailoverAt})

			now := at.Add(2 * time.Second)
			require.Equal(t, []domain.EventType{domain.EventWorkerOnline}, types(comeBack(w, now)), name)
			require.Equal(t, []any{domain.WorkerOnline, domain.DownNone}, []any{w.Status(), w.DownReason})
			require.True(t, w.DownAt.IsZero() && w.FailoverAt.IsZero())
			require.Equal(t, []time.Time{now, now}, []time.Time{w.LastHeartbeat, w.UpdatedAt})
		}
	}
}

// ApplyHeartbeat adapts to the interval of a legacy worker. One early heartbeat does not make the
// worker look late.
func TestApplyHeartbeat_LegacyWorker_IntervalAdapts(t *testing.T) {
	quick := timing
	quick.HeartbeatInterval = 5 * time.Second
	legacy := &domain.Worker{ID: "w1"}
	legacy.Register(domain.Registration{Capacity: 1}, quick, noon)
	require.Equal(t, 30*time.Second, legacy.Interval)
	now := noon
	beat := func(gap time.Duration) {
		now = now.Add(gap)
		require.True(t, now.Before(legacy.HeartbeatDeadline(quick, legacy.LastHeartbeat)), "after %v", gap)
		legacy.ApplyHeartbeat(domain.Heartbeat{}, quick, now)
	}
	for _, gap := range []time.Duration{30, 30, 6, 30, 30, 1, 29, 45, 15, 30} {
		beat(gap * time.Second)
	}
	require.Equal(t, 30*time.Second, legacy.Interval)
	for range 4 {
		beat(6 * time.Second)
	}
	require.Equal(t, 6*time.Second, legacy.Interval, "that is its interval")

	modern := &domain.Worker{ID: "w2"}
	modern.Register(domain.Registration{Capacity: 1, Capabilities: []domain.Capability{domain.CapGeneration}}, quick, noon)
	modern.ApplyHeartbeat(domain.Heartbeat{}, quick, noon.Add(20*time.Second))
	require.Equal(t, quick.HeartbeatInterval, modern.Interval)

	slow := &domain.Worker{ID: "w3"}
	slow.Register(domain.Registration{Capacity: 1, Interval: time.Minute}, quick, noon)
	slow.ApplyHeartbeat(domain.Heartbeat{}, quick, noon.Add(time.Minute))
	slow.ApplyHeartbeat(domain.Heartbeat{}, quick, noon.Add(time.Hour))
	require.Equal(t, time.Minute, slow.Interval, "the registered interval")
}

func TestApplyHeartbeat_Values_OmittedOnesStay(t *testing.T) {
	nothing := domain.Heartbeat{CPU: -1, Memory: -1, MessageCount: -1}
	w := registered()
	require.Empty(t, w.ApplyHeartbeat(domain.Heartbeat{
		CPU: 12.5, Memory: 130, MessageCount: 7, Uptime: time.Hour, Capacity: 20, Version: "2", Environment: "PROD",
		Breakdown: &domain.Breakdown{Total: 1, Init: 1},
	}, timing, noon.Add(time.Minute)))
	want := []any{12.5, 100.0, int64(7), time.Hour, 20, "2", "PROD", domain.Breakdown{Total: 1, Init: 1}}
	got := func() []any {
		return []any{w.CPU, w.Memory, w.MessageCount, w.Uptime, w.Capacity, w.Version, w.Environment, *w.ReportedBreakdown}
	}
	require.Equal(t, want, got())
	require.Equal(t, noon, w.UpdatedAt, "a heartbeat alone is no change of the worker")

	w.ApplyHeartbeat(nothing, timing, noon.Add(time.Second))
	require.Equal(t, want, got(), "values that a heartbeat omits stay")
	require.Equal(t, noon.Add(time.Minute), w.LastHeartbeat, "an overtaken heartbeat does not outcome the time back")

	w.Capacity = 10 // set by an administrator
	w.ApplyHeartbeat(domain.Heartbeat{CPU: -1, Memory: -1, MessageCount: -1, Capacity: 20}, timing, noon.Add(time.Second))
	require.Equal(t, 10, w.Capacity, "an administrator's value holds while the worker repeats its own")
	w.ApplyHeartbeat(domain.Heartbeat{CPU: -1, Memory: -1, MessageCount: -1, Capacity: 21}, timing, noon.Add(time.Second))
	require.Equal(t, 21, w.Capacity)
	w.Capacity = 20

	w.ApplyHeartbeat(domain.Heartbeat{CPU: math.NaN(), Memory: math.Inf(1), MessageCount: 0, Capacity: -5}, timing, noon.Add(time.Minute))
	require.Equal(t, []any{12.5, 100.0, int64(0), 20}, []any{w.CPU, w.Memory, w.MessageCount, w.Capacity})
}

func TestHeartbeatDeadline_LeaseOrInterval_Limit(t *testing.T) {
	for name, c := range map[string]struct {
		w     *domain.Worker
		every time.Duration // 0: as registered
		want  time.Duration // after the heartbeat
	}{
		"three heartbeats":                  {registered(), 20 * time.Second, time.Minute},
		"at most 90 s":                      {registered(), time.Minute, 90 * time.Second},
		"the interval of the control plane": {registered(), 0, 90 * time.Second},
		"lease and drift":                   {registered(domain.CapLease), 0, 46 * time.Second},
		"lease, short interval":             {registered(domain.CapLease), time.Second, 46 * time.Second},
	} {
		if c.every > 0 {
			c.w.Interval = c.every
		}
		for _, heardAt := range []time.Time{noon, noon.Add(time.Hour), noon.Add(-time.Hour)} { // the row says noon
			require.Equal(t, heardAt.Add(c.want), c.w.HeartbeatDeadline(timing, heardAt), name)
		}
	}
}

func TestProbesNote_Results_CrashedAfterRefusals(t *testing.T) {
	never := time.Time{}
	step := func(p *domain.Probes, r domain.ProbeResult, lastHeartbeat, now time.Time) bool {
		return p.Note(r, map[domain.ProbeResult]string{domain.ProbeRefused: "refused", domain.ProbeTimedOut: "no answer"}[r], lastHeartbeat, timing, now)
	}

	t.Run("three refusals", func(t *testing.T) {
		var p domain.Probes
		now := noon
		for i := range timing.ProbeFailures {
			crashed := step(&p, domain.ProbeRefused, noon.Add(-time.Second), now)
			require.Equal(t, i == timing.ProbeFailures-1, crashed)
			require.Equal(t, []any{i + 1, noon, now.Add(timing.ProbeRetry), "refused"}, []any{p.Refusals, p.RefusedAt, p.NextAt, p.Warning})
			now = p.NextAt
		}
		require.True(t, step(&p, domain.ProbeRefused, never, now), "a fourth refusal")
	})

	t.Run("heartbeat at the very moment", func(t *testing.T) {
		p := domain.Probes{Refusals: 2, RefusedAt: noon}
		require.True(t, step(&p, domain.ProbeRefused, noon, noon.Add(time.Second)))
	})

	t.Run("heartbeats arrive", func(t *testing.T) {
		var p domain.Probes
		require.False(t, step(&p, domain.ProbeRefused, never, noon))
		for i := range 10 {
			now := noon.Add(time.Duration(i+1) * time.Second)
			require.False(t, step(&p, domain.ProbeRefused, noon.Add(time.Millisecond), now), "only a warning")
			require.Equal(t, []any{"refused", now.Add(timing.ProbeInterval)}, []any{p.Warning, p.NextAt}, "probes stay slow")
		}
	})

	for _, r := range []domain.ProbeResult{domain.ProbeAnswered, domain.ProbeTimedOut} {
		p := domain.Probes{Refusals: 2, RefusedAt: noon.Add(-time.Second)}
		require.False(t, step(&p, r, never, noon))
		require.Equal(t, []any{0, noon.Add(timing.ProbeInterval), r == domain.ProbeTimedOut}, []any{p.Refusals, p.NextAt, p.Warning != ""})
		require.False(t, step(&p, domain.ProbeRefused, never, noon.Add(time.Second)), "the count starts again")
		require.Equal(t, []any{1, noon.Add(time.Second)}, []any{p.Refusals, p.RefusedAt})
	}

	t.Run("short interval", func(t *testing.T) {
		var p domain.Probes
		quick := timing
		quick.ProbeInterval = 100 * time.Millisecond
		p.Note(domain.ProbeRefused, "refused", never, quick, noon)
		require.Equal(t, noon.Add(quick.ProbeInterval), p.NextAt, "a retry does not slow things down")
	})
}

func TestBreakdown_AddAndRemove_Counts(t *testing.T) {
	var b domain.Breakdown
	for i, s := range append(statuses, "SLEEPING") {
		for range i + 1 {
			b.Add(s)
		}
	}
	require.Equal(t, domain.Breakdown{Total: 28, Init: 1, QRRequired: 2, Connected: 3, Reconnecting: 4, Disconnected: 5, Error: 6}, b)
	for _, s := range statuses {
		b.Remove(s)
	}
	require.Equal(t, domain.Breakdown{Total: 22, QRRequired: 1, Connected: 2, Reconnecting: 3, Disconnected: 4, Error: 5}, b)
}

func TestWorkerClone_Changed_OriginalUnchanged(t *testing.T) {
	w := registered(domain.CapLease)
	w.Labels, w.ReportedBreakdown = map[string]string{"pool": "max"}, &domain.Breakdown{Total: 1}
	c := w.Clone()
	require.Equal(t, w, c)
	c.Labels["pool"], c.Capabilities[0], c.ReportedBreakdown.Total = "basic", domain.CapDedupe, 2
	require.Equal(t, []any{"max", domain.CapLease, 1}, []any{w.Labels["pool"], w.Capabilities[0], w.ReportedBreakdown.Total})
	require.Equal(t, &domain.Worker{}, (&domain.Worker{}).Clone())
}

func TestWorkerDrain_SessionsLeave_Drained(t *testing.T) {
	w := registered()
	w.Used = 1
	at := noon.Add(time.Hour)
	require.Equal(t, []domain.Event{{Type: domain.EventWorkerDraining, At: at, WorkerID: "w1"}}, w.Drain("d1", at))
	require.Equal(t, []any{domain.WorkerMaintenance, "d1", at}, []any{w.Status(), w.DrainID, w.UpdatedAt})
	require.Empty(t, w.Drain("d2", at))
	require.Equal(t, "d1", w.DrainID, "the first drain continues")
	require.Empty(t, w.Drained(at))
	w.Used = 0
	require.Equal(t, []domain.Event{{Type: domain.EventWorkerDrained, At: at, WorkerID: "w1"}}, w.Drained(at))
	w.Activate(at)
	require.Equal(t, []any{domain.WorkerOnline, ""}, []any{w.Status(), w.DrainID})
	require.Empty(t, w.Drained(at))
}
