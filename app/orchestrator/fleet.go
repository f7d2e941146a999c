package orchestrator

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// fleet is the view of workers and assigned sessions that is kept in memory, so
// that placing, sending and heartbeats need no look-up in the store. It may lag
// behind; the store has the last word.
type fleet struct {
	mu        sync.RWMutex
	strategy  domain.Strategy
	ranking   *domain.Ranking
	workers   map[string]*node
	sessions  map[string]*seat
	migrating map[string]*seat // those of them that a migration is about
	waiting   map[string]bool  // sessions that found no room
	freed     atomic.Bool      // there may be room where there was none
	moved     atomic.Bool      // a session may move that had to wait for its turn
	dropped   atomic.Bool      // a session disconnected though nobody wanted it to
	gone      map[string]int64 // newest Rev of workers and sessions that left the view, so that older news does not bring them back
}

// node is one worker. The Worker it points to is never changed, only replaced.
type node struct {
	worker      *domain.Worker
	heardAt     time.Time // when its latest heartbeat was first known here, by our clock
	sessions    map[string]*seat
	counts      domain.Breakdown
	pending     int // slots chosen but not yet committed
	chosenAt    time.Time
	busy        time.Time // it limits us until then
	probes      domain.Probes
	probing     bool
	doubted     time.Time // DownAt of the loss that this replica has looked into
	drops       drops
	canarySince time.Time // since when its drops count
	doubtful    time.Time // when its drops count as unusual if they still are; zero: they are not
}

// seat is what is kept of one assigned session. It is replaced, never changed.
type seat struct {
	id, userID, workerID string
	phone, name          string
	generation, rev      int64
	assignedAt, heardAt  time.Time
	dueAt                time.Time
	tries                int
	status               domain.Status
	intent               domain.Intent
	order                domain.Command
	confirms             bool
	moveID               string
}

func newFleet(s domain.Strategy) *fleet {
	return &fleet{
		strategy:  s,
		ranking:   domain.NewRanking(s),
		workers:   make(map[string]*node),
		sessions:  make(map[string]*seat),
		migrating: make(map[string]*seat),
		waiting:   make(map[string]bool),
		gone:      make(map[string]int64),
	}
}

// left remembers that something of that Rev is not in the view. It needs the lock.
func (f *fleet) left(key string, rev int64) {
	if len(f.gone) >= maxGone {
		clear(f.gone)
	}
	f.gone[key] = max(f.gone[key], rev)
}

// maxGone bounds what is remembered; news overtakes news by moments only.
const maxGone = 10_000

// mark gives the sessions that are in the view now, for sweep.
func (f *fleet) mark() map[string]*seat {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return maps.Clone(f.sessions)
}

// sweep takes out the sessions that were in the view at mark, have not changed
// since, and are not assigned in the store.
func (f *fleet) sweep(before map[string]*seat, assigned map[string]bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, seat := range before {
		if !assigned[id] && f.sessions[id] == seat {
			f.unseat(seat)
			f.freed.Store(true)
		}
	}
}

// markWorkers gives the Revs of the workers in the view now, for sweepWorkers.
func (f *fleet) markWorkers() map[string]int64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	revs := make(map[string]int64, len(f.workers))
	for id, n := range f.workers {
		revs[id] = n.worker.Rev
	}
	return revs
}

// sweepWorkers takes out the workers that were in the view at markWorkers, have
// not changed since, and are not in the store.
func (f *fleet) sweepWorkers(before map[string]int64, stored []*domain.Worker) {
	for _, w := range stored {
		delete(before, w.ID)
	}
	for id, rev := range before {
		f.removeWorker(id, rev)
	}
}

// putWorker takes over a row of the store unless a newer one is known.
func (f *fleet) putWorker(w *domain.Worker, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.workers[w.ID]
	switch {
	case w.Rev <= f.gone["worker/"+w.ID]:
		return
	case n == nil:
		n = &node{sessions: make(map[string]*seat), heardAt: now}
		f.workers[w.ID] = n
	case n.worker.Rev > w.Rev:
		return
	case !n.worker.RegisteredAt.Equal(w.RegisteredAt):
		n.probes, n.drops = domain.Probes{}, drops{}
	case !w.Online:
		n.drops = drops{} // it may have been about to go
	}
	if n.worker != nil && !n.worker.LastHeartbeat.Equal(w.LastHeartbeat) {
		n.heardAt = now
	}
	if n.worker == nil || !n.worker.CanarySince.Equal(w.CanarySince) {
		if n.canarySince = w.CanarySince; n.canarySince.After(now) {
			n.canarySince = now // by a clock that is ahead
		}
	}
	if roomier(n.worker, w) {
		f.freed.Store(true)
	}
	n.worker = w.Clone()
	f.rank(n)
}

