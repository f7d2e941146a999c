package domain_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
)

var (
	owners = []struct {
		id   string
		tier domain.Tier
	}{{"ann", domain.TierBasic}, {"bob", domain.TierPro}, {"cleo", domain.TierMax}}
	rankOf = map[string]int{"ann": 0, "bob": 1, "cleo": 2}
)

// The test drives sessions and workers through random actions in random order. Calls and reports get
// lost, and processes die at any point. The invariants of the domain hold after every action. After the
// last fault the intents of all users come true.
func TestLifeCycle_RandomFaults_IntentsComeTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newSimulation(t)
		w.register(w.addProcess("old", false, 0), 2)
		w.register(w.addProcess("new", true, 0), 3)
		w.register(w.addProcess("odd", true, -time.Minute), 2)
		if rapid.Bool().Draw(t, "state group") {
			w.share("old", "new")
		}
		for _, u := range owners { // the first sessions
			w.add(u.id)
		}
		t.Repeat(map[string]func(*rapid.T){
			"":           func(*rapid.T) { w.check() },
			"create":     w.with(w.create),
			"connect":    w.withSession(w.connect),
			"disconnect": w.withSession(w.disconnect),
			"logout":     w.withSession(w.logout),
			"restart":    w.withSession(w.restart),
			"delete":     w.withSession(w.remove),
			"migrate":    w.withSession(w.migrate),
			"cancel":     w.withSession(w.cancelMigration),
			"run":        w.with(w.runOne),
			"run on":     w.with(w.runOne),
			"mail":       w.with(w.deliverMail),
			"late":       w.with(w.arriveLate),
			"anything":   w.withSession(w.deliverAnything),
			"worker":     w.with(w.fault),
			"heartbeat":  w.withProcess(w.heartbeat),
			"detect":     w.with(w.detectFailures),
			"reconcile":  w.with(w.reconcile),
			"time":       w.with(w.passTime),
			"rounds":     w.with(w.passRounds),
		})
		w.recover()
	})
}

// with returns an action without a parameter.
func (w *simulation) with(fn func()) func(*rapid.T) {
	return func(t *rapid.T) { w.t = t; fn() }
}

// withSession returns an action on a random session.
func (w *simulation) withSession(fn func(id string)) func(*rapid.T) {
	return func(t *rapid.T) {
		w.t = t
		if len(w.sessions) == 0 {
			t.Skip("no session")
		}
		fn(rapid.SampledFrom(sorted(w.sessions)).Draw(t, "session"))
	}
}

// withProcess returns an action on a random worker.
func (w *simulation) withProcess(fn func(p *process)) func(*rapid.T) {
	return func(t *rapid.T) {
		w.t = t
		fn(w.processes[rapid.SampledFrom(sorted(w.processes)).Draw(t, "worker")])
	}
}

// limitOf returns the user's limit of sessions.
func limitOf(user string) int { return domain.DefaultTiers().Of(owners[rankOf[user]].tier).Sessions }

// create adds a session of a random user.
func (w *simulation) create() {
	user := rapid.SampledFrom(owners).Draw(w.t, "user").id
	recorded := 0
	for _, s := range w.sessions {
		if s.UserID == user {
			recorded++
		}
	}
	if recorded == min(limitOf(user), 3) {
		w.t.Skip("no more sessions")
	}
	w.add(user)
}

// add adds a session.
func (w *simulation) add(user string) {
	w.ids++
	s := domain.NewSession(fmt.Sprint("s", w.ids), user, "name", "", w.now)
	w.sessions[s.ID] = s
}

