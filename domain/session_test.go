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

// stage is one session and its clock.
type stage struct {
	*domain.Session
	t   *testing.T
	now time.Time
}

func card(t *testing.T) *stage {
	return &stage{domain.NewSession("s1", "u1", "name", "about", noon), t, noon}
}

// starting is a session whose worker, w1, has been told to start it.
func starting(t *testing.T) *stage {
	s := card(t)
	require.NoError(t, s.Connect("", s.now))
	s.Assign("w1", s.now)
	s.CommandAccepted(timing, s.now)
	return s
}

func (s *stage) after(d time.Duration) *stage {
	s.now = s.now.Add(d)
	return s
}

// hears applies a report and gives the types of the events it raised.
func (s *stage) hears(r domain.Report) (domain.Outcome, []domain.EventType) {
	outcome, events := s.Apply(r, timing, s.now)
	return outcome, types(events)
}

// is applies a report of a status that must move the session.
func (s *stage) is(status domain.Status) *stage {
	s.t.Helper()
	outcome, _ := s.hears(domain.Report{Status: status, PhoneNumber: map[bool]string{true: "6281234567890"}[status == domain.Connected]})
	require.Equal(s.t, domain.Applied, outcome, "%s to %s", s.Status, status)
	return s
}

func (s *stage) next(w *domain.Worker) (domain.Step, time.Time) {
	return domain.NextStep(s.Session, w, timing, s.now)
}

func types(events []domain.Event) []domain.EventType {
	var all []domain.EventType
	for _, e := range events {
		all = append(all, e.Type)
	}
	return all
}

// at leads a new session to a state by the shortest way.
func at(t *testing.T, state string) *stage {
	t.Helper()
	s := starting(t)
	switch state {
	case "INIT":
	case "QR_REQUIRED":
		s.is(domain.QRRequired)
	case "CONNECTED":
		s.is(domain.Connected)
	case "RECONNECTING":
		s.is(domain.Connected).is(domain.Reconnecting)
	case "settling":
		s.is(domain.Connected).is(domain.Disconnected)
	case "stopping":
		s.is(domain.Connected)
		s.Disconnect(s.now)
	case "DISCONNECTED":
		s.is(domain.Connected)
		s.Disconnect(s.now)
		s.StopConfirmed(s.now)
	case "ERROR":
		s.is(domain.Errored)
	default:
		t.Fatal(state)
	}
	return s
}

