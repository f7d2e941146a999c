package domain_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

var online = &domain.Worker{ID: "w1", Online: true}

// requireDebounced checks that the status has changed and the assignment has not.
func requireDebounced(t *testing.T, s *fixture, until time.Time) {
	t.Helper()
	require.Equal(t, []any{domain.Up, domain.Disconnected, "w1", int64(1)}, []any{s.Intent, s.Status, s.WorkerID, s.Generation})
	require.Equal(t, []time.Time{until, until}, []time.Time{s.DebounceUntil, s.DueAt})
	step, at := s.next(online)
	require.Equal(t, domain.StepNone, step)
	require.Equal(t, until, at)
}

// A worker reports a restart as DISCONNECTED and RECONNECTING, about 1 ms apart and in either order,
// and then as CONNECTED. The session stays assigned and is CONNECTED at the end. This holds for every
// cause of the restart, and with or without timestamps.
func TestSessionApply_RestartReports_StaysAssigned(t *testing.T) {
	for _, asked := range []string{"by itself", "during the call", "after the call"} {
		for _, stamped := range []bool{false, true} {
			for _, swapped := range []bool{false, true} {
				t.Run(fmt.Sprint(asked, " stamped ", stamped, " swapped ", swapped), func(t *testing.T) {
					s := at(t, "CONNECTED").after(time.Minute)
					reports := []domain.Report{{Status: domain.Disconnected}, {Status: domain.Reconnecting}, {Status: domain.Connected}}
					for i := range reports {
						if stamped {
							reports[i].At = s.now.Add(time.Duration(i) * time.Millisecond)
						}
					}
					if swapped {
						reports[0], reports[1] = reports[1], reports[0]
					}
					if asked != "by itself" {
						require.NoError(t, s.Restart(s.now))
						require.Equal(t, domain.CommandRestart, s.Command)
					}
					if asked == "after the call" {
						s.CommandAccepted(timing, s.now)
						require.Equal(t, domain.CommandStart, s.Command)
					}
					for _, r := range reports[:2] {
						s.apply(r)
						s.after(time.Millisecond)
						require.True(t, s.Intent == domain.Up && s.WorkerID == "w1" && s.Generation == 1)
						step, _ := s.next(online)
						require.Contains(t, []domain.Step{domain.StepNone, domain.StepCall}, step)
					}
					if asked == "during the call" {
						s.CommandAccepted(timing, s.now)
					}
					s.after(4 * time.Second)
					step, _ := s.next(online)
					require.Equal(t, domain.StepNone, step)
					outcome, events := s.apply(reports[2])
					require.Equal(t, domain.Applied, outcome)
					require.Equal(t, []domain.EventType{domain.EventSessionConnected}, events)
					require.True(t, s.Confirmed && s.DebounceUntil.IsZero() && s.Command == domain.CommandNone)
					require.Equal(t, []any{"w1", int64(1), 0}, []any{s.WorkerID, s.Generation, s.Restarts})
					s.after(time.Hour)
					step, at := s.next(online)
					require.Equal(t, domain.StepNone, step)
					require.Zero(t, at)
				})
			}
		}
	}
}

func TestDebounce_SessionReturns_Ends(t *testing.T) {
	for _, status := range []domain.Status{domain.Init, domain.QRRequired, domain.Reconnecting, domain.Connected} {
		s := at(t, "debounced")
		requireDebounced(t, s, s.now.Add(timing.DisconnectDebounce))
		s.after(timing.DisconnectDebounce - 1).report(status)
		require.True(t, s.DebounceUntil.IsZero() && s.IsAssigned())
		before := *s.Session
		require.Empty(t, s.EndDebounce(timing, s.now))
		require.Equal(t, before, *s.Session, "there is no debounce to end")
	}
}

// A session that is back but not confirmed gets the time of a start.
func TestDebounce_ReturnsUnconfirmed_StartTimeoutBegins(t *testing.T) {
	for _, status := range []domain.Status{domain.Init, domain.Reconnecting} {
		s := at(t, "INIT").report(domain.Disconnected).after(time.Second).report(status)
		step, at := s.next(online)
		require.Equal(t, domain.StepNone, step)
		require.Equal(t, s.now.Add(timing.StartTimeout), at)
		step, _ = s.after(timing.StartTimeout).next(online)
		require.Equal(t, domain.StepCall, step)
	}
}

