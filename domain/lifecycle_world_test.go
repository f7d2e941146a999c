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

// world is a store, as small as it can be, together with the processes out
// there. What the store holds is changed by the rules of package domain alone.
type world struct {
	t      *rapid.T
	timing domain.Timing
	now    time.Time
	faulty bool // calls may fail and reports may be lost
	calm   int  // how seldom they do

	sessions map[string]*domain.Session
	workers  map[string]*domain.Worker
	cleanups map[place]*domain.Cleanup
	moves    map[string]*domain.Migration
	live     map[string]int // by user: sessions wanted up

	processes map[string]*process
	fresh     map[string]int64 // generations that this process of ours assigned and has made no call about
	mail      []domain.Report  // under way to us
	late      []func()         // calls under way to workers, and answers under way to us
	ids       int
}

type place struct{ worker, session string }

// process is what really runs under the name of a worker.
type process struct {
	id       string
	up       bool // it exists
	cutOff   bool // nothing gets through, either way
	modern   bool // leases, generations, and it says who it is
	beatAt   time.Time
	clock    time.Duration // ahead of ours
	stamp    time.Time
	sessions map[string]domain.Status // what it lists
	versions map[string]int64
	linked   map[string]bool // whose credentials it holds
	doomed   map[string]bool // of these, those that a logout had to wipe
	late     bool            // it obeys a call of long ago
	excused  map[string]bool // whose running there is past our knowing
}

func newWorld(t *rapid.T) *world {
	return &world{
		t: t, timing: domain.DefaultTiming(), now: noon, faulty: true, calm: rapid.IntRange(0, 3).Draw(t, "calm"),
		sessions: map[string]*domain.Session{}, workers: map[string]*domain.Worker{},
		cleanups: map[place]*domain.Cleanup{}, moves: map[string]*domain.Migration{}, live: map[string]int{}, processes: map[string]*process{}, fresh: map[string]int64{},
	}
}