// roomier reports whether what became of a worker may let it take what it could
// not before.
func roomier(before, after *domain.Worker) bool {
	return before == nil || after.Capacity > before.Capacity || before.Suspect != after.Suspect ||
		before.Status() != after.Status() || !maps.Equal(before.Labels, after.Labels)
}

// removeWorker takes out a worker that was of that Rev when it was last in the
// store; by now it may have come back.
func (f *fleet) removeWorker(id string, rev int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left("worker/"+id, rev)
	if n := f.workers[id]; n != nil && n.worker.Rev <= rev {
		delete(f.workers, id)
		f.ranking.Remove(id)
	}
}

// rank tells the ranking what the worker's load is now. It needs the lock.
func (f *fleet) rank(n *node) { f.ranking.Put(n.load()) }

func (n *node) load() domain.Load {
	l := loadOf(n.worker)
	l.Used, l.ChosenAt, l.SuspendedUntil = len(n.sessions)+n.pending, n.chosenAt, n.busy
	if len(n.sessions) > 0 || n.worker.ReportedBreakdown != nil {
		b := n.counts
		l.Breakdown = &b
	}
	return l
}

// loadOf gives the load of a worker as far as its row tells.
func loadOf(w *domain.Worker) domain.Load {
	return domain.Load{
		WorkerID: w.ID, Status: w.Status(), Suspect: w.Suspect, Used: w.Used, Capacity: w.Capacity,
		CPU: w.CPU, Memory: w.Memory, HeartbeatAt: w.LastHeartbeat, Labels: w.Labels,
	}
}

// putSession takes over a row of the store unless a newer one is known. The
// worker has to be in the view already.
func (f *fleet) putSession(s *domain.Session) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.sessions[s.ID]
	if old != nil && old.rev > s.Rev || s.Rev <= f.gone["session/"+s.ID] {
		return
	}
	if old != nil {
		f.unseat(old)
		if old.workerID != s.WorkerID {
			f.freed.Store(true)
		}
		if old.moveID != "" && s.MigrationID == "" {
			f.moved.Store(true)
		}
		f.noteDrop(old, s)
	}
	delete(f.waiting, s.ID)
	if !s.IsAssigned() {
		if s.Intent == domain.Up && s.Attempts > 0 {
			f.waiting[s.ID] = true
		}
		f.left("session/"+s.ID, s.Rev)
		return
	}
	n := f.workers[s.WorkerID]
	if n == nil {
		return
	}
	seat := &seat{
		id: s.ID, userID: s.UserID, workerID: n.worker.ID, phone: s.PhoneNumber, name: s.DisplayName,
		generation: s.Generation, rev: s.Rev, assignedAt: s.AssignedAt, heardAt: s.LastReportAppliedAt, dueAt: s.DueAt, tries: s.Attempts,
		status: s.Status, intent: s.Intent, order: s.Command, confirms: s.Confirmed, moveID: s.MigrationID,
	}
	f.sessions[s.ID] = seat
	if seat.moveID != "" {
		f.migrating[s.ID] = seat
	}
	n.sessions[s.ID] = seat
	n.counts.Add(s.Status)
	f.rank(n)
}

// removeSession takes out a session that was deleted at a Rev.
func (f *fleet) removeSession(id string, rev int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left("session/"+id, rev)
	delete(f.waiting, id)
	if old := f.sessions[id]; old != nil {
		f.unseat(old)
		f.freed.Store(true)
	}
}

// dropSession takes out a session that is not in the store any more.
func (f *fleet) dropSession(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.waiting, id)
	if old := f.sessions[id]; old != nil {
		f.left("session/"+id, old.rev)
		f.unseat(old)
		f.freed.Store(true)
	}
}