// The life cycle of domain.md, as far as reports move it. "settling" is
// DISCONNECTED with the intent up, "stopping" with the intent down and the stop
// not confirmed yet.
func TestLifeCycleByReport(t *testing.T) {
	const table = `
		from         INIT        QR_REQUIRED CONNECTED   RECONNECTING DISCONNECTED ERROR
		INIT         unchanged   applied     applied     stale        applied      applied
		QR_REQUIRED  stale       unchanged   applied     stale        applied      applied
		CONNECTED    stale       stale       unchanged   applied      applied      applied
		RECONNECTING stale       applied     applied     unchanged    applied      applied
		settling     applied     applied     applied     applied      unchanged    stale
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
				outcome, events := s.hears(domain.Report{Status: domain.Status(to)})
				require.Equal(t, want, outcome.String())
				if outcome != domain.Applied {
					require.Empty(t, events)
					require.Equal(t, before, *s.Session)
					return
				}
				require.Equal(t, domain.Status(to), s.Status)
				require.Equal(t, s.now, s.StatusAt)
				require.Equal(t, raises[s.Status], events)
				require.True(t, domain.MayReport(before.Status, s.Status))
				if to == "ERROR" {
					require.Equal(t, domain.Down, s.Intent)
					require.False(t, s.IsAssigned())
				} else {
					require.Equal(t, []any{domain.Up, "w1", int64(1)}, []any{s.Intent, s.WorkerID, s.Generation}, "it keeps its slot")
				}
			})
		}
	}
	for _, to := range statuses {
		require.False(t, domain.MayReport(domain.Errored, to))
	}
}

// The same, as far as the user moves it.
func TestLifeCycleByUser(t *testing.T) {
	const table = `
		from         connect                    restart       disconnect   logout
		INIT         SESSION_CONNECTING         INIT          DISCONNECTED DISCONNECTED
		QR_REQUIRED  SESSION_CONNECTING         INIT          DISCONNECTED DISCONNECTED
		CONNECTED    SESSION_ALREADY_CONNECTED  INIT          DISCONNECTED DISCONNECTED
		RECONNECTING SESSION_CONNECTING         INIT          DISCONNECTED DISCONNECTED
		settling     INIT                       INIT          still        still
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
				var told bool
				var events []domain.Event
				switch verb {
				case "connect":
					err = s.Connect("", s.now)
				case "restart":
					err = s.Restart(s.now)
				case "disconnect":
					told, events = s.Disconnect(s.now)
				case "logout":
					told, events = s.Logout(s.now)
				}
				if err != nil {
					require.Equal(t, want, string(domain.CodeOf(err)))
					require.Equal(t, before, *s.Session)
					return
				}
				require.Equal(t, before.WorkerID, s.WorkerID, "that is for the reconciler to change")
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
				require.Equal(t, before.IsAssigned(), told)
				if want == "still" {
					require.Empty(t, events)
				} else {
					require.Equal(t, []domain.EventType{domain.EventSessionDisconnected}, types(events))
				}
				if told {
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

func TestLogoutForgetsAndDisconnectKeeps(t *testing.T) {
	linked := func() *stage {
		s := starting(t)
		s.hears(domain.Report{Status: domain.Connected, PhoneNumber: "6281234567890", DisplayName: "Ann"})
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
	require.Equal(t, domain.CommandLogout, s.Command, "never weakened")

	s = linked()
	s.Disconnect(s.now)
	s.Logout(s.now)
	require.Equal(t, domain.CommandLogout, s.Command)
}

// A logout that the worker has not confirmed is carried out before the session
// starts again: the server said yes to it.
func TestConnectAfterLogout(t *testing.T) {
	worker := &domain.Worker{ID: "w1", Online: true}
	for name, again := range map[string]func(s *stage){
		"connect":             func(*stage) {},
		"connect and restart": func(s *stage) { require.NoError(t, s.Restart(s.now)) },
		"worker came back": func(s *stage) {
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
			require.Equal(t, domain.StepAbandonAssignment, step, "it is to be logged out there, whenever the worker is back")
			for _, status := range statuses {
				outcome, events := s.hears(domain.Report{Status: status})
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

func TestQR(t *testing.T) {
	s := at(t, "INIT")
	outcome, events := s.hears(domain.Report{Status: domain.QRRequired, QR: qr})
	require.Equal(t, domain.Applied, outcome)
	require.Equal(t, []domain.EventType{domain.EventSessionQR}, events)
	require.Equal(t, qr, s.QR)

	later := domain.QR{Code: qr.Code, ExpiresAt: noon.Add(2 * time.Minute)}
	outcome, _ = s.hears(domain.Report{Status: domain.QRRequired, QR: later})
	require.Equal(t, domain.Unchanged, outcome)
	require.Equal(t, qr, s.QR, "the same code, told again, is not good for longer")

	later.Code = "2@second"
	outcome, events = s.hears(domain.Report{Status: domain.QRRequired, QR: later})
	require.Equal(t, domain.Repeated, outcome)
	require.Empty(t, events)
	require.Equal(t, later, s.QR)

	outcome, _ = s.hears(domain.Report{Status: domain.QRRequired})
	require.Equal(t, domain.Unchanged, outcome)
	require.Equal(t, later, s.QR, "a heartbeat brings none, and takes none")

	picture := domain.QR{Image: []byte("png"), ExpiresAt: later.ExpiresAt}
	outcome, _ = s.hears(domain.Report{Status: domain.QRRequired, QR: picture, PairingCode: "ABCD-1234"})
	require.Equal(t, domain.Repeated, outcome)
	require.Equal(t, []any{picture, "ABCD-1234"}, []any{s.QR, s.PairingCode})

	for name, end := range map[string]func(s *stage){
		"CONNECTED":    func(s *stage) { s.is(domain.Connected) },
		"DISCONNECTED": func(s *stage) { s.is(domain.Disconnected) },
		"ERROR":        func(s *stage) { s.is(domain.Errored) },
		"disconnect":   func(s *stage) { s.Disconnect(s.now) },
		"logout":       func(s *stage) { s.Logout(s.now) },
		"restart":      func(s *stage) { require.NoError(t, s.Restart(s.now)) },
		"move":         func(s *stage) { s.RequestStopForMove(s.now) },
		"failover":     func(s *stage) { s.UnassignForMove(domain.EventSessionFailedOver, s.now) },
	} {
		s := at(t, "INIT")
		s.hears(domain.Report{Status: domain.QRRequired, QR: qr, PairingCode: "ABCD-1234"})
		end(s)
		require.True(t, s.QR.IsZero(), name)
		require.Empty(t, s.PairingCode, name)
	}
}

func TestPairing(t *testing.T) {
	s := card(t)
	require.NoError(t, s.Connect("6281234567890", s.now))
	s.Assign("w1", s.now)
	s.is(domain.QRRequired)
	s.UnassignForMove(domain.EventSessionFailedOver, s.now)
	s.Assign("w2", s.now)
	require.Equal(t, "6281234567890", s.PairingPhone, "it is asked for again elsewhere")
	s.is(domain.Connected)
	require.Empty(t, s.PairingPhone)
}

// A report that repeats the present status refreshes data and raises nothing.
func TestRepeatedReport(t *testing.T) {
	s := at(t, "CONNECTED").after(time.Minute)
	since := s.StatusAt
	outcome, events := s.hears(domain.Report{Status: domain.Connected, PhoneNumber: "6289999999999", DisplayName: "Ann"})
	require.Equal(t, domain.Repeated, outcome)
	require.Empty(t, events)
	require.Equal(t, []string{"6289999999999", "Ann"}, []string{s.PhoneNumber, s.DisplayName})
	require.Equal(t, []time.Time{since, s.now, s.now}, []time.Time{s.StatusAt, s.LastSeenAt, s.UpdatedAt})

	outcome, _ = s.hears(domain.Report{Status: domain.Connected, PhoneNumber: "6289999999999"})
	require.Equal(t, domain.Unchanged, outcome, "cheap: nothing to store")
	require.Equal(t, "Ann", s.DisplayName, "what a report leaves out stays")

	// A logout on the phone that is told a moment after the disconnect.
	s = at(t, "settling")
	outcome, events = s.hears(domain.Report{Status: domain.Disconnected, LoggedOut: true})
	require.Equal(t, domain.Repeated, outcome)
	require.Empty(t, events)
	require.True(t, s.LoggedOut)
	require.Empty(t, s.PhoneNumber+s.CredentialsWorkerID)

	// The same while the user's own disconnect is under way.
	s = at(t, "stopping")
	outcome, _ = s.hears(domain.Report{Status: domain.Disconnected, LoggedOut: true})
	require.Equal(t, domain.Repeated, outcome)
	require.False(t, s.LoggedOut, "it does not settle")
	require.Empty(t, s.PhoneNumber+s.CredentialsWorkerID)
	s.CredentialsWorkerID = "w1"
	outcome, _ = s.hears(domain.Report{Status: domain.Disconnected, LoggedOut: true})
	require.Equal(t, domain.Repeated, outcome)
}

func TestRefusedReports(t *testing.T) {
	for name, c := range map[string]struct {
		state  string
		report domain.Report
		want   domain.Outcome
	}{
		"older generation":      {"CONNECTED", domain.Report{Status: domain.Disconnected, Generation: 1}, domain.NotOwner},
		"newer generation":      {"CONNECTED", domain.Report{Status: domain.Disconnected, Generation: 3}, domain.NotOwner},
		"this generation":       {"CONNECTED", domain.Report{Status: domain.Disconnected, Generation: 2}, domain.Applied},
		"another worker":        {"CONNECTED", domain.Report{Status: domain.Disconnected, WorkerID: "w2"}, domain.NotOwner},
		"another's generation":  {"CONNECTED", domain.Report{Status: domain.Disconnected, WorkerID: "w2", Generation: 2}, domain.NotOwner},
		"the owner":             {"CONNECTED", domain.Report{Status: domain.Disconnected, WorkerID: "w1"}, domain.Applied},
		"not wanted":            {"stopping", domain.Report{Status: domain.Connected, WorkerID: "w1", Generation: 2}, domain.NotWanted},
		"not wanted, not owner": {"stopping", domain.Report{Status: domain.Connected, Generation: 1}, domain.NotOwner},
		"no status at all":      {"CONNECTED", domain.Report{}, domain.Stale},
		"an unknown one":        {"settling", domain.Report{Status: "SLEEPING"}, domain.Stale},
	} {
		t.Run(name, func(t *testing.T) {
			s := at(t, c.state)
			s.Generation = 2
			before := *s.Session
			outcome, events := s.hears(c.report)
			require.Equal(t, c.want, outcome)
			if outcome != domain.Applied {
				require.Empty(t, events)
				require.Equal(t, before, *s.Session)
			}
		})
	}
}

// By the worker's own clock, the newer truth wins and not the later arrival.
func TestReportsOutOfOrder(t *testing.T) {
	s := starting(t)
	say := func(status domain.Status, ms int) domain.Outcome {
		outcome, _ := s.hears(domain.Report{Status: status, At: noon.Add(time.Duration(ms) * time.Millisecond)})
		return outcome
	}
	require.Equal(t, domain.Applied, say(domain.Connected, 10))
	require.Equal(t, domain.Stale, say(domain.Disconnected, 9))
	require.Equal(t, domain.Unchanged, say(domain.Connected, 20))
	require.Equal(t, domain.Stale, say(domain.Disconnected, 19), "what repeats the status is news as well")
	require.Equal(t, domain.Applied, say(domain.Reconnecting, 20), "at the same time: in the order of arrival")
	outcome, _ := s.hears(domain.Report{Status: domain.Connected})
	require.Equal(t, domain.Applied, outcome, "without a time: in the order of arrival")

	// A worker's clock says nothing about another's, nor about that of its next process.
	s.UnassignForMove(domain.EventSessionFailedOver, s.now)
	s.Assign("w2", s.now)
	require.Equal(t, domain.Applied, say(domain.Connected, -1000))
	s.AwaitRecovery(time.Second, s.now)
	require.Equal(t, domain.Applied, say(domain.Connected, -2000))
}

func TestWords(t *testing.T) {
	var all []string
	for o := domain.Applied; o <= domain.NotWanted; o++ {
		all = append(all, o.String())
	}
	require.Equal(t, []string{"applied", "repeated", "unchanged", "stale", "not owner", "not wanted"}, all)
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
	orders := []domain.Command{
		domain.CommandNone, domain.CommandStart, domain.CommandRestart, domain.CommandMove, domain.CommandDisconnect, domain.CommandLogout, domain.CommandDelete,
	}
	for i, o := range orders {
		require.Equal(t, i >= 3, o.Stops(), o)
	}
	stops := orders[4:]
	for i, o := range stops {
		for j, other := range stops {
			require.Equal(t, stops[max(i, j)], o.MoreDestructive(other), "%s or %s", o, other)
		}
	}
}

func TestCloneSharesNothing(t *testing.T) {
	s := at(t, "CONNECTED").Session
	s.QR.Image = []byte("png")
	c := s.Clone()
	require.Equal(t, s, c)
	c.Status, c.QR.Image[0] = domain.Errored, 'x'
	require.Equal(t, []any{domain.Connected, "png"}, []any{s.Status, string(s.QR.Image)})
}