// pick draws one of n possibilities while there are faults; the first is the
// good one.
func (w *world) pick(what string, n int) int {
	if !w.faulty {
		return 0
	}
	return max(0, rapid.IntRange(-n*w.calm, n-1).Draw(w.t, what))
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// change is one transaction on one session.
func (w *world) change(op, id string, fn func(s *domain.Session) []domain.Event) {
	before := w.sessions[id]
	if before == nil {
		return
	}
	s := before.Clone()
	events := fn(s)
	w.follow(s)
	if before.IsAssigned() && !s.IsAssigned() && s.Intent == domain.Down && slices.Contains([]string{"settle", "report", "answer"}, op) {
		w.processes[before.WorkerID].excused[id] = true // as it said itself, it does not run there
	}
	if before.WorkerID != s.WorkerID {
		if before.IsAssigned() {
			require.False(w.t, s.IsAssigned(), "%s went from one worker to another in one step: %s", id, op)
			w.workers[before.WorkerID].Used--
			require.Equal(w.t, before.Generation, s.Generation)
		} else {
			to := w.workers[s.WorkerID]
			require.Equal(w.t, domain.WorkerOnline, to.Status(), "%s was assigned to %s", id, to.ID)
			to.Used++
			require.Equal(w.t, before.Generation+1, s.Generation)
		}
	} else {
		want := before.Generation
		if op == "connect" && before.Command.Stops() && before.Command != domain.CommandLogout {
			want++ // it is assigned anew where it is
		}
		require.Equal(w.t, want, s.Generation, "the generation grew without an assignment: %s", op)
	}
	if before.Intent != s.Intent {
		if w.live[s.UserID]--; s.Intent == domain.Up {
			w.live[s.UserID] += 2
			require.Equal(w.t, "connect", op)
		} else {
			require.True(w.t, s.Status == domain.Errored || slices.Contains([]string{"disconnect", "logout", "withdraw"}, op) ||
				op == "settle" && (before.LoggedOut || !before.WasConnected), "%s took the intent of %s", op, id)
		}
	}
	w.checkEvents(op, before, s, events)
	w.sessions[id] = s
}

// follow keeps the migration of a session up to date.
func (w *world) follow(s *domain.Session) {
	m := w.moves[s.MigrationID]
	if m == nil {
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
		require.True(w.t, s.Status == domain.Errored || m.ToWorker == m.FromWorker, m.Error)
	case domain.MigrationCancelled:
		require.Equal(w.t, domain.Down, s.Intent)
	}
	require.Equal(w.t, m.Status.Ended(), s.MigrationID == "")
	require.Equal(w.t, m.Status.Ended(), !m.CompletedAt.IsZero())
	require.Equal(w.t, m.Status == domain.MigrationFailed || m.Status == domain.MigrationCancelled, m.Error != "")
}

// depart begins a migration, unless the session has one.
func (w *world) depart(s *domain.Session, kind domain.MigrationKind) {
	if s.MigrationID == "" {
		w.ids++
		m := domain.NewMigration(fmt.Sprint("m", w.ids), s, kind, "", "", w.now)
		w.moves[m.ID] = m
		s.Migrate(m, w.now)
	}
}

// checkEvents: exactly one event for entering a status that has one, and one
// for each assignment.
func (w *world) checkEvents(op string, before, after *domain.Session, events []domain.Event) {
	var want, got []domain.EventType
	if before.Status != after.Status && op != "withdraw" { // its caller is told, nobody else
		switch after.Status {
		case domain.Connected:
			want = append(want, domain.EventSessionConnected)
		case domain.Disconnected:
			want = append(want, domain.EventSessionDisconnected)
		case domain.QRRequired:
			want = append(want, domain.EventSessionQR)
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

// leave notes that something of the session is to be stopped or wiped on a worker.
func (w *world) leave(worker, session string, order domain.Command) {
	at := place{worker, session}
	c := &domain.Cleanup{WorkerID: worker, SessionID: session, Command: order}
	if old := w.cleanups[at]; old != nil {
		c.Command = order.MoreDestructive(old.Command)
	}
	if w.workers[worker].Online {
		c.DueAt = w.now
	}
	w.cleanups[at] = c
}

// choose finds a worker for the session by the filters of placement.
func (w *world) choose(s *domain.Session, avoid ...string) string {
	req := domain.Request{Avoid: avoid}
	if s.PhoneNumber != "" {
		req.Prefer = s.CredentialsWorkerID
	}
	if s.ExcludedWorkerID != "" && w.now.Before(s.ExcludedUntil) {
		req.Avoid = append(req.Avoid, s.ExcludedWorkerID)
	}
	var loads []domain.Load
	for _, id := range sorted(w.workers) {
		k := w.workers[id]
		loads = append(loads, domain.Load{WorkerID: id, Status: k.Status(), Used: k.Used, Capacity: k.Capacity})
		if c := w.cleanups[place{id, s.ID}]; c != nil && c.Command != domain.CommandDisconnect {
			req.Avoid = append(req.Avoid, id) // a start would find what is to be wiped
		}
	}
	chosen, _ := domain.Explain(loads, req, domain.LeastSessions{}, w.now)
	return chosen
}

func (w *world) assign(s *domain.Session, worker string) []domain.Event {
	delete(w.cleanups, place{worker, s.ID})
	events := s.Assign(worker, w.now)
	w.fresh[s.ID] = s.Generation
	return events
}

// pursue carries out steps until there is nothing to do now, or the process
// that does it dies.
func (w *world) pursue(id string) {
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
		if !w.take(s, step) {
			return
		}
		if !w.faulty {
			require.NotEqual(w.t, last, *w.sessions[id], "step %d does nothing, again and again", step)
			last = *w.sessions[id]
		}
	}
}

func (w *world) take(s *domain.Session, step domain.Step) (more bool) {
	switch step {
	case domain.StepPlace:
		worker := w.choose(s)
		w.change("place", s.ID, func(s *domain.Session) []domain.Event {
			if worker == "" {
				s.PlacementFailed(w.timing, w.now)
				return nil
			}
			return w.assign(s, worker)
		})
		return worker != ""
	case domain.StepCall:
		w.call(s)
	case domain.StepStopForMove:
		room := w.choose(s, s.WorkerID) != ""
		w.change("move", s.ID, func(s *domain.Session) []domain.Event {
			if !room {
				s.DueAt = w.now.Add(w.timing.RestartBackoff)
				return nil
			}
			w.depart(s, domain.MigrationByDrain)
			s.RequestStopForMove(w.now)
			return nil
		})
		return room
	case domain.StepEndDebounce:
		w.change("settle", s.ID, func(s *domain.Session) []domain.Event { return s.EndDebounce(w.timing, w.now) })
	case domain.StepAbandonAssignment:
		order := domain.CommandDisconnect
		if s.Command == domain.CommandLogout {
			order = domain.CommandLogout
		}
		w.leave(s.WorkerID, s.ID, order)
		w.change("release", s.ID, func(s *domain.Session) []domain.Event { s.StopConfirmed(w.now); return nil })
	case domain.StepFailover:
		w.leave(s.WorkerID, s.ID, domain.CommandDisconnect)
		w.change("leave", s.ID, func(s *domain.Session) []domain.Event {
			w.depart(s, domain.MigrationByFailover)
			s.UnassignForMove(domain.EventSessionFailedOver, w.now)
			return nil
		})
	case domain.StepStartTimedOut:
		w.change("give up", s.ID, func(s *domain.Session) []domain.Event {
			w.depart(s, domain.MigrationByFailover)
			s.StartTimedOut("not confirmed", w.timing, w.now)
			return nil
		})
	default:
		w.t.Fatalf("step %d", step)
	}
	return true
}

// answer is what came of a call.
type answer struct {
	done, notDone, refused bool // neither done nor notDone: it is not known
	status                 domain.Status
}

// call tells the worker what the session's order says and records the answer,
// if the process that called lives to see it, and when.
func (w *world) call(s *domain.Session) {
	order, generation, heard, worker := s.Command, s.Generation, s.LastReportAppliedAt, s.WorkerID
	require.NotEmpty(w.t, order, "nothing to tell the worker")
	first := w.fresh[s.ID] == generation && order == domain.CommandStart
	delete(w.fresh, s.ID)
	a := w.tell(worker, s.ID, order, generation)
	a.notDone = a.notDone && first // otherwise an earlier call may have been carried out
	record := func() { w.record(s.ID, worker, order, generation, heard, a) }
	switch n := w.pick("answer", 12); {
	case n == 11: // we died before it came
		clear(w.fresh)
	case n == 10 && !first: // another of us goes on meanwhile
		w.late = append(w.late, record)
	default:
		record()
	}
}

func (w *world) record(id, worker string, order domain.Command, generation int64, heard time.Time, a answer) {
	w.change("answer", id, func(s *domain.Session) []domain.Event {
		switch {
		case s.WorkerID != worker || s.Generation != generation || s.Command != order && s.Command != domain.CommandNone:
		case !a.done && !a.notDone:
			s.CommandOutcomeUnknown(w.timing, w.now)
		case !a.done:
			if !a.refused {
				w.leave(worker, id, domain.CommandDisconnect)
			}
			s.StartRejected("not done", w.timing, w.now)
		case order.Stops():
			s.StopConfirmed(w.now)
		case s.Command != domain.CommandNone:
			s.CommandAccepted(w.timing, w.now)
			if a.status != "" && s.LastReportAppliedAt.Equal(heard) {
				r := domain.Report{SessionID: id, WorkerID: worker, Generation: generation, Status: a.status}
				_, events := s.Apply(r, w.timing, w.now)
				return events
			}
		}
		return nil
	})
}

// tell makes a call.
func (w *world) tell(worker, session string, order domain.Command, generation int64) answer {
	p := w.processes[worker]
	switch {
	case !p.up:
		return answer{notDone: true, refused: true}
	case p.cutOff:
		return answer{}
	case p.expired(w) && !order.Stops():
		return answer{notDone: true} // it takes nothing on until it has been heard
	}
	switch w.pick("call", 9) {
	case 4: // busy
		return answer{notDone: true}
	case 5: // lost on the way there
		return answer{}
	case 6: // it gets there, but long after we stopped waiting
		w.late = append(w.late, func() {
			if p.up && (order.Stops() || !p.expired(w)) {
				p.late = true
				p.obey(w, session, order, generation)
				p.late = false
			}
		})
		return answer{}
	case 7: // its answer is lost
		p.obey(w, session, order, generation)
		return answer{}
	}
	return answer{done: true, status: p.obey(w, session, order, generation)}
}

// clean carries out what is left to do on a worker.
func (w *world) clean(at place) {
	c, k, s := w.cleanups[at], w.workers[at.worker], w.sessions[at.session]
	switch {
	case c.Command == domain.CommandDisconnect && s != nil && s.WorkerID == at.worker:
		delete(w.cleanups, at)
	case !k.Online:
		c.DueAt = time.Time{}
	default:
		if a := w.tell(at.worker, at.session, c.Command, 0); a.done {
			delete(w.cleanups, at)
			return
		}
		c.Attempts++
		c.DueAt = w.now.Add(w.timing.Backoff(c.Attempts))
	}
}

// reconcile works on what the store says is due.
func (w *world) reconcile() {
	var due []*domain.Session
	for _, id := range sorted(w.sessions) {
		if s := w.sessions[id]; !s.DueAt.IsZero() && !w.now.Before(s.DueAt) {
			due = append(due, s)
		}
	}
	for _, s := range domain.SortByPriority(due, func(user string) int { return rankOf[user] }) {
		w.pursue(s.ID)
	}
	for _, at := range slices.SortedFunc(maps.Keys(w.cleanups), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.worker, b.worker), cmp.Compare(a.session, b.session))
	}) {
		if c := w.cleanups[at]; !c.DueAt.IsZero() && !w.now.Before(c.DueAt) {
			w.clean(at)
		}
	}
}