// A confirming report keeps DueAt: the reconciler still looks at a session whose worker drains or is
// offline.
func TestSessionApply_ConfirmedOnDrainingOrOfflineWorker_StaysDue(t *testing.T) {
	for name, worker := range map[string]*domain.Worker{
		"draining": {ID: "w1", Online: true, Draining: true},
		"offline":  {ID: "w1", FailoverAt: noon.Add(timing.FailoverDelay)},
	} {
		for _, status := range []domain.Status{domain.QRRequired, domain.Connected} {
			s := at(t, "INIT")
			s.DueAt = noon.Add(time.Second)
			s.report(status)
			require.Equal(t, noon.Add(time.Second), s.DueAt, name)
			step, at := s.next(worker)
			require.True(t, step == domain.StepStopForMove || at.Equal(worker.FailoverAt), name)
		}
	}
}

func TestDebounce_PhoneLoggedOut_GoesDown(t *testing.T) {
	s := at(t, "CONNECTED").after(time.Hour)
	outcome, events := s.apply(domain.Report{Status: domain.Disconnected, LoggedOut: true, Reason: "logged out on the phone"})
	require.Equal(t, domain.Applied, outcome)
	require.Equal(t, []domain.EventType{domain.EventSessionDisconnected}, events)
	require.Empty(t, s.PhoneNumber+s.DisplayName+s.CredentialsWorkerID)
	requireDebounced(t, s, s.now.Add(timing.DisconnectDebounce))

	s.after(timing.DisconnectDebounce)
	step, _ := s.next(online)
	require.Equal(t, domain.StepEndDebounce, step)
	require.Empty(t, s.EndDebounce(timing, s.now), "the event was raised before")
	requireAtRest(t, s, domain.Disconnected)

	// A session whose phone logged out does not start elsewhere when its worker is lost during the
	// debounce.
	s = at(t, "CONNECTED")
	s.apply(domain.Report{Status: domain.Disconnected, LoggedOut: true})
	step, at := s.next(nil)
	require.Equal(t, domain.StepNone, step)
	require.Equal(t, s.DebounceUntil, at)
	step, _ = s.after(timing.DisconnectDebounce).next(nil)
	require.Equal(t, domain.StepEndDebounce, step)
}

// requireAtRest checks that the slot is free and no step is left.
func requireAtRest(t *testing.T, s *fixture, status domain.Status) {
	t.Helper()
	require.Equal(t, []any{domain.Down, status, "", domain.CommandNone}, []any{s.Intent, s.Status, s.WorkerID, s.Command})
	require.Zero(t, s.DueAt)
	step, at := s.next(nil)
	require.Equal(t, domain.StepNone, step)
	require.Zero(t, at)
}

func TestDebounce_NeverLinked_GoesDown(t *testing.T) {
	for name, lead := range map[string]func(s *fixture){
		"first link":            func(s *fixture) { s.report(domain.QRRequired) },
		"no QR at all":          func(*fixture) {},
		"credentials lost":      func(s *fixture) { s.report(domain.Connected).report(domain.Reconnecting).report(domain.QRRequired) },
		"restarted when linked": func(s *fixture) { s.report(domain.Connected); _ = s.Restart(s.now); s.report(domain.QRRequired) },
	} {
		t.Run(name, func(t *testing.T) {
			s := starting(t)
			lead(s)
			s.apply(domain.Report{Status: domain.Disconnected, Reason: "QR attempts used up"})
			requireDebounced(t, s, s.now.Add(timing.DisconnectDebounce))
			require.Empty(t, s.after(timing.DisconnectDebounce).EndDebounce(timing, s.now))
			requireAtRest(t, s, domain.Disconnected)
		})
	}
}