func (f *fleet) unseat(old *seat) {
	delete(f.sessions, old.id)
	delete(f.migrating, old.id)
	n := f.workers[old.workerID]
	if n == nil || n.sessions[old.id] == nil {
		return
	}
	delete(n.sessions, old.id)
	n.counts.Remove(old.status)
	f.rank(n)
}

// waitingForRoom gives the ids of the sessions that found no room, as far as is known.
func (f *fleet) waitingForRoom() []string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return slices.Sorted(maps.Keys(f.waiting))
}

// choose picks a worker and holds a slot of it until settle is called.
func (f *fleet) choose(req domain.Request, now time.Time) (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id, ok := f.ranking.Choose(req, now)
	if !ok {
		return "", false
	}
	n := f.workers[id]
	n.pending++
	n.chosenAt = now
	f.rank(n)
	return id, true
}

// suspend keeps a worker that limits us out of placement for a while.
func (f *fleet) suspend(id string, until time.Time) {
	f.on(id, func(n *node) {
		n.busy = until
		f.rank(n)
	})
}

// settle ends the hold that choose took.
func (f *fleet) settle(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.workers[id]; n != nil && n.pending > 0 {
		n.pending--
		f.rank(n)
	}
}

// hasRoom reports whether any worker could take what is requested.
func (f *fleet) hasRoom(req domain.Request, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.ranking.Choose(req, now)
	return ok
}

// free counts the slots that placement could give.
func (f *fleet) free() (n int) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, node := range f.workers {
		if l := node.load(); l.Status == domain.WorkerOnline && l.Suspect == "" {
			n += max(l.Capacity-l.Used, 0)
		}
	}
	return n
}

// worker gives the worker as it is known, which the caller must not change, or nil.
func (f *fleet) worker(id string) *domain.Worker {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if n := f.workers[id]; n != nil {
		return n.worker
	}
	return nil
}

// seats gives the sessions of a worker.
func (f *fleet) seats(workerID string) map[string]*seat {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if n := f.workers[workerID]; n != nil {
		return maps.Clone(n.sessions)
	}
	return nil
}

// listenAnew counts the silence of all workers from now.
func (f *fleet) listenAnew(now time.Time) {
	f.each(func(n *node) { n.heardAt = now })
}

// refuses reports whether the worker refused the latest call.
func (f *fleet) refuses(id string) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n := f.workers[id]
	return n != nil && n.probes.Refusals > 0
}

func (f *fleet) breakdown(id string) domain.Breakdown {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if n := f.workers[id]; n != nil {
		return n.counts
	}
	return domain.Breakdown{}
}

// placedOf counts the sessions of a user by worker.
func (f *fleet) userWorkers(ids []string) map[string]int {
	f.mu.RLock()
	defer f.mu.RUnlock()
	by := make(map[string]int, len(ids))
	for _, id := range ids {
		if s := f.sessions[id]; s != nil && s.status.IsActive() {
			by[s.workerID]++
		}
	}
	return by
}

// workerOf gives the worker that a session is assigned to; empty: none.
func (f *fleet) workerOf(sessionID string) string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if s := f.sessions[sessionID]; s != nil {
		return s.workerID
	}
	return ""
}

// upByUser counts the sessions that are assigned and wanted up.
func (f *fleet) upByUser() map[string]int {
	f.mu.RLock()
	defer f.mu.RUnlock()
	up := make(map[string]int)
	for _, s := range f.sessions {
		if s.intent == domain.Up {
			up[s.userID]++
		}
	}
	return up
}

// movable reports whether nothing but its turn keeps the session from moving.
func (s *seat) movable() bool {
	return s.intent == domain.Up && s.order == domain.CommandNone && s.confirms
}

// waitingToMove gives the sessions that are to leave their workers and have not
// begun to.
func (f *fleet) waitingToMove() (all []*seat) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, s := range f.migrating {
		if s.movable() {
			all = append(all, s)
		}
	}
	for _, n := range f.workers {
		if !n.worker.Draining || !n.worker.Online {
			continue
		}
		for _, s := range n.sessions {
			if s.movable() && s.moveID == "" {
				all = append(all, s)
			}
		}
	}
	return all
}

