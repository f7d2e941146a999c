package domain_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
)

// A simulation is a minimal store together with the workers' processes. Only the rules of package
// domain change its rows.
type simulation struct {
	t      *rapid.T
	timing domain.Timing
	now    time.Time
	faulty bool // calls may fail and reports may get lost
	calm   int  // how rarely they do

	sessions   map[string]*domain.Session
	workers    map[string]*domain.Worker
	cleanups   map[place]*domain.Cleanup
	migrations map[string]*domain.Migration
	live       map[string]int // by user: sessions with the intent up

	processes map[string]*process
	fresh     map[string]int64 // generations that this process assigned without a call so far
	mail      []domain.Report  // reports under way to the control plane
	late      []func()         // calls under way to workers, and responses under way to us
	ids       int
}

// A place is one session on one worker.
type place struct{ worker, session string }

// A process is the real process of a worker.
type process struct {
	id       string
	up       bool // the process exists
	cutOff   bool // no message passes in either direction
	modern   bool // lease, generation, and it states its worker id
	beatAt   time.Time
	clock    time.Duration // the difference to our clock
	stamp    time.Time
	sessions map[string]domain.Status // the sessions that it lists
	versions map[string]int64
	linked   map[string]bool // the sessions whose credentials it stores
	doomed   map[string]bool // the linked sessions that a logout had to wipe
	late     bool            // it executes a call of long ago
	excused  map[string]bool // sessions that may run here without our knowledge
}

func newSimulation(t *rapid.T) *simulation {
	return &simulation{
		t: t, timing: domain.Timing{HomeWait: 2 * time.Minute}.WithDefaults(), now: noon, faulty: true, calm: rapid.IntRange(0, 3).Draw(t, "calm"),
		sessions: map[string]*domain.Session{}, workers: map[string]*domain.Worker{},
		cleanups: map[place]*domain.Cleanup{}, migrations: map[string]*domain.Migration{}, live: map[string]int{}, processes: map[string]*process{}, fresh: map[string]int64{},
	}
}

