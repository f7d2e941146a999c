package domain_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

var online = &domain.Worker{ID: "w1", Online: true}

// requireDebouncing: the status has changed, the assignment has not.
func requireDebouncing(t *testing.T, s *stage, until time.Time) {
	t.Helper()
	require.Equal(t, []any{domain.Up, domain.Disconnected, "w1", int64(1)}, []any{s.Intent, s.Status, s.WorkerID, s.Generation})
	require.Equal(t, []time.Time{until, until}, []time.Time{s.DebounceUntil, s.DueAt})
	step, at := s.next(online)
	require.Equal(t, domain.StepNone, step)
	require.Equal(t, until, at)
}

// A restart is reported as DISCONNECTED and RECONNECTING about 1 ms apart, in
// either order of arrival, and then CONNECTED: whoever asked for it, and with or
// without timestamps, the session stays where it is and comes back.
func TestReportsOfARestart(t *testing.T) {
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
						s.hears(r)
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
					outcome, events := s.hears(reports[2])
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

func TestDebounceIsOverWhenTheSessionIsBack(t *testing.T) {
	for _, status := range []domain.Status{domain.Init, domain.QRRequired, domain.Reconnecting, domain.Connected} {
		s := at(t, "settling")
		requireDebouncing(t, s, s.now.Add(timing.DisconnectDebounce))
		s.after(timing.DisconnectDebounce - 1).is(status)
		require.True(t, s.DebounceUntil.IsZero() && s.IsAssigned())
		before := *s.Session
		require.Empty(t, s.EndDebounce(timing, s.now))
		require.Equal(t, before, *s.Session, "there is nothing to settle")
	}
}

// What comes back and is not confirmed yet has the time of a start to be.
func TestBackButNotConfirmed(t *testing.T) {
	for _, status := range []domain.Status{domain.Init, domain.Reconnecting} {
		s := at(t, "INIT").is(domain.Disconnected).after(time.Second).is(status)
		step, at := s.next(online)
		require.Equal(t, domain.StepNone, step)
		require.Equal(t, s.now.Add(timing.StartTimeout), at)
		step, _ = s.after(timing.StartTimeout).next(online)
		require.Equal(t, domain.StepCall, step)
	}
}

// A report does not make the reconciler forget a session whose worker is being
// drained, or is offline and may not come back.
func TestConfirmedAndStillDue(t *testing.T) {
	for name, worker := range map[string]*domain.Worker{
		"draining": {ID: "w1", Online: true, Draining: true},
		"offline":  {ID: "w1", FailoverAt: noon.Add(timing.FailoverDelay)},
	} {
		for _, status := range []domain.Status{domain.QRRequired, domain.Connected} {
			s := at(t, "INIT")
			s.DueAt = noon.Add(time.Second)
			s.is(status)
			require.Equal(t, noon.Add(time.Second), s.DueAt, name)
			step, at := s.next(worker)
			require.True(t, step == domain.StepStopForMove || at.Equal(worker.FailoverAt), name)
		}
	}
}

func TestPhoneLoggedOut(t *testing.T) {
	s := at(t, "CONNECTED").after(time.Hour)
	outcome, events := s.hears(domain.Report{Status: domain.Disconnected, LoggedOut: true, Reason: "logged out on the phone"})
	require.Equal(t, domain.Applied, outcome)
	require.Equal(t, []domain.EventType{domain.EventSessionDisconnected}, events)
	require.Empty(t, s.PhoneNumber+s.DisplayName+s.CredentialsWorkerID)
	requireDebouncing(t, s, s.now.Add(timing.DisconnectDebounce))

	s.after(timing.DisconnectDebounce)
	step, _ := s.next(online)
	require.Equal(t, domain.StepEndDebounce, step)
	require.Empty(t, s.EndDebounce(timing, s.now), "DISCONNECTED has been told already")
	requireAtRest(t, s, domain.Disconnected)

	// It is not started elsewhere because its worker is lost in that moment.
	s = at(t, "CONNECTED")
	s.hears(domain.Report{Status: domain.Disconnected, LoggedOut: true})
	step, at := s.next(nil)
	require.Equal(t, domain.StepNone, step)
	require.Equal(t, s.DebounceUntil, at)
	step, _ = s.after(timing.DisconnectDebounce).next(nil)
	require.Equal(t, domain.StepEndDebounce, step)
}

// requireAtRest: the slot is free, and nothing is left to do.
func requireAtRest(t *testing.T, s *stage, status domain.Status) {
	t.Helper()
	require.Equal(t, []any{domain.Down, status, "", domain.CommandNone}, []any{s.Intent, s.Status, s.WorkerID, s.Command})
	require.Zero(t, s.DueAt)
	step, at := s.next(nil)
	require.Equal(t, domain.StepNone, step)
	require.Zero(t, at)
}

func TestQRAttemptsUsedUp(t *testing.T) {
	for name, lead := range map[string]func(s *stage){
		"first link":            func(s *stage) { s.is(domain.QRRequired) },
		"it never got to a QR":  func(*stage) {},
		"credentials lost":      func(s *stage) { s.is(domain.Connected).is(domain.Reconnecting).is(domain.QRRequired) },
		"restarted when linked": func(s *stage) { s.is(domain.Connected); _ = s.Restart(s.now); s.is(domain.QRRequired) },
	} {
		t.Run(name, func(t *testing.T) {
			s := starting(t)
			lead(s)
			s.is(domain.Disconnected)
			requireDebouncing(t, s, s.now.Add(timing.DisconnectDebounce))
			require.Empty(t, s.after(timing.DisconnectDebounce).EndDebounce(timing, s.now))
			requireAtRest(t, s, domain.Disconnected)
		})
	}
}

// A session that had been connected is started again where it was, with
// growing waits, and given up after five tries in a row.
func TestUnwantedDisconnects(t *testing.T) {
	s := at(t, "CONNECTED")
	for i, wait := range []time.Duration{2, 4, 8, 16, 32} {
		s.is(domain.Disconnected).after(timing.DisconnectDebounce)
		require.Empty(t, s.EndDebounce(timing, s.now))
		require.Equal(t, []any{domain.Up, domain.Init, "w1", int64(1), domain.CommandStart},
			[]any{s.Intent, s.Status, s.WorkerID, s.Generation, s.Command})
		require.Equal(t, i+1, s.Restarts)
		step, at := s.next(online)
		require.Equal(t, domain.StepNone, step)
		require.Equal(t, s.now.Add(wait*time.Second), at)
		outcome, _ := s.hears(domain.Report{Status: domain.Disconnected, Snapshot: true})
		require.Equal(t, domain.Stale, outcome, "it has not been asked to start yet")
		s.after(wait * time.Second)
		step, _ = s.next(online)
		require.Equal(t, domain.StepCall, step)
		s.CommandAccepted(timing, s.now)
		s.is(domain.Connected)
	}
	s.is(domain.Disconnected).after(timing.DisconnectDebounce)
	events := s.EndDebounce(timing, s.now)
	require.Equal(t, []domain.EventType{domain.EventSessionError}, types(events))
	require.Equal(t, "w1", events[0].WorkerID, "where it was")
	require.NotEmpty(t, s.LastError)
	requireAtRest(t, s, domain.Errored)

	require.NoError(t, s.Connect("", s.now))
	require.Zero(t, s.Restarts)
	require.Empty(t, s.LastError)
}

func TestStableConnectionForgives(t *testing.T) {
	for name, c := range map[string]struct {
		held time.Duration
		end  func(s *stage)
		want int
	}{
		"stable":                 {timing.StableAfter, func(s *stage) { s.is(domain.Disconnected) }, 1},
		"stable, link lost":      {timing.StableAfter, func(s *stage) { s.is(domain.Reconnecting).is(domain.Disconnected) }, 1},
		"not quite":              {timing.StableAfter - 1, func(s *stage) { s.is(domain.Disconnected) }, 4},
		"not quite, link lost":   {timing.StableAfter - 1, func(s *stage) { s.is(domain.Reconnecting).after(time.Hour).is(domain.Disconnected) }, 4},
		"the user has restarted": {0, func(s *stage) { _ = s.Restart(s.now); s.is(domain.Connected).is(domain.Disconnected) }, 1},
	} {
		s := at(t, "CONNECTED")
		s.Restarts = 3
		c.end(s.after(c.held))
		s.after(timing.DisconnectDebounce).EndDebounce(timing, s.now)
		require.Equal(t, c.want, s.Restarts, name)
	}
}

// The answer to a call does not put off the settling that was reported while
// it was under way.
func TestAnswerKeepsDebounce(t *testing.T) {
	s := at(t, "CONNECTED")
	s.UnassignForMove(domain.EventSessionFailedOver, s.now)
	s.Assign("w1", s.now)
	s.is(domain.Disconnected)
	until := s.now.Add(timing.DisconnectDebounce)
	s.CommandAccepted(timing, s.after(time.Second).now)
	require.Equal(t, until, s.DueAt)
	s.CommandOutcomeUnknown(timing, s.now)
	_, at := s.next(online)
	require.Equal(t, until, at)
}

// A session that shows its first QR may take longer over a restart: it does
// not go down because DISCONNECTED was the last that was heard of it.
func TestRestartBeforeTheFirstScan(t *testing.T) {
	s := at(t, "QR_REQUIRED")
	require.NoError(t, s.Restart(s.now))
	outcome, _ := s.hears(domain.Report{Status: domain.Reconnecting})
	require.Equal(t, domain.Stale, outcome)
	s.is(domain.Disconnected)
	until := s.now.Add(timing.StartTimeout)
	require.Equal(t, until, s.DebounceUntil)
	s.CommandAccepted(timing, s.now)
	step, _ := s.after(10 * time.Second).next(online)
	require.Equal(t, domain.StepNone, step)
	s.is(domain.QRRequired)
	require.True(t, s.Confirmed && s.Intent == domain.Up)

	// One that logs out does not.
	s = at(t, "QR_REQUIRED")
	require.NoError(t, s.Restart(s.now))
	s.hears(domain.Report{Status: domain.Disconnected, LoggedOut: true})
	require.Equal(t, s.now.Add(timing.DisconnectDebounce), s.DebounceUntil)
}

func TestUserActsWhileDebounced(t *testing.T) {
	s := at(t, "settling").after(time.Second)
	told, events := s.Disconnect(s.now)
	require.True(t, told)
	require.Empty(t, events, "it was DISCONNECTED before")
	step, _ := s.next(online)
	require.Equal(t, domain.StepCall, step)
	s.StopConfirmed(s.now)
	requireAtRest(t, s, domain.Disconnected)

	s = at(t, "settling").after(time.Second)
	require.NoError(t, s.Connect("", s.now))
	require.Equal(t, []any{"w1", int64(1), domain.CommandStart, 0}, []any{s.WorkerID, s.Generation, s.Command, s.Restarts})
}
