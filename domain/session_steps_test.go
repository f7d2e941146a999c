package domain_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestNewSession_Created_Down(t *testing.T) {
	s := newFixture(t)
	require.Equal(t, []any{domain.Down, domain.Disconnected, int64(0), "name", "about"},
		[]any{s.Intent, s.Status, s.Generation, s.Name, s.Description})
	require.Equal(t, []time.Time{noon, noon, noon}, []time.Time{s.StatusAt, s.CreatedAt, s.UpdatedAt})
	requireAtRest(t, s, domain.Disconnected)
}

func TestAssign_Unassigned_NewGenerationAndEvent(t *testing.T) {
	s := newFixture(t)
	require.NoError(t, s.Connect("", s.now))
	s.after(time.Second)
	events := s.Assign("w1", s.now)
	require.Equal(t, []domain.Event{{
		Type: domain.EventSessionPlaced, At: s.now, UserID: "u1", SessionID: "s1", WorkerID: "w1", Generation: 1, Status: domain.Init,
		Session: events[0].Session,
	}}, events)
	require.Equal(t, []any{"w1", int64(1), domain.Init, domain.CommandStart, false}, []any{s.WorkerID, s.Generation, s.Status, s.Command, s.Confirmed})
	require.Equal(t, []time.Time{s.now, s.now}, []time.Time{s.AssignedAt, s.DueAt})

	for state, want := range map[string]domain.Status{
		"INIT": domain.Init, "QR_REQUIRED": domain.Init, "CONNECTED": domain.Reconnecting, "RECONNECTING": domain.Reconnecting, "debounced": domain.Reconnecting,
	} {
		s := at(t, state).after(time.Second)
		s.UnassignForMove(domain.EventSessionFailedOver, s.now)
		require.Equal(t, []any{"", want, int64(1), "w1", s.now}, []any{s.WorkerID, s.Status, s.Generation, s.PreviousWorkerID, s.DueAt}, state)
		events := s.Assign("w2", s.now)
		require.Equal(t, []domain.Event{{
			Type: domain.EventSessionFailedOver, At: s.now, UserID: "u1", SessionID: "s1", WorkerID: "w2", FromWorker: "w1",
			Generation: 2, Status: want, Session: events[0].Session,
		}}, events)
		require.Empty(t, s.PreviousWorkerID+string(s.PlacementEvent))
		require.True(t, s.DebounceUntil.IsZero())
	}
}

// A moved session that requests a QR again has the reason in its event.
func TestSessionApply_MovedSessionShowsQR_ReasonInEvent(t *testing.T) {
	s := at(t, "CONNECTED")
	s.UnassignForMove(domain.EventSessionFailedOver, s.now)
	s.Assign("w2", s.now)
	_, events := s.Apply(domain.Report{Status: domain.QRRequired, Reason: "qr"}, timing, s.now)
	require.Len(t, events, 2)
	require.Contains(t, events[0].Reason, "does not have the credentials; scan again")
	require.Equal(t, []any{domain.EventSessionNeedsScan, "w2", "w1"}, []any{events[1].Type, events[1].WorkerID, events[1].FromWorker})
	require.Equal(t, []string{"6281234567890", "w1"}, []string{s.PhoneNumber, s.CredentialsWorkerID}, "number and home are kept")
	require.True(t, s.ShouldReturnHome())
	s.report(domain.Connected)
	require.Equal(t, "w2", s.CredentialsWorkerID)
}

// A QR on the home means that the credentials are gone.
func TestSessionApply_HomeShowsQR_Unlinked(t *testing.T) {
	s := at(t, "CONNECTED")
	s.report(domain.Reconnecting)
	_, events := s.Apply(domain.Report{Status: domain.QRRequired, Reason: "qr"}, timing, s.now)
	require.Len(t, events, 1)
	require.Equal(t, "credentials are gone; scan again", events[0].Reason)
	require.Empty(t, s.PhoneNumber+s.CredentialsWorkerID)
}