// pick draws one of n possibilities while faults happen. Possibility 0 is the good one.
func (w *simulation) pick(what string, n int) int {
	if !w.faulty {
		return 0
	}
	return max(0, rapid.IntRange(-n*w.calm, n-1).Draw(w.t, what))
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// change is one transaction on one session. It checks the rules about assignments, intents and events.
func (w *simulation) change(op, id string, fn func(s *domain.Session) []domain.Event) {
	before := w.sessions[id]
	if before == nil {
		return
	}
	s := before.Clone()
	events := fn(s)
	w.syncMigration(s)
	if before.IsAssigned() && !s.IsAssigned() && s.Intent == domain.Down && slices.Contains([]string{"end debounce", "report", "answer"}, op) {
		w.processes[before.WorkerID].excused[id] = true // the worker reported that the session does not run there
	}
	if before.WorkerID != s.WorkerID {
		if before.IsAssigned() {
			require.False(w.t, s.IsAssigned(), "%s went from one worker to another in one step: %s", id, op)
			w.workers[before.WorkerID].Used--
			require.True(w.t, s.Generation == before.Generation || op == "report" && s.Generation > before.Generation)
		} else {
			to := w.workers[s.WorkerID]
			require.Equal(w.t, domain.WorkerOnline, to.Status(), "%s was assigned to %s", id, to.ID)
			to.Used++
			require.Equal(w.t, before.Generation+1, s.Generation)
			w.checkHome(before, to)
		}
	} else {
		want := before.Generation
		if op == "connect" && before.Command.Stops() && before.Command != domain.CommandLogout {
			want++ // a new assignment on the same worker
		}
		if op == "report" {
			want = max(want, s.Generation) // the worker may know a higher one
		}
		require.Equal(w.t, want, s.Generation, "the generation grew without an assignment: %s", op)
	}
	if before.Intent != s.Intent {
		w.live[s.UserID]--
		if s.Intent == domain.Up {
			w.live[s.UserID] += 2
			require.Equal(w.t, "connect", op)
		} else {
			require.True(w.t, s.Status == domain.Errored || slices.Contains([]string{"disconnect", "logout", "cancel connect"}, op) ||
				op == "end debounce" && (before.LoggedOut || !before.WasConnected), "%s took the intent of %s", op, id)
		}
	}
	if s.HomeWaitUntil.After(before.HomeWaitUntil) {
		require.Equal(w.t, w.now.Add(w.timing.HomeWait), s.HomeWaitUntil)
	}
	w.checkEvents(op, before, s, events)
	w.sessions[id] = s
}

// checkHome checks the rule about homes: a linked session that is not assigned goes to a worker without
// its credentials only after the wait for its home, or because an administrator accepted a scan.
func (w *simulation) checkHome(s *domain.Session, to *domain.Worker) {
	home := w.workers[s.CredentialsWorkerID]
	if home == nil || home == to || home.StateGroup != "" && home.StateGroup == to.StateGroup {
		return
	}
	isForced := s.HomePolicy == domain.HomeAbandoned || home.Draining && home.DrainForced
	hasRefused := !s.HomeWaitUntil.IsZero() && !w.now.Before(s.HomeWaitUntil)
	wait := w.timing.HomeWait
	if home.Failover == domain.FailoverMove {
		wait = 0
	}
	isOver := !home.Online && w.now.Sub(home.DownAt) >= wait
	require.True(w.t, isForced || hasRefused || isOver, "%s with its home %+v starts on %s", s.ID, home, to.ID)
	require.NotEqual(w.t, domain.HomeRequired, s.HomePolicy)
}

// syncMigration updates the migration of a session and checks it.
func (w *simulation) syncMigration(s *domain.Session) {
	m := w.migrations[s.MigrationID]
	if m == nil || m.Status.Ended() {
		return
	}
	before := *m
	m.SyncWithSession(s, w.now)
	switch m.Status {
	case domain.MigrationPending:
		require.Equal(w.t, m.FromWorker, s.WorkerID, "it has not left yet")
	case domain.MigrationRunning:
		require.False(w.t, m.StartedAt.IsZero())
	case domain.MigrationCompleted:
		require.Equal(w.t, domain.MigrationRunning, before.Status)
		require.Equal(w.t, m.ToWorker, s.WorkerID)
		require.True(w.t, s.Confirmed && s.Intent == domain.Up)
		require.True(w.t, m.Kind == domain.MigrationByFailover || m.ToWorker != m.FromWorker)
	case domain.MigrationFailed:
		require.True(w.t, s.Status == domain.Errored || m.ToWorker == m.FromWorker || before.Status == domain.MigrationFailed, m.Error)
	case domain.MigrationCancelled:
		require.True(w.t, s.Intent == domain.Down || m.Kind == domain.MigrationByReturn)
	case domain.MigrationNeedsScan:
		require.Equal(w.t, domain.QRRequired, s.Status)
		require.True(w.t, s.HasToScan() || m.Kind == domain.MigrationByReturn)
	}
	require.Equal(w.t, m.Status.Ended(), s.MigrationID == "")
	require.Equal(w.t, m.Status.Ended(), !m.CompletedAt.IsZero())
	require.Equal(w.t, m.Status.Ended() && m.Status != domain.MigrationCompleted, m.Error != "")
}

// startMigration begins a migration unless the session has one.
func (w *simulation) startMigration(s *domain.Session, kind domain.MigrationKind) {
	if s.MigrationID == "" {
		w.ids++
		to := ""
		if kind == domain.MigrationByReturn {
			to = s.CredentialsWorkerID
		}
		m := domain.NewMigration(fmt.Sprint("m", w.ids), s, kind, to, "", w.now)
		w.migrations[m.ID] = m
		s.Migrate(m, w.now)
	}
}

// checkEvents checks that each entered status and each assignment caused exactly one event.
func (w *simulation) checkEvents(op string, before, after *domain.Session, events []domain.Event) {
	var want, got []domain.EventType
	if before.Status != after.Status && op != "cancel connect" { // the caller of connect sees the failure, no event does
		switch after.Status {
		case domain.Connected:
			want = append(want, domain.EventSessionConnected)
		case domain.Disconnected:
			want = append(want, domain.EventSessionDisconnected)
		case domain.QRRequired:
			want = append(want, domain.EventSessionQR)
			if after.IsLinked() {
				want = append(want, domain.EventSessionNeedsScan)
			}
		case domain.Errored:
			want = append(want, domain.EventSessionError)
		}
	}
	for _, e := range events {
		require.Equal(w.t, []any{after.ID, after.UserID, after.Generation, w.now}, []any{e.SessionID, e.UserID, e.Generation, e.At})
		switch e.Type {
		case domain.EventSessionPlaced, domain.EventSessionMigrated, domain.EventSessionFailedOver:
			require.True(w.t, !before.IsAssigned() && e.WorkerID == after.WorkerID, "%s by %s", e.Type, op)
			require.Equal(w.t, before.PreviousWorkerID, e.FromWorker)
			if before.PreviousWorkerID != "" {
				require.Equal(w.t, before.PlacementEvent, e.Type)
			}
		default:
			got = append(got, e.Type)
		}
	}
	require.Equal(w.t, want, got, "%s: %s to %s", op, before.Status, after.Status)
}

// addCleanup records a stop or wipe of the session on a worker.
func (w *simulation) addCleanup(worker, session string, command domain.Command) {
	at := place{worker, session}
	c := &domain.Cleanup{WorkerID: worker, SessionID: session, Command: command, StateGroup: w.workers[worker].StateGroup}
	if old := w.cleanups[at]; old != nil {
		c.Command = command.MoreDestructive(old.Command)
	}
	if w.workers[worker].Online {
		c.DueAt = w.now
	}
	w.cleanups[at] = c
}

// choose returns a worker for the session by the filters of placement.
func (w *simulation) choose(s *domain.Session, avoid ...string) string {
	req := domain.Request{Avoid: avoid, Prefer: s.MigrationTargetID}
	if home := w.workers[s.CredentialsWorkerID]; home != nil {
		req.Home = domain.Home{WorkerID: home.ID, Group: home.StateGroup, Only: s.ShouldWaitForHome(home, w.timing, w.now)}
	}
	if s.ExcludedWorkerID != "" && w.now.Before(s.ExcludedUntil) {
		req.Avoid = append(req.Avoid, s.ExcludedWorkerID)
	}
	var loads []domain.Load
	for _, id := range sorted(w.workers) {
		k := w.workers[id]
		loads = append(loads, domain.Load{WorkerID: id, Status: k.Status(), Used: k.Used, Capacity: k.Capacity, StateGroup: k.StateGroup})
		for at, c := range w.cleanups {
			if at.session == s.ID && c.BlocksPlacement(id, k.StateGroup) {
				req.Avoid = append(req.Avoid, id) // a start would find credentials that have to be wiped
			}
		}
	}
	chosen, _ := domain.Explain(loads, req, domain.LeastSessions{}, w.now)
	return chosen
}

// assign assigns the session and remembers that no call was made.
func (w *simulation) assign(s *domain.Session, worker string) []domain.Event {
	delete(w.cleanups, place{worker, s.ID})
	events := s.Assign(worker, w.now)
	w.fresh[s.ID] = s.Generation
	return events
}

// reconcileSession executes steps until none is left now or the process dies.
func (w *simulation) reconcileSession(id string) {
	var last domain.Session
	for range 12 {
		s := w.sessions[id]
		if s == nil {
			return
		}
		if w.pick("crash between steps", 8) == 7 {
			clear(w.fresh)
			return
		}
		step, at := domain.NextStep(s, w.workers[s.WorkerID], w.timing, w.now)
		if step == domain.StepNone {
			if !s.DueAt.IsZero() && !w.now.Before(s.DueAt) {
				w.change("postpone", id, func(s *domain.Session) []domain.Event { s.DueAt = at; return nil })
			}
			return
		}
		if !w.executeStep(s, step) {
			return
		}
		if !w.faulty {
			require.NotEqual(w.t, last, *w.sessions[id], "step %d does nothing, again and again", step)
			last = *w.sessions[id]
		}
	}
}

// executeStep executes one step and reports whether another may follow.
func (w *simulation) executeStep(s *domain.Session, step domain.Step) (more bool) {
	switch step {
	case domain.StepPlace:
		worker := w.choose(s)
		w.change("place", s.ID, func(s *domain.Session) []domain.Event {
			if worker == "" {
				s.PlacementFailed(w.timing, w.now)
				w.noteHomeRefused(s)
				return nil
			}
			return w.assign(s, worker)
		})
		return worker != ""
	case domain.StepCall:
		w.call(s)
	case domain.StepStopForMove:
		to := w.choose(s, s.WorkerID)
		room := to != "" && (s.MigrationTargetID == "" || to == s.MigrationTargetID)
		w.change("move", s.ID, func(s *domain.Session) []domain.Event {
			if m := w.migrations[s.MigrationID]; m != nil && s.IsBoundToHome(w.workers[s.WorkerID]) {
				m.FailPending(s, "it was linked meanwhile", w.now)
				return nil
			}
			if !room {
				s.DueAt = w.now.Add(w.timing.RestartBackoff)
				return nil
			}
			w.startMigration(s, domain.MigrationByDrain)
			s.RequestStopForMove(w.now)
			return nil
		})
		return room || w.sessions[s.ID].MigrationID != s.MigrationID
	case domain.StepEndDebounce:
		w.change("end debounce", s.ID, func(s *domain.Session) []domain.Event { return s.EndDebounce(w.timing, w.now) })
	case domain.StepAbandonAssignment:
		w.addCleanup(s.WorkerID, s.ID, s.Command.AsStop())
		w.change("abandon", s.ID, func(s *domain.Session) []domain.Event { s.StopConfirmed(w.now); return nil })
	case domain.StepFailover:
		w.addCleanup(s.WorkerID, s.ID, domain.CommandDisconnect)
		w.change("fail over", s.ID, func(s *domain.Session) []domain.Event {
			w.startMigration(s, domain.MigrationByFailover)
			s.UnassignForMove(domain.EventSessionFailedOver, w.now)
			return nil
		})
	case domain.StepStartTimedOut:
		w.change("start timed out", s.ID, func(s *domain.Session) []domain.Event {
			w.startMigration(s, domain.MigrationByFailover)
			s.StartTimedOut("not confirmed", w.timing, w.now)
			return nil
		})
	default:
		w.t.Fatalf("step %d", step)
	}
	return true
}

// noteHomeRefused records that a session waits for a home that is online.
func (w *simulation) noteHomeRefused(s *domain.Session) {
	home := w.workers[s.CredentialsWorkerID]
	if home != nil && home.Online && s.ShouldWaitForHome(home, w.timing, w.now) {
		s.NoteHomeRefused(w.timing, w.now)
	}
}

// returnHome begins the return of sessions whose homes can take them.
func (w *simulation) returnHome() {
	for _, id := range sorted(w.sessions) {
		s := w.sessions[id]
		home := w.workers[s.CredentialsWorkerID]
		if !s.ShouldReturnHome() || home.Status() != domain.WorkerOnline || home.Used >= home.Capacity {
			continue
		}
		w.change("return", id, func(s *domain.Session) []domain.Event {
			w.startMigration(s, domain.MigrationByReturn)
			s.DueAt = w.now
			return nil
		})
	}
}

// A callResult is the outcome of a call.
type callResult struct {
	done, notDone, refused bool // neither done nor notDone: unknown
	status                 domain.Status
}

// call sends the session's command to the worker and records the response. The process may die before
// the response arrives, and another process may record it late.
func (w *simulation) call(s *domain.Session) {
	command, generation, lastReportAt, worker := s.Command, s.Generation, s.LastReportAppliedAt, s.WorkerID
	require.NotEmpty(w.t, command, "no command to send")
	first := w.fresh[s.ID] == generation && command == domain.CommandStart
	delete(w.fresh, s.ID)
	a := w.send(worker, s.ID, command, generation)
	a.notDone = a.notDone && first // otherwise an earlier call may have been executed
	record := func() { w.record(s.ID, worker, command, generation, lastReportAt, a) }
	switch n := w.pick("answer", 12); {
	case n == 11: // our process died before the response arrived
		clear(w.fresh)
	case n == 10 && !first: // another process continues meanwhile
		w.late = append(w.late, record)
	default:
		record()
	}
}

// record records the outcome of a call.
func (w *simulation) record(id, worker string, command domain.Command, generation int64, lastReportAt time.Time, a callResult) {
	w.change("answer", id, func(s *domain.Session) []domain.Event {
		switch {
		case s.WorkerID != worker || s.Generation != generation || s.Command != command && s.Command != domain.CommandNone:
		case !a.done && !a.notDone:
			s.CommandOutcomeUnknown(w.timing, w.now)
		case !a.done:
			if !a.refused {
				w.addCleanup(worker, id, domain.CommandDisconnect)
			}
			s.StartRejected("not done", w.timing, w.now)
		case command.Stops():
			s.StopConfirmed(w.now)
		case s.Command != domain.CommandNone:
			s.CommandAccepted(w.timing, w.now)
			if a.status != "" && s.LastReportAppliedAt.Equal(lastReportAt) {
				r := domain.Report{SessionID: id, WorkerID: worker, Generation: generation, Status: a.status}
				_, events := s.Apply(r, w.timing, w.now)
				return events
			}
		}
		return nil
	})
}

// send sends a command to a worker.
func (w *simulation) send(worker, session string, command domain.Command, generation int64) callResult {
	p := w.processes[worker]
	switch {
	case !p.up:
		return callResult{notDone: true, refused: true}
	case p.cutOff:
		return callResult{}
	case p.expired(w) && !command.Stops():
		return callResult{notDone: true} // it starts nothing until a heartbeat is accepted
	}
	switch w.pick("call", 9) {
	case 4: // busy
		return callResult{notDone: true}
	case 5: // lost on the way to the worker
		return callResult{}
	case 6: // the call arrives long after its timeout
		w.late = append(w.late, func() {
			if p.up && (command.Stops() || !p.expired(w)) {
				p.late = true
				p.execute(w, session, command, generation)
				p.late = false
			}
		})
		return callResult{}
	case 7: // the response is lost
		p.execute(w, session, command, generation)
		return callResult{}
	}
	return callResult{done: true, status: p.execute(w, session, command, generation)}
}

// runCleanup executes a cleanup.
func (w *simulation) runCleanup(at place) {
	c, s := w.cleanups[at], w.sessions[at.session]
	executor := w.executorOf(c)
	switch {
	case c.Command == domain.CommandDisconnect && s != nil && s.WorkerID == at.worker:
		delete(w.cleanups, at)
	case executor == "":
		c.DueAt = time.Time{}
	default:
		if a := w.send(executor, at.session, c.Command, 0); a.done {
			delete(w.cleanups, at)
			return
		}
		c.Attempts++
		c.DueAt = w.now.Add(w.timing.Backoff(c.Attempts))
	}
}

// executorOf returns the worker that executes a cleanup, if any. Another worker of the state group wipes
// for one that is down, unless the session may still run or is assigned there.
func (w *simulation) executorOf(c *domain.Cleanup) string {
	k, s := w.workers[c.WorkerID], w.sessions[c.SessionID]
	switch {
	case k.Online:
		return k.ID
	case !c.Command.Wipes(), k.StateGroup == "", k.MayStillRun():
		return ""
	case s != nil && s.IsAssigned() && w.workers[s.WorkerID].StateGroup == k.StateGroup:
		return ""
	}
	for _, id := range sorted(w.workers) {
		if w.workers[id].Online && w.workers[id].StateGroup == k.StateGroup {
			return id
		}
	}
	return ""
}

// reconcile works on everything that is due.
func (w *simulation) reconcile() {
	w.returnHome()
	var due []*domain.Session
	for _, id := range sorted(w.sessions) {
		if s := w.sessions[id]; !s.DueAt.IsZero() && !w.now.Before(s.DueAt) {
			due = append(due, s)
		}
	}
	for _, s := range domain.SortByPriority(due, func(user string) int { return rankOf[user] }) {
		w.reconcileSession(s.ID)
	}
	for _, at := range slices.SortedFunc(maps.Keys(w.cleanups), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.worker, b.worker), cmp.Compare(a.session, b.session))
	}) {
		c := w.cleanups[at]
		isForPeer := c.DueAt.IsZero() && !w.workers[at.worker].Online && w.executorOf(c) != ""
		if isForPeer || !c.DueAt.IsZero() && !w.now.Before(c.DueAt) {
			w.runCleanup(at)
		}
	}
}

