package domain_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

var (
	statuses = []domain.Status{
		domain.Init, domain.QRRequired, domain.Connected, domain.Reconnecting, domain.Disconnected, domain.Errored,
	}
	timing = domain.DefaultTiming()
	qr     = domain.QR{Code: "2@first", ExpiresAt: noon.Add(time.Minute)}
)

// A fixture is one session and its clock.
type fixture struct {
	*domain.Session
	t   *testing.T
	now time.Time
}

// newFixture returns a session that has never been started.
func newFixture(t *testing.T) *fixture {
	return &fixture{domain.NewSession("s1", "u1", "name", "about", noon), t, noon}
}

// starting returns a session whose worker w1 accepted the start.
func starting(t *testing.T) *fixture {
	s := newFixture(t)
	require.NoError(t, s.Connect("", s.now))
	s.Assign("w1", s.now)
	s.CommandAccepted(timing, s.now)
	return s
}

// after lets time pass.
func (s *fixture) after(d time.Duration) *fixture {
	s.now = s.now.Add(d)
	return s
}

// apply applies a report and returns the types of its events.
func (s *fixture) apply(r domain.Report) (domain.Outcome, []domain.EventType) {
	outcome, events := s.Apply(r, timing, s.now)
	return outcome, types(events)
}

// report applies a report whose status must change the session's.
func (s *fixture) report(status domain.Status) *fixture {
	s.t.Helper()
	outcome, _ := s.apply(domain.Report{Status: status, PhoneNumber: map[bool]string{true: "6281234567890"}[status == domain.Connected]})
	require.Equal(s.t, domain.Applied, outcome, "%s to %s", s.Status, status)
	return s
}

// next returns the next step of the session with the worker w.
func (s *fixture) next(w *domain.Worker) (domain.Step, time.Time) {
	return domain.NextStep(s.Session, w, timing, s.now)
}

// types returns the types of events.
func types(events []domain.Event) []domain.EventType {
	var all []domain.EventType
	for _, e := range events {
		all = append(all, e.Type)
	}
	return all
}

// at returns a session in the named state, reached by the shortest way.
func at(t *testing.T, state string) *fixture {
	t.Helper()
	s := starting(t)
	switch state {
	case "INIT":
	case "QR_REQUIRED":
		s.report(domain.QRRequired)
	case "CONNECTED":
		s.report(domain.Connected)
	case "RECONNECTING":
		s.report(domain.Connected).report(domain.Reconnecting)
	case "debounced":
		s.report(domain.Connected).report(domain.Disconnected)
	case "stopping":
		s.report(domain.Connected)
		s.Disconnect(s.now)
	case "DISCONNECTED":
		s.report(domain.Connected)
		s.Disconnect(s.now)
		s.StopConfirmed(s.now)
	case "ERROR":
		s.report(domain.Errored)
	default:
		t.Fatal(state)
	}
	return s
}

// The table lists the outcome of each report in each state. "debounced" is DISCONNECTED with the intent
// up. "stopping" is DISCONNECTED with the intent down and an unconfirmed stop.
func TestSessionApply_StateAndReport_Outcome(t *testing.T) {
	const table = `
		from         INIT        QR_REQUIRED CONNECTED   RECONNECTING DISCONNECTED ERROR
		INIT         unchanged   applied     applied     stale        applied      applied
		QR_REQUIRED  stale       unchanged   applied     stale        applied      applied
		CONNECTED    stale       stale       unchanged   applied      applied      applied
		RECONNECTING stale       applied     applied     unchanged    applied      applied
		debounced    applied     applied     applied     applied      unchanged    stale
		stopping     not_wanted  not_wanted  not_wanted  not_wanted   unchanged    stale
		DISCONNECTED not_owner   not_owner   not_owner   not_owner    not_owner    not_owner
		ERROR        not_owner   not_owner   not_owner   not_owner    not_owner    not_owner`
	raises := map[domain.Status][]domain.EventType{
		domain.QRRequired: {domain.EventSessionQR}, domain.Connected: {domain.EventSessionConnected},
		domain.Disconnected: {domain.EventSessionDisconnected}, domain.Errored: {domain.EventSessionError},
	}
	rows := strings.Split(strings.TrimSpace(table), "\n")
	head := strings.Fields(rows[0])[1:]
	for _, row := range rows[1:] {
		cells := strings.Fields(row)
		for i, to := range head {
			from, want := cells[0], strings.ReplaceAll(cells[i+1], "_", " ")
			t.Run(from+" to "+to, func(t *testing.T) {
				s := at(t, from).after(time.Second)
				before := *s.Session
				outcome, events := s.apply(domain.Report{Status: domain.Status(to), Reason: "told"})
				require.Equal(t, want, outcome.String())
				if outcome != domain.Applied {
					require.Empty(t, events)
					require.Equal(t, before, *s.Session)
					return
				}
				require.Equal(t, domain.Status(to), s.Status)
				require.Equal(t, s.now, s.StatusAt)
				require.Equal(t, raises[s.Status], events)
				require.True(t, domain.CanReportTransition(before.Status, s.Status))
				if to == "ERROR" {
					require.Equal(t, domain.Down, s.Intent)
					require.False(t, s.IsAssigned())
				} else {
					require.Equal(t, []any{domain.Up, "w1", int64(1)}, []any{s.Intent, s.WorkerID, s.Generation}, "the session keeps its slot")
				}
			})
		}
	}
	for _, to := range statuses {
		require.False(t, domain.CanReportTransition(domain.Errored, to))
	}
}