// connect does the work of the request: intent and placement in one transaction, one reconcile at once,
// and the cancellation of a connect that failed.
func (w *simulation) connect(id string) {
	s := w.sessions[id]
	if s.Intent == domain.Down && w.live[s.UserID] == limitOf(s.UserID) {
		w.t.Skip("no more live sessions")
	}
	if err := s.Clone().Connect("", w.now); err != nil {
		require.True(w.t, s.Status.IsActive(), err)
		return
	}
	worker := w.choose(s)
	if !s.IsAssigned() && worker == "" {
		w.change("note refusal", id, func(s *domain.Session) []domain.Event { w.noteHomeRefused(s); return nil })
		return // the caller sees the failure
	}
	w.change("connect", id, func(s *domain.Session) []domain.Event {
		require.NoError(w.t, s.Connect("", w.now))
		if s.IsAssigned() {
			return nil
		}
		return w.assign(s, worker)
	})
	w.reconcileSession(id)
	if s := w.sessions[id]; s.Intent == domain.Up && !s.IsAssigned() && s.FailedStarts > 0 && w.pick("crash before cancelling", 4) == 0 {
		w.change("cancel connect", id, func(s *domain.Session) []domain.Event { s.CancelConnect(w.now); return nil })
	}
}

// disconnect does the work of the user's disconnect.
func (w *simulation) disconnect(id string) {
	w.change("disconnect", id, func(s *domain.Session) []domain.Event {
		stopDue, events := s.Disconnect(w.now)
		require.Equal(w.t, s.IsAssigned(), stopDue)
		return events
	})
	w.reconcileSession(id)
}

// logout does the work of the user's logout.
func (w *simulation) logout(id string) {
	s := w.sessions[id]
	for _, worker := range []string{s.WorkerID, s.CredentialsWorkerID} {
		if p := w.processes[worker]; p != nil && p.linked[id] {
			p.doomed[id] = true
		}
	}
	credentialsWorker := s.CredentialsWorkerID
	w.change("logout", id, func(s *domain.Session) []domain.Event {
		_, events := s.Logout(w.now)
		require.Empty(w.t, s.PhoneNumber+s.DisplayName+s.CredentialsWorkerID)
		return events
	})
	if credentialsWorker != "" && credentialsWorker != s.WorkerID {
		w.addCleanup(credentialsWorker, id, domain.CommandLogout)
	}
	w.reconcileSession(id)
}

// restart does the work of the user's restart.
func (w *simulation) restart(id string) {
	if w.sessions[id].Intent == domain.Down {
		require.Error(w.t, w.sessions[id].Clone().Restart(w.now))
		return
	}
	w.change("restart", id, func(s *domain.Session) []domain.Event {
		require.NoError(w.t, s.Restart(w.now))
		return nil
	})
	w.reconcileSession(id)
}

// remove deletes a session.
func (w *simulation) remove(id string) {
	s := w.sessions[id]
	for _, worker := range []string{s.WorkerID, s.CredentialsWorkerID} {
		if worker != "" {
			w.addCleanup(worker, id, domain.CommandDelete)
		}
	}
	if s.IsAssigned() {
		w.workers[s.WorkerID].Used--
	}
	if s.Intent == domain.Up {
		w.live[s.UserID]--
	}
	if m := w.migrations[s.MigrationID]; m != nil {
		m.Deleted(w.now)
	}
	delete(w.sessions, id)
}

// migrate requests a migration.
func (w *simulation) migrate(id string) {
	if s := w.sessions[id]; !s.IsAssigned() || s.Intent == domain.Down || s.Command.Stops() || s.MigrationID != "" {
		w.t.Skip("it runs nowhere, or moves already")
	}
	w.change("migrate", id, func(s *domain.Session) []domain.Event {
		if w.workers[s.WorkerID].StateGroup == "" {
			s.AbandonHome()
		}
		w.startMigration(s, domain.MigrationByOperator)
		return nil
	})
}

// cancelMigration cancels a migration.
func (w *simulation) cancelMigration(id string) {
	m := w.migrations[w.sessions[id].MigrationID]
	if m == nil {
		w.t.Skip("it does not move")
	}
	pending := m.Status == domain.MigrationPending
	w.change("cancel migration", id, func(s *domain.Session) []domain.Event {
		require.Equal(w.t, pending, m.Cancel(s, "changed my mind", w.now) == nil)
		require.Equal(w.t, pending, s.MigrationID == "")
		return nil
	})
}