// deliver applies a report that arrives.
func (w *simulation) deliver(r domain.Report) domain.Outcome {
	s := w.sessions[r.SessionID]
	if s == nil {
		return domain.NotOwner
	}
	copied := s.Clone()
	outcome, events := copied.Apply(r, w.timing, w.now)
	isAdopted := copied.Generation > s.Generation
	switch {
	case r.WorkerID != "" && r.WorkerID != s.WorkerID, r.Generation != 0 && r.Generation < s.Generation, r.Generation > s.Generation && r.WorkerID == "":
		require.Equal(w.t, domain.NotOwner, outcome, "only the newest assignment counts")
		require.False(w.t, isAdopted)
	case isAdopted, outcome == domain.Applied || outcome == domain.Repeated:
		w.change("report", r.SessionID, func(s *domain.Session) []domain.Event {
			_, events := s.Apply(r, w.timing, w.now)
			return events
		})
		return outcome
	case outcome != domain.Unchanged:
		require.Equal(w.t, *s, *copied, "%s, and yet it changed something", outcome)
	}
	require.Empty(w.t, events, outcome)
	return outcome
}

// markDown marks a worker down.
func (w *simulation) markDown(id string, why domain.DownReason) {
	k := w.workers[id]
	if k == nil || !k.Online {
		return
	}
	require.Len(w.t, k.MarkDown(why, w.timing, w.now), 1)
	for session := range w.processes[id].sessions {
		if why == domain.DownHeartbeatTimeout && !w.processes[id].modern {
			w.processes[id].excused[session] = true
		}
	}
	w.eachOn(id, "mark down", func(s *domain.Session) []domain.Event {
		events := s.WorkerLost(fmt.Sprint("worker ", why), w.now)
		s.DueAt = k.FailoverAt
		return events
	})
}

// eachOn changes every session of a worker.
func (w *simulation) eachOn(worker, op string, fn func(*domain.Session) []domain.Event) {
	for _, id := range sorted(w.sessions) {
		if w.sessions[id].WorkerID == worker {
			w.change(op, id, fn)
		}
	}
}

// onWorkerReturned makes everything due that waits for the worker.
func (w *simulation) onWorkerReturned(worker string, grace time.Duration) {
	for at, c := range w.cleanups {
		if at.worker == worker {
			c.DueAt = w.now
		}
	}
	w.eachOn(worker, "worker returned", func(s *domain.Session) []domain.Event { return s.AwaitRecovery(grace, w.now) })
}