func TestRequestStopForMove_RunningSession_StoppedThenPlaced(t *testing.T) {
	for state, want := range map[string]domain.Status{
		"INIT": domain.Init, "QR_REQUIRED": domain.QRRequired, "CONNECTED": domain.Reconnecting, "RECONNECTING": domain.Reconnecting,
	} {
		s := at(t, state).after(time.Second)
		s.RequestStopForMove(s.now)
		require.Equal(t, []any{domain.Up, want, "w1", domain.CommandMove}, []any{s.Intent, s.Status, s.WorkerID, s.Command})
		step, _ := s.next(online)
		require.Equal(t, domain.StepCall, step)
		before := *s.Session
		for _, status := range statuses {
			outcome, events := s.apply(domain.Report{Status: status, WorkerID: "w1", LoggedOut: true})
			require.Equal(t, domain.Stale, outcome, "a stop is under way")
			require.Empty(t, events)
		}
		require.Equal(t, before, *s.Session)

		s.CommandOutcomeUnknown(timing, s.now)
		require.Equal(t, domain.CommandMove, s.Command)
		s.StopConfirmed(s.now)
		require.Equal(t, []any{"", "w1", domain.EventSessionMigrated, s.now}, []any{s.WorkerID, s.PreviousWorkerID, s.PlacementEvent, s.DueAt})
		require.Equal(t, want == domain.Reconnecting, s.Status == domain.Reconnecting)
		events := s.Assign("w2", s.now)
		require.Equal(t, []domain.EventType{domain.EventSessionMigrated}, types(events))
		require.Equal(t, "w1", events[0].FromWorker)
	}

	t.Run("the user stops it on the way", func(t *testing.T) {
		s := at(t, "CONNECTED")
		s.RequestStopForMove(s.now)
		s.Disconnect(s.now)
		require.Equal(t, domain.CommandDisconnect, s.Command)
		s.StopConfirmed(s.now)
		requireAtRest(t, s, domain.Disconnected)

		s = at(t, "CONNECTED")
		s.RequestStopForMove(s.now)
		s.StopConfirmed(s.now)
		_, events := s.Disconnect(s.now)
		require.Equal(t, []domain.EventType{domain.EventSessionDisconnected}, types(events))
		requireAtRest(t, s, domain.Disconnected)
		require.NoError(t, s.Connect("", s.now))
		require.Equal(t, []domain.EventType{domain.EventSessionPlaced}, types(s.Assign("w2", s.now)), "a new start is no migration")
	})
}

// A late confirmation of a stop changes nothing once the session runs again.
func TestStopConfirmed_SessionStartedAgain_Unchanged(t *testing.T) {
	s := at(t, "stopping")
	require.NoError(t, s.Connect("", s.now))
	s.report(domain.Connected)
	before := *s.Session
	s.StopConfirmed(s.now)
	require.Equal(t, before, *s.Session)
}

func TestSessionApply_Snapshot_StaleUnlessConfirmed(t *testing.T) {
	restarting := func(t *testing.T) *fixture {
		s := at(t, "CONNECTED")
		require.NoError(t, s.Restart(s.now))
		return s
	}
	for name, c := range map[string]struct {
		s    *fixture
		to   domain.Status
		want domain.Outcome
	}{
		"before the start":                  {at(t, "INIT"), domain.Disconnected, domain.Stale},
		"failed before the start":           {at(t, "INIT"), domain.Errored, domain.Stale},
		"it runs":                           {at(t, "INIT"), domain.Connected, domain.Applied},
		"it shows a QR":                     {at(t, "INIT"), domain.QRRequired, domain.Applied},
		"before the restart":                {restarting(t), domain.Connected, domain.Stale},
		"disconnected before the restart":   {restarting(t), domain.Disconnected, domain.Stale},
		"confirmed, and now disconnected":   {at(t, "CONNECTED"), domain.Disconnected, domain.Applied},
		"confirmed, and now failed":         {at(t, "QR_REQUIRED"), domain.Errored, domain.Applied},
		"back from a restart of its own":    {at(t, "debounced"), domain.Connected, domain.Applied},
		"long disconnected, and not wanted": {at(t, "stopping"), domain.Disconnected, domain.Unchanged},
	} {
		outcome, _ := c.s.apply(domain.Report{Status: c.to, Snapshot: true})
		require.Equal(t, c.want, outcome, name)
	}
	// A single report is newer than the start, a snapshot may be legacy.
	outcome, _ := at(t, "INIT").apply(domain.Report{Status: domain.Disconnected})
	require.Equal(t, domain.Applied, outcome)
}

func TestWorkerLost_OnlyConnected_Reconnecting(t *testing.T) {
	for _, state := range []string{"INIT", "QR_REQUIRED", "RECONNECTING", "debounced", "stopping", "DISCONNECTED", "ERROR"} {
		s := at(t, state).after(time.Second)
		before := *s.Session
		require.Empty(t, s.WorkerLost("gone", s.now))
		require.Equal(t, before, *s.Session, state)
	}
	s := at(t, "CONNECTED").after(time.Second)
	require.Empty(t, s.WorkerLost("gone", s.now))
	require.Equal(t, []any{domain.Reconnecting, s.now, domain.Up, "w1"}, []any{s.Status, s.StatusAt, s.Intent, s.WorkerID})
}