// runOne continues a random running session.
func (w *simulation) runOne() {
	var all []place
	for _, id := range sorted(w.processes) {
		for _, session := range sorted(w.processes[id].sessions) {
			if w.processes[id].running(session) {
				all = append(all, place{id, session})
			}
		}
	}
	if len(all) == 0 {
		w.t.Skip("nothing runs")
	}
	at := rapid.SampledFrom(all).Draw(w.t, "session")
	w.processes[at.worker].runSession(w, at.session)
}

// deliverMail delivers a report that was under way, whatever happened since.
func (w *simulation) deliverMail() {
	if len(w.mail) == 0 {
		w.t.Skip("no mail")
	}
	i := rapid.IntRange(0, len(w.mail)-1).Draw(w.t, "report")
	r := w.mail[i]
	w.mail = slices.Delete(w.mail, i, i+1)
	w.deliver(r)
}

// arriveLate executes a call, or records a response, that was under way.
func (w *simulation) arriveLate() {
	if len(w.late) == 0 {
		w.t.Skip("nothing under way")
	}
	i := rapid.IntRange(0, len(w.late)-1).Draw(w.t, "which")
	fn := w.late[i]
	w.late = slices.Delete(w.late, i, i+1)
	fn()
}

// deliverAnything delivers a report that no worker would send.
func (w *simulation) deliverAnything(id string) {
	r := domain.Report{
		SessionID: id, Status: rapid.SampledFrom(statuses).Draw(w.t, "status"),
		WorkerID:   rapid.SampledFrom([]string{"", "old", "new", "elsewhere"}).Draw(w.t, "from"),
		Generation: rapid.Int64Range(0, w.sessions[id].Generation+1).Draw(w.t, "generation"),
		LoggedOut:  rapid.Bool().Draw(w.t, "logged out"), Snapshot: rapid.Bool().Draw(w.t, "snapshot"),
	}
	w.deliver(r)
}

// fault begins or ends a fault of a worker.
func (w *simulation) fault() {
	p := w.processes[rapid.SampledFrom([]string{"old", "new", "odd"}).Draw(w.t, "worker")]
	k := w.workers[p.id]
	switch rapid.SampledFrom([]string{"crash", "leave", "cut off", "reachable", "register", "drain", "force", "maintenance", "move", "activate"}).Draw(w.t, "fault") {
	case "crash":
		p.up = false
	case "leave":
		if p.up && !p.cutOff {
			w.markDown(p.id, domain.DownUnregistered)
		}
		p.up = false
	case "cut off":
		p.cutOff = true
	case "reachable":
		p.cutOff = false
	case "register":
		w.register(p, k.Capacity)
	case "move":
		k.Failover = domain.FailoverMove
		if !k.Online {
			w.eachOn(p.id, "failover", func(s *domain.Session) []domain.Event { s.DueAt = k.FailoverAt; return nil })
		}
	case "maintenance":
		w.heartbeatSaying(p, domain.MaintenanceBegins)
		w.makeDue(p.id)
	case "force":
		k.ForceDrain()
		w.makeDue(p.id)
	case "drain":
		k.Draining = true
		w.makeDue(p.id)
	case "activate":
		k.Activate(w.now)
	}
}

// makeDue makes the sessions of a worker due. Those of a worker that is down stop waiting for it.
func (w *simulation) makeDue(worker string) {
	w.eachOn(worker, "drain", func(s *domain.Session) []domain.Event {
		if s.DueAt.IsZero() || !w.workers[worker].Online {
			s.DueAt = w.now
		}
		return nil
	})
}