// deliver applies a report as it arrives.
func (w *world) deliver(r domain.Report) domain.Outcome {
	s := w.sessions[r.SessionID]
	if s == nil {
		return domain.NotOwner
	}
	trial := s.Clone()
	outcome, events := trial.Apply(r, w.timing, w.now)
	switch {
	case r.Generation != 0 && r.Generation != s.Generation, r.WorkerID != "" && r.WorkerID != s.WorkerID:
		require.Equal(w.t, domain.NotOwner, outcome, "only the newest assignment counts")
	case outcome == domain.Applied || outcome == domain.Repeated:
		w.change("report", r.SessionID, func(s *domain.Session) []domain.Event {
			_, events := s.Apply(r, w.timing, w.now)
			return events
		})
		return outcome
	case outcome != domain.Unchanged:
		require.Equal(w.t, *s, *trial, "%s, and yet it changed something", outcome)
	}
	require.Empty(w.t, events, outcome)
	return outcome
}

// lose notes that a worker is gone.
func (w *world) lose(id string, why domain.DownReason) {
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
	w.eachOn(id, "lose", func(s *domain.Session) []domain.Event {
		events := s.WorkerLost(fmt.Sprint("worker ", why), w.now)
		s.DueAt = k.FailoverAt
		return events
	})
}