func TestReportedMissing_ConfirmedSession_StartsAgain(t *testing.T) {
	s := at(t, "CONNECTED").after(time.Hour)
	require.Empty(t, s.ReportedMissing(s.now))
	require.Equal(t, []any{domain.Reconnecting, domain.CommandStart, false, "w1", int64(1)}, []any{s.Status, s.Command, s.Confirmed, s.WorkerID, s.Generation})
	step, _ := s.next(online)
	require.Equal(t, domain.StepCall, step)

	s = at(t, "QR_REQUIRED")
	s.ReportedMissing(s.now)
	require.Equal(t, []any{domain.QRRequired, domain.CommandStart}, []any{s.Status, s.Command})
}

func TestAwaitRecovery_WorkerReturns_StartAfterGrace(t *testing.T) {
	grace := 7 * time.Second
	for state, status := range map[string]domain.Status{
		"INIT": domain.Init, "QR_REQUIRED": domain.QRRequired, "CONNECTED": domain.Reconnecting, "RECONNECTING": domain.Reconnecting,
	} {
		s := at(t, state).after(time.Second)
		require.Empty(t, s.AwaitRecovery(grace, s.now))
		require.Equal(t, []any{domain.Up, status, domain.CommandStart, false, s.now.Add(grace)}, []any{s.Intent, s.Status, s.Command, s.Confirmed, s.DueAt}, state)
		require.True(t, domain.IsRecoverableBy(s.Session, "w1"))
		require.False(t, domain.IsRecoverableBy(s.Session, "w2"))
		outcome, _ := s.apply(domain.Report{Status: domain.Connected})
		require.Equal(t, domain.Applied, outcome)
		require.Empty(t, s.Command, "the worker recovered the session by itself")
	}

	s := at(t, "debounced")
	debounceUntil := s.DebounceUntil
	s.AwaitRecovery(grace, s.now)
	require.Equal(t, []time.Time{debounceUntil, debounceUntil}, []time.Time{s.DebounceUntil, s.DueAt}, "the debounce continues")
	require.False(t, domain.IsRecoverableBy(s.Session, "w1"))

	s = at(t, "debounced")
	s.DueAt = s.now.Add(10 * time.Minute) // it waits for its home
	s.AwaitRecovery(grace, s.now)
	require.Equal(t, s.DebounceUntil, s.DueAt, "the wait for the home is over")

	s = at(t, "CONNECTED")
	require.NoError(t, s.Restart(s.now))
	s.AwaitRecovery(grace, s.now)
	require.Equal(t, domain.CommandRestart, s.Command, "the user's restart was acknowledged")

	moving := at(t, "CONNECTED")
	moving.RequestStopForMove(moving.now)
	for command, s := range map[domain.Command]*fixture{domain.CommandDisconnect: at(t, "stopping"), domain.CommandMove: moving} {
		s.after(time.Minute).AwaitRecovery(grace, s.now)
		require.Equal(t, []any{command, s.now}, []any{s.Command, s.DueAt}, "the worker can be called now")
		require.False(t, domain.IsRecoverableBy(s.Session, "w1"))
	}
}

// An unconfirmed start is sent again, and then the session moves: at once after the first failures,
// later after a backoff.
func TestStartTimedOut_NeverConfirmed_MovesWithBackoff(t *testing.T) {
	s := newFixture(t)
	require.NoError(t, s.Connect("", s.now))
	var waits []time.Duration
	for generation := int64(1); generation <= 5; generation++ {
		step, at := s.next(nil)
		if step == domain.StepNone {
			s.now = at
			step, _ = s.next(nil)
		}
		require.Equal(t, domain.StepPlace, step)
		s.Assign("w1", s.now)
		require.Equal(t, generation, s.Generation)
		for range timing.StartAttempts {
			step, _ := s.next(online)
			require.Equal(t, domain.StepCall, step)
			s.CommandAccepted(timing, s.now)
			step, at := s.next(online)
			require.Equal(t, domain.StepNone, step)
			require.Equal(t, s.now.Add(timing.StartTimeout), at)
			s.after(timing.StartTimeout)
		}
		step, _ = s.next(online)
		require.Equal(t, domain.StepStartTimedOut, step)
		s.StartTimedOut("not confirmed", timing, s.now)
		require.Equal(t, []any{domain.Up, domain.Init, "w1", "w1", s.now.Add(timing.ExclusionPeriod), "not confirmed", domain.CommandMove},
			[]any{s.Intent, s.Status, s.WorkerID, s.ExcludedWorkerID, s.ExcludedUntil, s.LastError, s.Command}, "the session may run there")
		waits = append(waits, s.DueAt.Sub(s.now)/time.Second)
		s.now = s.DueAt
		step, _ = s.next(online)
		require.Equal(t, domain.StepCall, step)
		s.StopConfirmed(s.now)
		require.Equal(t, []any{"", domain.EventSessionFailedOver, "w1"}, []any{s.WorkerID, s.PlacementEvent, s.PreviousWorkerID})
	}
	require.Equal(t, []time.Duration{0, 0, 2, 4, 8}, waits)

	s.Assign("w2", s.now)
	s.report(domain.Connected)
	require.Empty(t, s.ExcludedWorkerID+s.LastError)
	require.Zero(t, s.FailedStarts)
}