// WhatsApp closes the connection after a scan. Some workers report only the disconnect.
func TestScan_DisconnectWithoutReason_RestartsAtOnceAndOnlyOnce(t *testing.T) {
	s := at(t, "QR_REQUIRED")
	s.report(domain.Disconnected)
	require.Equal(t, []any{domain.Up, domain.Init, domain.CommandRestart, "w1"}, []any{s.Intent, s.Status, s.Command, s.WorkerID})
	step, _ := s.next(online)
	require.Equal(t, domain.StepCall, step)
	s.CommandAccepted(timing, s.now)
	s.report(domain.QRRequired) // nobody had scanned

	s.report(domain.Disconnected)
	requireDebounced(t, s, s.now.Add(timing.DisconnectDebounce))
	s.after(timing.DisconnectDebounce).EndDebounce(timing, s.now)
	requireAtRest(t, s, domain.Disconnected)
	require.NoError(t, s.Connect("", s.now))
	s.Assign("w1", s.now)
	s.report(domain.QRRequired).report(domain.Disconnected)
	require.Equal(t, domain.CommandRestart, s.Command, "a new connect, a new scan")
}

func TestScan_ReasonNamesTheRestart_RestartsAtOnceAndOnlyOnce(t *testing.T) {
	for _, r := range []domain.Report{
		{Reason: "restart required"}, {Reason: "515"}, {Reason: "Stream Errored (restart required)"}, {Reason: "restartRequired"},
		{Error: "stream:error code=515"}, {Reason: "RESTART_REQUIRED", Error: "Stream Errored (restart required)"},
	} {
		t.Run(r.Reason+r.Error, func(t *testing.T) {
			s := at(t, "QR_REQUIRED")
			r.Status = domain.Disconnected
			s.apply(r)
			require.Equal(t, []any{domain.Init, domain.CommandRestart, "w1"}, []any{s.Status, s.Command, s.WorkerID})
			s.CommandAccepted(timing, s.now)
			s.report(domain.QRRequired)
			s.apply(r)
			requireDebounced(t, s, s.now.Add(timing.DisconnectDebounce))
		})
	}
}

func TestScan_DisconnectWithReason_IsADisconnect(t *testing.T) {
	for name, r := range map[string]domain.Report{
		"reason": {Reason: "QR attempts used up"}, "error": {Error: "timed out"},
		"a number": {Reason: "closed after 5150 ms"}, "an error besides": {Reason: "515", Error: "timed out"}, "logged out": {LoggedOut: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := at(t, "QR_REQUIRED")
			r.Status = domain.Disconnected
			s.apply(r)
			requireDebounced(t, s, s.now.Add(timing.DisconnectDebounce))
		})
	}
}

// A restart that the scan caused reports DISCONNECTED once more before it connects.
func TestScan_RestartDisconnectsFirst_ConnectsAllTheSame(t *testing.T) {
	s := at(t, "QR_REQUIRED")
	s.report(domain.Disconnected).report(domain.Disconnected).report(domain.Connected)
	require.Equal(t, []any{domain.Connected, domain.CommandNone, false}, []any{s.Status, s.Command, s.ScanRestarted})
}

// A session that was connected starts again on its worker with growing waits. It fails after five
// restarts in a row.
func TestEndDebounce_UnwantedDisconnects_BackoffThenError(t *testing.T) {
	s := at(t, "CONNECTED")
	for i, wait := range []time.Duration{2, 4, 8, 16, 32} {
		s.report(domain.Disconnected).after(timing.DisconnectDebounce)
		require.Empty(t, s.EndDebounce(timing, s.now))
		require.Equal(t, []any{domain.Up, domain.Init, "w1", int64(1), domain.CommandStart},
			[]any{s.Intent, s.Status, s.WorkerID, s.Generation, s.Command})
		require.Equal(t, i+1, s.Restarts)
		step, at := s.next(online)
		require.Equal(t, domain.StepNone, step)
		require.Equal(t, s.now.Add(wait*time.Second), at)
		outcome, _ := s.apply(domain.Report{Status: domain.Disconnected, Snapshot: true})
		require.Equal(t, domain.Stale, outcome, "the start is not sent yet")
		s.after(wait * time.Second)
		step, _ = s.next(online)
		require.Equal(t, domain.StepCall, step)
		s.CommandAccepted(timing, s.now)
		s.report(domain.Connected)
	}
	s.report(domain.Disconnected).after(timing.DisconnectDebounce)
	events := s.EndDebounce(timing, s.now)
	require.Equal(t, []domain.EventType{domain.EventSessionError}, types(events))
	require.Equal(t, "w1", events[0].WorkerID, "the former worker")
	require.NotEmpty(t, s.LastError)
	requireAtRest(t, s, domain.Errored)

	require.NoError(t, s.Connect("", s.now))
	require.Zero(t, s.Restarts)
	require.Empty(t, s.LastError)
}