// The table lists the status, or the error, after each action of the user.
func TestSession_StateAndUserAction_StatusOrError(t *testing.T) {
	const table = `
		from         connect                    restart       disconnect   logout
		INIT         SESSION_CONNECTING         INIT          DISCONNECTED DISCONNECTED
		QR_REQUIRED  SESSION_CONNECTING         INIT          DISCONNECTED DISCONNECTED
		CONNECTED    SESSION_ALREADY_CONNECTED  INIT          DISCONNECTED DISCONNECTED
		RECONNECTING SESSION_CONNECTING         INIT          DISCONNECTED DISCONNECTED
		debounced    INIT                       INIT          still        still
		stopping     INIT                       INVALID_STATE still        still
		DISCONNECTED INIT                       INVALID_STATE still        still
		ERROR        INIT                       INVALID_STATE DISCONNECTED DISCONNECTED`
	rows := strings.Split(strings.TrimSpace(table), "\n")
	head := strings.Fields(rows[0])[1:]
	for _, row := range rows[1:] {
		cells := strings.Fields(row)
		for i, verb := range head {
			from, want := cells[0], cells[i+1]
			t.Run(verb+" at "+from, func(t *testing.T) {
				s := at(t, from).after(time.Second)
				before := *s.Session
				var err error
				var stopDue bool
				var events []domain.Event
				switch verb {
				case "connect":
					err = s.Connect("", s.now)
				case "restart":
					err = s.Restart(s.now)
				case "disconnect":
					stopDue, events = s.Disconnect(s.now)
				case "logout":
					stopDue, events = s.Logout(s.now)
				}
				if err != nil {
					require.Equal(t, want, string(domain.CodeOf(err)))
					require.Equal(t, before, *s.Session)
					return
				}
				require.Equal(t, before.WorkerID, s.WorkerID, "only the reconciler changes the assignment")
				require.True(t, s.DebounceUntil.IsZero() && s.QR.IsZero())
				switch verb {
				case "connect", "restart":
					require.Equal(t, want, string(s.Status))
					require.Equal(t, domain.Up, s.Intent)
					require.Equal(t, s.now, s.DueAt)
					require.False(t, s.Confirmed)
					return
				}
				require.Equal(t, []any{domain.Down, domain.Disconnected}, []any{s.Intent, s.Status})
				require.Equal(t, before.IsAssigned(), stopDue)
				if want == "still" {
					require.Empty(t, events)
				} else {
					require.Equal(t, []domain.EventType{domain.EventSessionDisconnected}, types(events))
				}
				if stopDue {
					require.Equal(t, s.now, s.DueAt)
					require.Equal(t, map[string]domain.Command{"disconnect": domain.CommandDisconnect, "logout": domain.CommandLogout}[verb], s.Command)
				} else {
					require.Zero(t, s.DueAt)
					require.Empty(t, s.Command)
				}
			})
		}
	}
}

func TestLogout_LinkedSession_ForgetsPhone(t *testing.T) {
	linked := func() *fixture {
		s := starting(t)
		s.apply(domain.Report{Status: domain.Connected, PhoneNumber: "6281234567890", DisplayName: "Ann"})
		return s
	}
	s := linked()
	s.Disconnect(s.now)
	s.StopConfirmed(s.now)
	require.Equal(t, []string{"6281234567890", "Ann", "w1"}, []string{s.PhoneNumber, s.DisplayName, s.CredentialsWorkerID})

	s = linked()
	s.Logout(s.now)
	require.Empty(t, s.PhoneNumber+s.DisplayName+s.CredentialsWorkerID)
	s.Disconnect(s.now)
	require.Equal(t, domain.CommandLogout, s.Command, "a disconnect does not replace a logout")

	s = linked()
	s.Disconnect(s.now)
	s.Logout(s.now)
	require.Equal(t, domain.CommandLogout, s.Command)
}