func TestStartRejected_FirstStart_LeavesWithBackoff(t *testing.T) {
	s := newFixture(t)
	require.NoError(t, s.Connect("", s.now))
	var waits []time.Duration
	for range 5 {
		s.Assign("w1", s.now)
		s.StartRejected("busy", timing, s.now)
		require.Equal(t, []any{domain.Up, domain.Init, "", "w1", s.now.Add(timing.ExclusionPeriod), "busy"},
			[]any{s.Intent, s.Status, s.WorkerID, s.ExcludedWorkerID, s.ExcludedUntil, s.LastError})
		waits = append(waits, s.DueAt.Sub(s.now)/time.Second)
		step, at := s.next(nil)
		require.True(t, step == domain.StepPlace || at.Equal(s.DueAt))
	}
	require.Equal(t, []time.Duration{0, 0, 2, 4, 8}, waits)

	s = at(t, "CONNECTED")
	s.UnassignForMove(domain.EventSessionFailedOver, s.now)
	s.Assign("w2", s.now)
	s.StartRejected("busy", timing, s.now)
	require.Equal(t, []any{domain.Reconnecting, "", "w2"}, []any{s.Status, s.WorkerID, s.ExcludedWorkerID}, "the session is still linked")

	// The end of the assignment also ends a debounce that began during the call.
	s = newFixture(t)
	require.NoError(t, s.Connect("", s.now))
	s.Assign("w1", s.now)
	s.report(domain.Disconnected).StartRejected("busy", timing, s.now)
	require.Equal(t, []any{domain.Up, domain.Init, time.Time{}}, []any{s.Intent, s.Status, s.DebounceUntil})

	// A report that the session runs is newer than the failure of the call.
	s = at(t, "CONNECTED")
	before := *s.Session
	s.StartRejected("too many requests", timing, s.now)
	require.Equal(t, before, *s.Session)

	// Another replica sent the start again meanwhile. The session may run after all.
	s = starting(t)
	s.StartRejected("busy", timing, s.now)
	require.Equal(t, []any{"w1", domain.CommandStart, 2}, []any{s.WorkerID, s.Command, s.Attempts})
}

func TestCommandOutcomeUnknown_Stop_RetriedWithBackoff(t *testing.T) {
	s := at(t, "stopping")
	for _, wait := range []time.Duration{2, 4, 8, 16, 32, 60, 60} {
		s.CommandOutcomeUnknown(timing, s.now)
		step, at := s.next(online)
		require.Equal(t, domain.StepNone, step)
		require.Equal(t, s.now.Add(wait*time.Second), at)
		s.now = at
		step, _ = s.next(online)
		require.Equal(t, domain.StepCall, step, "a stop is never given up")
	}
}

func TestPlacementFailed_NoCapacity_RetriedWithBackoff(t *testing.T) {
	s := newFixture(t)
	require.NoError(t, s.Connect("", s.now))
	for _, wait := range []time.Duration{2, 4, 8, 16, 32, 60, 60} {
		s.PlacementFailed(timing, s.now)
		require.Equal(t, []any{domain.Up, domain.Init}, []any{s.Intent, s.Status})
		step, at := s.next(nil)
		require.Equal(t, domain.StepNone, step)
		require.Equal(t, s.now.Add(wait*time.Second), at)
		s.now = at
	}
	step, _ := s.next(nil)
	require.Equal(t, domain.StepPlace, step)
	require.NoError(t, s.Restart(s.now))
	require.Equal(t, s.now, s.DueAt)
}

func TestCancelConnect_FailedConnect_Down(t *testing.T) {
	s := newFixture(t)
	require.NoError(t, s.Connect("", s.now))
	s.Assign("w1", s.now)
	s.StartRejected("busy", timing, s.now)
	s.CancelConnect(s.now)
	requireAtRest(t, s, domain.Disconnected)
	require.Equal(t, int64(1), s.Generation)
	require.NoError(t, s.Connect("", s.now))
	s.Assign("w2", s.now)
	require.Equal(t, int64(2), s.Generation, "generations never shrink")
}