// detectFailures marks silent and crashed workers down.
func (w *simulation) detectFailures() {
	for _, id := range sorted(w.processes) {
		k, p := w.workers[id], w.processes[id]
		switch {
		case k.Online && !w.now.Before(k.HeartbeatDeadline(w.timing, k.LastHeartbeat)):
			w.markDown(id, domain.DownHeartbeatTimeout)
		case !p.up:
			w.markDown(id, domain.DownCrashed)
		}
	}
}

// passTime lets a random time pass.
func (w *simulation) passTime() {
	w.pass(rapid.SampledFrom([]time.Duration{
		time.Millisecond, 500 * time.Millisecond, 2 * time.Second, 6 * time.Second, 46 * time.Second, 91 * time.Second, 10 * time.Minute,
	}).Draw(w.t, "time"))
}

// passRounds runs some rounds of the periodic work.
func (w *simulation) passRounds() {
	d := rapid.SampledFrom([]time.Duration{2 * time.Second, 15 * time.Second, 30 * time.Second}).Draw(w.t, "between")
	for range rapid.IntRange(1, 8).Draw(w.t, "rounds") {
		w.pass(d)
		for _, id := range sorted(w.processes) {
			w.heartbeat(w.processes[id])
		}
		w.detectFailures()
		w.reconcile()
		w.check()
	}
}

// pass lets time pass. Workers whose lease ends stop their sessions.
func (w *simulation) pass(d time.Duration) {
	w.now = w.now.Add(d)
	for _, p := range w.processes {
		if p.expired(w) {
			for id, s := range p.sessions {
				if s.IsActive() {
					p.sessions[id] = domain.Disconnected
				}
			}
		}
	}
}

// check checks the invariants that hold after every action.
func (w *simulation) check() {
	used, live := map[string]int{}, map[string]int{}
	for _, s := range w.sessions {
		w.checkSession(s)
		if s.IsAssigned() {
			used[s.WorkerID]++
		}
		if s.Intent == domain.Up {
			live[s.UserID]++
		}
	}
	for id, k := range w.workers {
		require.Equal(w.t, used[id], k.Used, "slots of %s", id)
		require.LessOrEqual(w.t, k.Used, k.Capacity)
	}
	for _, u := range owners {
		require.Equal(w.t, live[u.id], w.live[u.id])
		require.LessOrEqual(w.t, live[u.id], limitOf(u.id))
	}
}

// checkSession checks the invariants of one session.
func (w *simulation) checkSession(s *domain.Session) {
	t, debounced := w.t, !s.DebounceUntil.IsZero()
	require.True(t, s.Intent == domain.Up || !s.Status.IsActive(), "%s is not wanted and %s", s.ID, s.Status)
	awaitsHome := s.HomePolicy == domain.HomeRequired && !s.IsAssigned() && s.Status == domain.Disconnected
	require.True(t, s.Intent == domain.Down || s.Status.IsActive() || debounced || awaitsHome, "%s is wanted and at rest at %s", s.ID, s.Status)
	require.True(t, s.Status != domain.Errored || !s.IsAssigned(), "%s holds a slot in ERROR", s.ID)
	require.True(t, !debounced || s.IsAssigned() && s.Intent == domain.Up && s.Status == domain.Disconnected, "%s is debounced", s.ID)
	require.True(t, !s.LoggedOut || debounced)
	require.True(t, s.IsAssigned() || !s.Confirmed, "nothing confirms that %s runs", s.ID)
	require.True(t, !s.IsAssigned() || s.Confirmed || s.Command != domain.CommandNone, "%s was never asked for", s.ID)
	require.True(t, !s.Command.Stops() || s.Status != domain.Connected, "%s is being stopped and CONNECTED", s.ID)
	require.True(t, s.MigrationID == "" || !w.migrations[s.MigrationID].Status.Ended(), "%s still has a migration that is over", s.ID)
	require.True(t, s.MigrationID != "" || s.MigrationTargetID == "")
	require.True(t, s.QR.IsZero() || s.Status == domain.QRRequired, "%s shows a QR at %s", s.ID, s.Status)
	step, at := domain.NextStep(s, w.workers[s.WorkerID], w.timing, w.now)
	if step != domain.StepNone || !at.IsZero() {
		require.False(t, s.DueAt.IsZero(), "nobody will look at %s (%s, %s, %q): step %d at %v", s.ID, s.Status, s.WorkerID, s.Command, step, at)
	}
	if step != domain.StepNone {
		require.False(t, s.DueAt.After(w.now.Add(w.timing.StartTimeout)), "%s is looked at late", s.ID)
	}
}