func TestEndDebounce_StableConnection_ResetsRestarts(t *testing.T) {
	for name, c := range map[string]struct {
		held time.Duration
		end  func(s *fixture)
		want int
	}{
		"stable":                 {timing.StableAfter, func(s *fixture) { s.report(domain.Disconnected) }, 1},
		"stable, link lost":      {timing.StableAfter, func(s *fixture) { s.report(domain.Reconnecting).report(domain.Disconnected) }, 1},
		"not quite":              {timing.StableAfter - 1, func(s *fixture) { s.report(domain.Disconnected) }, 4},
		"not quite, link lost":   {timing.StableAfter - 1, func(s *fixture) { s.report(domain.Reconnecting).after(time.Hour).report(domain.Disconnected) }, 4},
		"the user has restarted": {0, func(s *fixture) { _ = s.Restart(s.now); s.report(domain.Connected).report(domain.Disconnected) }, 1},
	} {
		s := at(t, "CONNECTED")
		s.Restarts = 3
		c.end(s.after(c.held))
		s.after(timing.DisconnectDebounce).EndDebounce(timing, s.now)
		require.Equal(t, c.want, s.Restarts, name)
	}
}

// The response to a call does not postpone the end of a debounce that began during the call.
func TestDebounce_CallReturns_DeadlineUnchanged(t *testing.T) {
	s := at(t, "CONNECTED")
	s.UnassignForMove(domain.EventSessionFailedOver, s.now)
	s.Assign("w1", s.now)
	s.report(domain.Disconnected)
	until := s.now.Add(timing.DisconnectDebounce)
	s.CommandAccepted(timing, s.after(time.Second).now)
	require.Equal(t, until, s.DueAt)
	s.CommandOutcomeUnknown(timing, s.now)
	_, at := s.next(online)
	require.Equal(t, until, at)
}

// The restart of a session without a link may take longer, because the worker makes a first QR. A
// DISCONNECTED report in between does not end the session.
func TestDebounce_RestartBeforeFirstScan_WaitsLonger(t *testing.T) {
	s := at(t, "QR_REQUIRED")
	require.NoError(t, s.Restart(s.now))
	outcome, _ := s.apply(domain.Report{Status: domain.Reconnecting})
	require.Equal(t, domain.Stale, outcome)
	s.report(domain.Disconnected)
	until := s.now.Add(timing.StartTimeout)
	require.Equal(t, until, s.DebounceUntil)
	s.CommandAccepted(timing, s.now)
	step, _ := s.after(10 * time.Second).next(online)
	require.Equal(t, domain.StepNone, step)
	s.report(domain.QRRequired)
	require.True(t, s.Confirmed && s.Intent == domain.Up)

	// A session that logs out gets the usual debounce.
	s = at(t, "QR_REQUIRED")
	require.NoError(t, s.Restart(s.now))
	s.apply(domain.Report{Status: domain.Disconnected, LoggedOut: true})
	require.Equal(t, s.now.Add(timing.DisconnectDebounce), s.DebounceUntil)
}

func TestDebounce_UserActs_Ends(t *testing.T) {
	s := at(t, "debounced").after(time.Second)
	stopDue, events := s.Disconnect(s.now)
	require.True(t, stopDue)
	require.Empty(t, events, "the status was DISCONNECTED before")
	step, _ := s.next(online)
	require.Equal(t, domain.StepCall, step)
	s.StopConfirmed(s.now)
	requireAtRest(t, s, domain.Disconnected)

	s = at(t, "debounced").after(time.Second)
	require.NoError(t, s.Connect("", s.now))
	require.Equal(t, []any{"w1", int64(1), domain.CommandStart, 0}, []any{s.WorkerID, s.Generation, s.Command, s.Restarts})
}