func TestConnect_StopUnconfirmed_NewGeneration(t *testing.T) {
	s := at(t, "CONNECTED")
	s.Disconnect(s.now)
	require.NoError(t, s.Connect("", s.now))
	require.Equal(t, []any{"w1", int64(2), domain.CommandStart}, []any{s.WorkerID, s.Generation, s.Command}, "the worker may have stopped the first generation")

	s = at(t, "CONNECTED")
	s.Logout(s.now)
	require.NoError(t, s.Connect("", s.now))
	require.Equal(t, []any{"w1", int64(1), domain.CommandLogout}, []any{s.WorkerID, s.Generation, s.Command}, "the logout comes first")
}

func TestFail_AnyState_ErrorAndSlotFreed(t *testing.T) {
	for _, state := range []string{"INIT", "QR_REQUIRED", "CONNECTED", "RECONNECTING", "debounced"} {
		s := at(t, state)
		events := s.Fail("banned", s.now)
		require.Equal(t, []domain.EventType{domain.EventSessionError}, types(events))
		require.Equal(t, []any{"w1", "banned", domain.Errored}, []any{events[0].WorkerID, events[0].Reason, events[0].Status})
		require.Equal(t, "banned", s.LastError)
		requireAtRest(t, s, domain.Errored)
	}
	for want, r := range map[string]domain.Report{
		"boom":                     {Status: domain.Errored, Error: "boom", Reason: "because"},
		"because":                  {Status: domain.Errored, Reason: "because"},
		"worker reported an error": {Status: domain.Errored},
	} {
		s := at(t, "CONNECTED")
		s.apply(r)
		require.Equal(t, want, s.LastError)
	}
}

// A worker that does not renew its QR is no reason to wait: connect starts the session anew.
func TestSessionConnect_CodeExpired_StartsAnew(t *testing.T) {
	s := at(t, "QR_REQUIRED")
	s.QR = domain.QR{Code: "2@", ExpiresAt: s.now.Add(time.Minute)}
	err := s.Clone().Connect("", s.now.Add(64*time.Second))
	require.Equal(t, domain.CodeSessionConnecting, domain.CodeOf(err), "the next code may be a moment late")
	require.False(t, s.IsCodeExpired(s.now.Add(64*time.Second)))

	later := s.now.Add(65 * time.Second)
	require.True(t, s.IsCodeExpired(later))
	require.NoError(t, s.Connect("", later))
	require.Equal(t, []any{domain.Init, domain.CommandRestart, "w1", later}, []any{s.Status, s.Command, s.WorkerID, s.DueAt})
	require.True(t, s.QR.IsZero())
}

// The restart call names no number. A session that requests a pairing code, or no longer does, is stopped
// and started again.
func TestSessionConnect_CodeExpiredAndPairing_StopsAndStartsWithTheNumber(t *testing.T) {
	for name, c := range map[string]struct{ before, now string }{
		"pairing code after a QR":  {"", "628111"},
		"QR after a pairing code":  {"628111", ""},
		"pairing code once again":  {"628111", "628111"},
		"pairing code, new number": {"628111", "628222"},
	} {
		t.Run(name, func(t *testing.T) {
			s := at(t, "QR_REQUIRED")
			s.PairingPhone = c.before
			later := s.now.Add(time.Hour)
			require.NoError(t, s.Connect(c.now, later))
			require.Equal(t, []any{domain.Up, domain.Init, domain.CommandDisconnect, "w1"}, []any{s.Intent, s.Status, s.Command, s.WorkerID})
			step, _ := domain.NextStep(s.Session, online, timing, later)
			require.Equal(t, domain.StepCall, step)

			generation := s.Generation
			s.StopConfirmed(later)
			step, _ = domain.NextStep(s.Session, nil, timing, later)
			require.Equal(t, domain.StepPlace, step)
			s.Assign("w1", later)
			require.Equal(t, []any{domain.CommandStart, c.now, generation + 1}, []any{s.Command, s.PairingPhone, s.Generation})
		})
	}
}

func TestSessionRestart_RequestsPairingCode_StopsFirst(t *testing.T) {
	s := at(t, "QR_REQUIRED")
	s.PairingPhone = "628111"
	require.NoError(t, s.Restart(s.now))
	require.Equal(t, []any{domain.Up, domain.Init, domain.CommandDisconnect}, []any{s.Intent, s.Status, s.Command})

	s.PairingPhone = ""
	require.NoError(t, s.Restart(s.now))
	require.Equal(t, domain.CommandDisconnect, s.Command, "the stop is not confirmed yet")
}