// draining gives the worker whose drain has the id; empty: none.
func (f *fleet) draining(id string) string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, n := range f.workers {
		if n.worker.Draining && n.worker.DrainID == id {
			return n.worker.ID
		}
	}
	return ""
}

// steady gives the sessions that run well where they are and are to stay.
func (f *fleet) steady() (all []*seat) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, s := range f.sessions {
		if s.movable() && s.status == domain.Connected && s.moveID == "" {
			all = append(all, s)
		}
	}
	return all
}

// loads gives what placement knows of every worker.
func (f *fleet) loads() []domain.Load {
	f.mu.RLock()
	defer f.mu.RUnlock()
	all := make([]domain.Load, 0, len(f.workers))
	for _, n := range f.workers {
		all = append(all, n.load())
	}
	return all
}

// each calls fn with every worker under the lock; fn must be quick and must
// not call back.
func (f *fleet) each(fn func(n *node)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.workers {
		fn(n)
	}
}

// samples gives the load of every worker that is online.
func (f *fleet) samples(now time.Time) []domain.LoadSample {
	var all []domain.LoadSample
	f.each(func(n *node) {
		if w := n.worker; w.Online {
			all = append(all, domain.LoadSample{WorkerID: w.ID, At: now, Sessions: len(n.sessions), CPU: w.CPU, Memory: w.Memory})
		}
	})
	return all
}

// on calls fn with one worker under the lock, if it is known.
func (f *fleet) on(id string, fn func(n *node)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.workers[id]; n != nil {
		fn(n)
	}
}

// news is what differs between a heartbeat and the view.
type news struct {
	changed []domain.Report  // to be applied
	foreign []domain.Report  // running there, though not assigned or of an old generation
	missing []string         // assigned there for long, but not listed
	counts  domain.Breakdown // as known before the heartbeat
}

func (n *news) any() bool { return len(n.changed)+len(n.foreign)+len(n.missing) > 0 }

// compare finds what a heartbeat says that is not known yet. Of a worker with
// nothing new it costs a look-up a session, and no allocation.
func (f *fleet) compare(h *domain.Heartbeat, t domain.Timing, now time.Time) news {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var out news
	n := f.workers[h.WorkerID]
	if n == nil {
		return out
	}
	out.counts = n.counts
	listed := 0
	for i := range h.Sessions {
		r := &h.Sessions[i]
		s := n.sessions[r.SessionID]
		switch {
		case s == nil || r.Generation != 0 && r.Generation != s.generation:
			if r.Status.IsActive() {
				out.foreign = append(out.foreign, *r)
			}
			continue
		case r.Status == s.status && s.confirms && !r.LoggedOut &&
			(r.PhoneNumber == "" || r.PhoneNumber == s.phone) &&
			(r.DisplayName == "" || r.DisplayName == s.name):
		default:
			out.changed = append(out.changed, *r)
		}
		listed++
	}
	if h.IsFullSnapshot && listed < len(n.sessions) {
		out.missing = f.missing(n, h, t, now)
	}
	return out
}

func (f *fleet) missing(n *node, h *domain.Heartbeat, t domain.Timing, now time.Time) []string {
	there := make(map[string]bool, len(h.Sessions))
	for i := range h.Sessions {
		there[h.Sessions[i].SessionID] = true
	}
	var gone []string
	for id, s := range n.sessions {
		// A list may be older than the confirmation, but not by much.
		should := now.Sub(s.assignedAt) > t.StartTimeout || s.confirms && now.Sub(s.heardAt) > t.DisconnectDebounce
		lost := s.intent == domain.Up && s.order == domain.CommandNone && s.status.IsActive() && should
		// A worker that knows generations lists what it has begun to start, too.
		wait := s.dueAt.Sub(now)
		asked := s.order == domain.CommandStart && s.tries > 0 && n.worker.Supports(domain.CapGeneration) &&
			wait > t.Backoff(s.tries) && wait < t.StartTimeout-t.DisconnectDebounce
		if !there[id] && (lost || asked || s.order.Stops()) {
			gone = append(gone, id)
		}
	}
	return gone
}

// ref names a worker for a call.
func ref(w *domain.Worker) ports.WorkerRef {
	return ports.WorkerRef{ID: w.ID, Endpoint: w.Endpoint, Capabilities: w.Capabilities}
}