// The user's logout is already acknowledged. The worker therefore executes it before the session starts
// again.
func TestConnect_LogoutUnconfirmed_LogoutFirst(t *testing.T) {
	worker := &domain.Worker{ID: "w1", Online: true}
	for name, again := range map[string]func(s *fixture){
		"connect":             func(*fixture) {},
		"connect and restart": func(s *fixture) { require.NoError(t, s.Restart(s.now)) },
		"worker came back": func(s *fixture) {
			require.Empty(t, s.AwaitRecovery(time.Second, s.now))
			require.False(t, domain.IsRecoverableBy(s.Session, "w1"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := at(t, "CONNECTED")
			s.Logout(s.now)
			require.NoError(t, s.Connect("", s.now))
			again(s)
			require.Equal(t, []any{domain.Up, domain.Init, domain.CommandLogout}, []any{s.Intent, s.Status, s.Command})
			step, _ := s.next(worker)
			require.Equal(t, domain.StepCall, step)
			step, _ = s.next(nil)
			require.Equal(t, domain.StepAbandonAssignment, step, "the logout becomes a cleanup")
			for _, status := range statuses {
				outcome, events := s.apply(domain.Report{Status: status})
				require.Equal(t, domain.Stale, outcome)
				require.Empty(t, events)
			}
			s.StopConfirmed(s.now)
			require.Equal(t, []any{domain.Up, domain.Init, false}, []any{s.Intent, s.Status, s.IsAssigned()})
			require.Equal(t, s.now, s.DueAt)
			step, _ = s.next(nil)
			require.Equal(t, domain.StepPlace, step)
		})
	}
}

func TestSessionApply_QR_StoredUntilStatusChanges(t *testing.T) {
	s := at(t, "INIT")
	outcome, events := s.apply(domain.Report{Status: domain.QRRequired, QR: qr})
	require.Equal(t, domain.Applied, outcome)
	require.Equal(t, []domain.EventType{domain.EventSessionQR}, events)
	require.Equal(t, qr, s.QR)

	later := domain.QR{Code: qr.Code, ExpiresAt: noon.Add(2 * time.Minute)}
	outcome, _ = s.apply(domain.Report{Status: domain.QRRequired, QR: later})
	require.Equal(t, domain.Unchanged, outcome)
	require.Equal(t, qr, s.QR, "a repeated code does not live longer")

	later.Code = "2@second"
	outcome, events = s.apply(domain.Report{Status: domain.QRRequired, QR: later})
	require.Equal(t, domain.Repeated, outcome)
	require.Empty(t, events)
	require.Equal(t, later, s.QR)

	outcome, _ = s.apply(domain.Report{Status: domain.QRRequired})
	require.Equal(t, domain.Unchanged, outcome)
	require.Equal(t, later, s.QR, "a heartbeat neither brings nor removes a QR")

	picture := domain.QR{Image: []byte("png"), ExpiresAt: later.ExpiresAt}
	outcome, _ = s.apply(domain.Report{Status: domain.QRRequired, QR: picture, PairingCode: "ABCD-1234"})
	require.Equal(t, domain.Repeated, outcome)
	require.Equal(t, []any{picture, "ABCD-1234"}, []any{s.QR, s.PairingCode})

	for name, end := range map[string]func(s *fixture){
		"CONNECTED":    func(s *fixture) { s.report(domain.Connected) },
		"DISCONNECTED": func(s *fixture) { s.report(domain.Disconnected) },
		"ERROR":        func(s *fixture) { s.report(domain.Errored) },
		"disconnect":   func(s *fixture) { s.Disconnect(s.now) },
		"logout":       func(s *fixture) { s.Logout(s.now) },
		"restart":      func(s *fixture) { require.NoError(t, s.Restart(s.now)) },
		"move":         func(s *fixture) { s.RequestStopForMove(s.now) },
		"failover":     func(s *fixture) { s.UnassignForMove(domain.EventSessionFailedOver, s.now) },
	} {
		s := at(t, "INIT")
		s.apply(domain.Report{Status: domain.QRRequired, QR: qr, PairingCode: "ABCD-1234"})
		end(s)
		require.True(t, s.QR.IsZero(), name)
		require.Empty(t, s.PairingCode, name)
	}
}

func TestAssign_PairingPhone_KeptUntilConnected(t *testing.T) {
	s := newFixture(t)
	require.NoError(t, s.Connect("6281234567890", s.now))
	s.Assign("w1", s.now)
	s.report(domain.QRRequired)
	s.UnassignForMove(domain.EventSessionFailedOver, s.now)
	s.Assign("w2", s.now)
	require.Equal(t, "6281234567890", s.PairingPhone, "the next worker requests the code again")
	s.report(domain.Connected)
	require.Empty(t, s.PairingPhone)
}

// Workers name the account in several forms. The session has one.
func TestSessionApply_NumberWithDevice_DigitsStored(t *testing.T) {
	for _, form := range []string{"6289999999999:12@s.whatsapp.net", "6289999999999.0:12@s.whatsapp.net", "6289999999999@c.us", "+62 899-9999-9999"} {
		s := at(t, "CONNECTED")
		s.apply(domain.Report{Status: domain.Connected, PhoneNumber: form})
		require.Equal(t, "6289999999999", s.PhoneNumber, form)
	}
	s := at(t, "CONNECTED")
	before := s.PhoneNumber
	s.apply(domain.Report{Status: domain.Connected, PhoneNumber: "123456789012345:3@lid"})
	require.Equal(t, before, s.PhoneNumber, "a hidden id is no number")
}

// A report of the present status refreshes data and causes no event.
func TestSessionApply_SameStatus_DataRefreshed(t *testing.T) {
	s := at(t, "CONNECTED").after(time.Minute)
	since := s.StatusAt
	outcome, events := s.apply(domain.Report{Status: domain.Connected, PhoneNumber: "6289999999999", DisplayName: "Ann"})
	require.Equal(t, domain.Repeated, outcome)
	require.Empty(t, events)
	require.Equal(t, []string{"6289999999999", "Ann"}, []string{s.PhoneNumber, s.DisplayName})
	require.Equal(t, []time.Time{since, s.now, s.now}, []time.Time{s.StatusAt, s.LastSeenAt, s.UpdatedAt})

	outcome, _ = s.apply(domain.Report{Status: domain.Connected, PhoneNumber: "6289999999999"})
	require.Equal(t, domain.Unchanged, outcome, "nothing to store")
	require.Equal(t, "Ann", s.DisplayName, "values that a report omits stay")

	// The worker reports the logout on the phone a moment after the disconnect.
	s = at(t, "debounced")
	outcome, events = s.apply(domain.Report{Status: domain.Disconnected, LoggedOut: true})
	require.Equal(t, domain.Repeated, outcome)
	require.Empty(t, events)
	require.True(t, s.LoggedOut)
	require.Empty(t, s.PhoneNumber+s.CredentialsWorkerID)

	// The worker reports it during the user's own disconnect.
	s = at(t, "stopping")
	outcome, _ = s.apply(domain.Report{Status: domain.Disconnected, LoggedOut: true})
	require.Equal(t, domain.Repeated, outcome)
	require.False(t, s.LoggedOut, "it is not debounced")
	require.Empty(t, s.PhoneNumber+s.CredentialsWorkerID)
	s.CredentialsWorkerID = "w1"
	outcome, _ = s.apply(domain.Report{Status: domain.Disconnected, LoggedOut: true})
	require.Equal(t, domain.Repeated, outcome)
}

func TestSessionApply_WorkerGenerationOrStatus_Refused(t *testing.T) {
	for name, c := range map[string]struct {
		state  string
		report domain.Report
		want   domain.Outcome
	}{
		"older generation":      {"CONNECTED", domain.Report{Status: domain.Disconnected, Generation: 1}, domain.NotOwner},
		"newer, by nobody":      {"CONNECTED", domain.Report{Status: domain.Disconnected, Generation: 3}, domain.NotOwner},
		"newer, by another":     {"CONNECTED", domain.Report{Status: domain.Disconnected, WorkerID: "w2", Generation: 3}, domain.NotOwner},
		"far beyond":            {"CONNECTED", domain.Report{Status: domain.Disconnected, WorkerID: "w1", Generation: 1_000_003}, domain.Implausible},
		"this generation":       {"CONNECTED", domain.Report{Status: domain.Disconnected, Generation: 2}, domain.Applied},
		"another worker":        {"CONNECTED", domain.Report{Status: domain.Disconnected, WorkerID: "w2"}, domain.NotOwner},
		"another's generation":  {"CONNECTED", domain.Report{Status: domain.Disconnected, WorkerID: "w2", Generation: 2}, domain.NotOwner},
		"the owner":             {"CONNECTED", domain.Report{Status: domain.Disconnected, WorkerID: "w1"}, domain.Applied},
		"not wanted":            {"stopping", domain.Report{Status: domain.Connected, WorkerID: "w1", Generation: 2}, domain.NotWanted},
		"not wanted, not owner": {"stopping", domain.Report{Status: domain.Connected, Generation: 1}, domain.NotOwner},
		"no status at all":      {"CONNECTED", domain.Report{}, domain.Stale},
		"an unknown one":        {"debounced", domain.Report{Status: "SLEEPING"}, domain.Stale},
	} {
		t.Run(name, func(t *testing.T) {
			s := at(t, c.state)
			s.Generation = 2
			before := *s.Session
			outcome, events := s.apply(c.report)
			require.Equal(t, c.want, outcome)
			if outcome != domain.Applied {
				require.Empty(t, events)
				require.Equal(t, before, *s.Session)
			}
		})
	}
}

// A worker's own timestamps order its reports, not the order of arrival.
func TestSessionApply_OlderTimestamp_Stale(t *testing.T) {
	s := starting(t)
	report := func(status domain.Status, ms int) domain.Outcome {
		outcome, _ := s.apply(domain.Report{Status: status, At: noon.Add(time.Duration(ms) * time.Millisecond)})
		return outcome
	}
	require.Equal(t, domain.Applied, report(domain.Connected, 10))
	require.Equal(t, domain.Stale, report(domain.Disconnected, 9))
	require.Equal(t, domain.Unchanged, report(domain.Connected, 20))
	require.Equal(t, domain.Stale, report(domain.Disconnected, 19), "a repeated status also counts as newest")
	require.Equal(t, domain.Applied, report(domain.Reconnecting, 20), "at the same time: in the order of arrival")
	outcome, _ := s.apply(domain.Report{Status: domain.Connected})
	require.Equal(t, domain.Applied, outcome, "without a time: in the order of arrival")

	// Timestamps of different workers, or of different processes of one worker, are not comparable.
	s.UnassignForMove(domain.EventSessionFailedOver, s.now)
	s.Assign("w2", s.now)
	require.Equal(t, domain.Applied, report(domain.Connected, -1000))
	s.AwaitRecovery(time.Second, s.now)
	require.Equal(t, domain.Applied, report(domain.Connected, -2000))
}

func TestStatusOutcomeAndCommand_Words_AsDocumented(t *testing.T) {
	var all []string
	for o := domain.Applied; o <= domain.Implausible; o++ {
		all = append(all, o.String())
	}
	require.Equal(t, []string{"applied", "repeated", "unchanged", "stale", "not owner", "not wanted", "implausible generation"}, all)
	for _, s := range statuses {
		got, err := domain.ParseStatus(" " + strings.ToLower(string(s)) + "\n")
		require.NoError(t, err)
		require.Equal(t, s, got)
		require.Equal(t, s != domain.Disconnected && s != domain.Errored, s.IsActive())
	}
	for _, raw := range []string{"", "LOGGED_OUT", "connecting", "ERR OR"} {
		_, err := domain.ParseStatus(raw)
		requireRefused(t, err, "Status must be one of")
	}
	commands := []domain.Command{
		domain.CommandNone, domain.CommandStart, domain.CommandRestart, domain.CommandMove, domain.CommandDisconnect, domain.CommandLogout, domain.CommandDelete,
	}
	for i, c := range commands {
		require.Equal(t, i >= 3, c.Stops(), c)
	}
	stops := commands[4:]
	for i, c := range stops {
		for j, other := range stops {
			require.Equal(t, stops[max(i, j)], c.MoreDestructive(other), "%s or %s", c, other)
		}
	}
}

func TestCommandAsStop_EveryCommand_LogoutOrDisconnect(t *testing.T) {
	require.Equal(t, domain.CommandLogout, domain.CommandLogout.AsStop())
	for _, c := range []domain.Command{
		domain.CommandNone, domain.CommandStart, domain.CommandRestart, domain.CommandMove, domain.CommandDisconnect, domain.CommandDelete,
	} {
		require.Equal(t, domain.CommandDisconnect, c.AsStop(), c)
	}
}

func TestSessionClone_Changed_OriginalUnchanged(t *testing.T) {
	s := at(t, "CONNECTED").Session
	s.QR.Image = []byte("png")
	c := s.Clone()
	require.Equal(t, s, c)
	c.Status, c.QR.Image[0] = domain.Errored, 'x'
	require.Equal(t, []any{domain.Connected, "png"}, []any{s.Status, string(s.QR.Image)})
}