func (w *world) eachOn(worker, op string, fn func(*domain.Session) []domain.Event) {
	for _, id := range sorted(w.sessions) {
		if w.sessions[id].WorkerID == worker {
			w.change(op, id, fn)
		}
	}
}

// back makes due what waits for a worker that is online again.
func (w *world) back(worker string, grace time.Duration) {
	for at, c := range w.cleanups {
		if at.worker == worker {
			c.DueAt = w.now
		}
	}
	w.eachOn(worker, "back", func(s *domain.Session) []domain.Event { return s.AwaitRecovery(grace, w.now) })
}

// register takes a worker into the fleet, or takes a new process of it back.
func (w *world) register(p *process, capacity int) {
	k := w.workers[p.id]
	if k == nil {
		k = &domain.Worker{ID: p.id}
		w.workers[p.id] = k
	}
	r := domain.Registration{WorkerID: p.id, Endpoint: "http://" + p.id, Capacity: capacity}
	if p.modern {
		r.Capabilities = []domain.Capability{domain.CapLease, domain.CapGeneration}
	}
	k.Register(r, w.timing, w.now)
	p.up, p.cutOff, p.beatAt = true, false, w.now
	clear(p.sessions)
	w.back(p.id, w.timing.StartTimeout)
	if w.pick("recovers by itself", 2) == 0 {
		for _, id := range sorted(w.sessions) {
			if s := w.sessions[id]; domain.IsRecoverableBy(s, p.id) && p.linked[id] {
				p.run(w, id, s.Generation, domain.Connected)
				p.report(w, domain.Report{SessionID: id, Status: domain.Connected})
			}
		}
	}
}

// beat lets a worker's heartbeat arrive.
func (w *world) beat(p *process) {
	k := w.workers[p.id]
	if !p.up || p.cutOff || k == nil {
		return
	}
	wasOnline := k.Online
	k.ApplyHeartbeat(domain.Heartbeat{WorkerID: p.id, CPU: -1, Memory: -1, MessageCount: -1}, w.timing, w.now)
	if p.beatAt = w.now; !wasOnline {
		w.back(p.id, w.timing.DisconnectDebounce)
	}
	for _, id := range sorted(p.sessions) {
		r := domain.Report{SessionID: id, WorkerID: p.id, Status: p.sessions[id], Snapshot: true}
		if p.modern {
			r.Generation = p.versions[id]
		}
		outcome := w.deliver(r)
		s := w.sessions[id]
		stopping := s != nil && s.WorkerID == p.id && s.Command.Stops()
		if r.Status.IsActive() && !stopping && (outcome == domain.NotOwner || outcome == domain.NotWanted) {
			if p.modern {
				p.obey(w, id, domain.CommandDisconnect, 0)
			} else {
				w.leave(p.id, id, domain.CommandDisconnect)
			}
		}
	}
	w.eachOn(p.id, "missing", func(s *domain.Session) []domain.Event {
		status, there := p.sessions[s.ID]
		if p.modern && !status.IsActive() && p.versions[s.ID] != s.Generation {
			there = false // what it lists is what is left of an earlier assignment
		}
		if there || s.Intent == domain.Down || s.Command != domain.CommandNone || !s.Status.IsActive() ||
			w.now.Sub(s.AssignedAt) <= w.timing.StartTimeout {
			return nil
		}
		return s.ReportedMissing(w.now)
	})
}