// recover ends all faults: pending calls and reports arrive, every worker that is up can be reached,
// and a spare worker has room for all. It then checks that every session reaches its user's intent
// within a bounded time.
func (w *simulation) recover() {
	w.faulty = false
	for len(w.late)+len(w.mail) > 0 {
		late, mail := w.late, w.mail
		w.late, w.mail = nil, nil
		for _, fn := range late {
			fn()
		}
		for _, r := range mail {
			w.deliver(r)
		}
	}
	for _, p := range w.processes {
		p.cutOff = false
	}
	w.register(w.addProcess("spare", true, 0), 50)
	for round := range 160 {
		w.pass(5 * time.Second)
		for _, id := range sorted(w.processes) {
			p := w.processes[id]
			for _, session := range sorted(p.sessions) {
				if p.running(session) {
					p.runSession(w, session)
				}
			}
			if round%6 == 0 {
				w.heartbeat(p)
			}
		}
		w.detectFailures()
		w.reconcile()
		w.check()
	}
	for _, id := range sorted(w.sessions) {
		s := w.sessions[id]
		if w.isBound(s) {
			continue
		}
		if s.Intent == domain.Up {
			require.Equal(w.t, domain.Connected, s.Status, "%s is wanted: %+v", id, s)
			require.Equal(w.t, domain.WorkerOnline, w.workers[s.WorkerID].Status(), "%s is on %s", id, s.WorkerID)
			require.True(w.t, w.processes[s.WorkerID].running(id), "%s runs on %s", id, s.WorkerID)
		} else {
			require.False(w.t, s.IsAssigned(), "%s is not wanted: %+v", id, s)
		}
		require.Empty(w.t, s.Command)
		if w.waitsForPeer(s) {
			continue
		}
		require.Zero(w.t, s.DueAt, "at %v: %+v", w.now, s)
	}
	for _, m := range w.migrations {
		s := w.sessions[m.SessionID]
		require.True(w.t, m.Status.Ended() || w.isBound(s) || w.waitsForPeer(s), "%+v", m)
	}
	for _, p := range w.processes {
		for session := range p.sessions {
			s := w.sessions[session]
			require.True(w.t, !p.running(session) || s != nil && s.WorkerID == p.id, "%s runs on %s as well: %+v", session, p.id, s)
		}
		for session := range p.doomed {
			require.False(w.t, p.up && p.linked[session], "%s still holds the credentials of %s", p.id, session)
		}
	}
	for at := range w.cleanups {
		require.False(w.t, w.processes[at.worker].up, "something is left to do on %s for %s", at.worker, at.session)
	}
}

// waitsForPeer reports whether the session's migration waits for another worker of its state group.
func (w *simulation) waitsForPeer(s *domain.Session) bool {
	m := w.migrations[s.MigrationID]
	return m != nil && m.Status == domain.MigrationPending && w.choose(s, s.WorkerID) == ""
}

// isBound reports whether the session waits for a home that is not online, and whose group has no worker
// for it.
func (w *simulation) isBound(s *domain.Session) bool {
	home := w.workers[s.CredentialsWorkerID]
	return home != nil && home.Status() != domain.WorkerOnline && s.ShouldWaitForHome(home, w.timing, w.now)
}
