package simworker

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Never as a delay means that it does not happen at all.
const Never time.Duration = -1

const (
	qrLife       = 20 * time.Second // then there is another
	qrAttempts   = 5
	legacyBeat   = 30 * time.Second
	legacyTries  = 5
	legacyRetry  = 5 * time.Second
	retry        = 2 * time.Second // of a heartbeat that did not get through
	reportRetry  = time.Second
	maxRetry     = 30 * time.Second
	receiptTries = 3
	receiptsKept = 4096
	dedupeKept   = 100_000
)

// Config describes a simulated worker. All but ID may be left out.
type Config struct {
	ID          string
	Endpoint    string // where the control plane calls it; [Serve] fills it in
	Capacity    int    // sessions at most; default 50
	Description string
	Version     string // default 1.0.0
	Environment string // default SIMULATION
	Labels      map[string]string
	State       *State        // default: one of its own, in memory
	Interval    time.Duration // of heartbeats; default: what it is told
	// ScanAfter is how long the pretended phone takes to scan a QR; default 2 s,
	// or Never.
	ScanAfter time.Duration
	// ReceiptAfter is how long after a send it is delivered, and again that
	// long until it is read; default 200 ms, or Never.
	ReceiptAfter time.Duration
	FailRate     float64 // share of calls that fail with nothing done, 0 to 1
	// Legacy makes it behave like the older workers: without lease, generation
	// and dedupe, with its reports inside the calls that cause them.
	Legacy bool
	// Limited makes it limit its caller as older workers do: 5 session
	// operations in 5 minutes and 10 sends a minute for each session.
	Limited bool
	Seed    uint64 // of what is random about it
	// Now is its clock, the same that Tick is told; default time.Now. Leases are
	// measured by the monotonic clock if the readings have one, as time.Now's do.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	c.Capacity = cmp.Or(c.Capacity, 50)
	c.Version = cmp.Or(c.Version, "1.0.0")
	c.Environment = cmp.Or(c.Environment, "SIMULATION")
	c.ScanAfter = cmp.Or(c.ScanAfter, 2*time.Second)
	c.ReceiptAfter = cmp.Or(c.ReceiptAfter, 200*time.Millisecond)
	if c.State == nil {
		c.State = NewState()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Worker is a simulated worker. Make one with [New]. Its methods are safe for
// concurrent use, except that Tick is called by one goroutine at a time. No
// lock is held while it calls the control plane.
type Worker struct {
	cfg     Config
	control service.WorkerProtocol // nil: it belongs to nobody

	mu       sync.Mutex
	process  int64 // grows with each; what a call began in an older one is void
	up       bool
	hung     bool
	cut      bool
	bootedAt time.Time
	onDue    func() // told when there is something new for Tick to do
	hangUp   func() // told when what callers have asked for so far is not to be done any more
	damage   error  // why the state could not be read; nothing is started then

	registered bool
	refusal    error // why the latest registration did not succeed
	tries      int
	registerAt time.Time // zero: not any more
	recoverAt  time.Time // zero: nothing to recover
	interval   time.Duration
	beatAt     time.Time // zero: not yet
	lease      time.Duration
	heardAt    time.Time // when the newest message that was accepted had been sent
	fenced     bool      // the lease ran out, and nothing was heard since

	sessions map[string]*session
	known    map[string]int64 // newest generation started by this process, by session
	ended    map[string]int64 // newest generation that was ordered to stop, which is for good, by session
	done     map[string]ports.Sent
	doneKeys []string
	receipts [3][]receipt // delivered, read, tried again; each in order of time
	uses     map[string][]time.Time
	sent     int64
	random   *rand.Rand
}

// session is one that a worker has. While running, it is WhatsApp's.
type session struct {
	id, user, name string
	generation     int64
	running        bool
	status         domain.Status
	statusAt       time.Time
	phone          string
	pairing, code  string
	qr             string
	qrExpires      time.Time
	qrs            int
	loggedOut      bool
	reason, fault  string

	qrAt, scanAt, upAt, reportAt time.Time // when what is next is due; zero: it is not
}

// receipt is word of a message that is due at a time.
type receipt struct {
	at     time.Time
	report domain.MessageReport
	tries  int
}

// New makes a worker that reports to the control plane, which may be nil for
// one that nobody has to know. Its process runs from now on.
func New(cfg Config, control service.WorkerProtocol) *Worker {
	w := &Worker{cfg: cfg.withDefaults(), control: control}
	w.random = rand.New(rand.NewPCG(w.cfg.Seed, hash(w.cfg.ID)))
	w.boot(w.cfg.Now())
	return w
}

// boot begins a process, with what the state remembers. It needs the lock.
func (w *Worker) boot(now time.Time) {
	w.forget()
	w.up, w.bootedAt = true, now
	if w.control != nil {
		w.registerAt = now
	}
	if w.cfg.Legacy {
		w.process++
		return
	}
	process, ended, err := w.cfg.State.boot(w.id())
	sent, sentErr := w.cfg.State.sent(w.cfg.ID, dedupeKept)
	w.process, w.damage = max(w.process+1, process), errors.Join(err, sentErr)
	if ended != nil {
		w.ended = ended
	}
	for _, e := range sent {
		w.remember(dedupeKey(e.Session, e.ClientMessageID), ports.Sent{WhatsAppID: e.MessageID, Status: domain.MessageSent, At: e.Time})
	}
}

// forget leaves nothing of a process. It needs the lock.
func (w *Worker) forget() {
	w.up, w.hung, w.damage = false, false, nil
	w.registered, w.refusal, w.tries, w.registerAt = false, nil, 0, time.Time{}
	w.recoverAt, w.beatAt, w.heardAt, w.lease, w.fenced = time.Time{}, time.Time{}, time.Time{}, 0, false
	w.interval = cmp.Or(w.cfg.Interval, legacyBeat)
	w.sessions, w.known, w.ended = map[string]*session{}, map[string]int64{}, map[string]int64{}
	w.done, w.doneKeys = map[string]ports.Sent{}, nil
	w.receipts, w.uses, w.sent = [3][]receipt{}, map[string][]time.Time{}, 0
}

// id gives the id in its one spelling.
func (w *Worker) id() string { return domain.NormalizeWorkerRef(w.cfg.ID) }

// ID gives the worker's id as it was configured.
func (w *Worker) ID() string { return w.cfg.ID }

// Endpoint gives where the control plane calls the worker.
func (w *Worker) Endpoint() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cfg.Endpoint
}

// State gives the worker's credentials and journal.
func (w *Worker) State() *State { return w.cfg.State }

// Capabilities gives the extensions that the worker announces.
func (w *Worker) Capabilities() []domain.Capability {
	if w.cfg.Legacy {
		return nil
	}
	return []domain.Capability{domain.CapLease, domain.CapGeneration, domain.CapDedupe}
}

// Ref names the worker to a gateway.
func (w *Worker) Ref() ports.WorkerRef {
	return ports.WorkerRef{ID: w.id(), Endpoint: w.Endpoint(), Capabilities: w.Capabilities()}
}

// Crash ends the process: calls are refused, and everything but the state is
// lost. The journal notes it.
func (w *Worker) Crash() {
	w.mu.Lock()
	if w.up {
		now := w.cfg.Now()
		e := w.entry(Crashed, now)
		if end := w.leaseEnd(); end.Before(now) {
			e.Effective = end // it did nothing after it; zero if there is none
		}
		w.forget()
		_ = w.cfg.State.Record(e) // evidence, as far as it can be had
	}
	w.mu.Unlock()
	w.due()
}

func (w *Worker) alive() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.up
}

// Boot starts the process anew after a crash or a stop; one that runs is not
// touched.
func (w *Worker) Boot() {
	w.mu.Lock()
	if !w.up {
		w.boot(w.cfg.Now())
	}
	w.mu.Unlock()
	w.due()
}

// Hang has the process hang, or go on: while it does, calls time out and it
// does nothing by itself, except that its lease ends in time.
func (w *Worker) Hang(on bool) {
	w.mu.Lock()
	w.hung = on
	w.mu.Unlock()
	w.due()
}

// CutOff cuts the worker off from the control plane, both ways, or joins them
// again. It goes on running; its lease ends.
func (w *Worker) CutOff(on bool) {
	w.mu.Lock()
	w.cut = on
	w.mu.Unlock()
	w.due()
}

// Registered reports whether the control plane has accepted the present process.
func (w *Worker) Registered() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.registered
}

// Refusal gives why the latest registration did not succeed; nil: it did, or
// there was none yet.
func (w *Worker) Refusal() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refusal
}

// Running gives the ids of the sessions that run on the worker, sorted.
func (w *Worker) Running() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ids []string
	for id, s := range w.sessions {
		if s.running {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// due tells whoever drives the worker that Tick may have something new to do.
func (w *Worker) due() {
	w.mu.Lock()
	tell := w.onDue
	w.mu.Unlock()
	if tell != nil {
		tell()
	}
}

// line gives the way to the control plane.
func (w *Worker) line() (service.WorkerProtocol, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fence(w.cfg.Now()) // before anything more is said
	switch {
	case w.control == nil:
		return nil, errNobody
	case w.cut, !w.up:
		return nil, errCutOff
	}
	return w.control, nil
}

// Stop ends the process gracefully. Its sessions are stopped first; then the
// control plane is told that their credentials are kept and that it leaves. An
// older worker leaves first, and then logs every session out without a word.
func (w *Worker) Stop(ctx context.Context) error {
	if w.cfg.Legacy {
		err := w.unregister(ctx)
		for _, id := range w.halt() {
			err = errors.Join(err, w.cfg.State.Unlink(id))
		}
		return err
	}
	known := w.Registered()
	ids := w.halt()
	if !known {
		return nil
	}
	if len(ids) > 0 && w.control != nil && !w.isCut() {
		if _, err := w.control.ReportPreserved(ctx, w.cfg.ID, ids); err != nil {
			return errors.Join(err, w.unregister(ctx))
		}
	}
	return w.unregister(ctx)
}

// unregister tells the control plane that the worker goes, as far as it can.
func (w *Worker) unregister(ctx context.Context) error {
	if w.control == nil || w.isCut() {
		return nil
	}
	_, err := w.control.Unregister(ctx, w.cfg.ID, w.Endpoint())
	return err
}

// halt stops all sessions, ends the process, and gives the ids of those stopped.
func (w *Worker) halt() (ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.cfg.Now()
	w.fence(now)
	for _, s := range w.sorted() {
		if s.running {
			ids = append(ids, s.id)
			w.stop(s, "worker stops", now)
		}
	}
	w.forget()
	return ids
}

func (w *Worker) isCut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut
}

// sorted gives the sessions by id. It needs the lock.
func (w *Worker) sorted() []*session {
	all := make([]*session, 0, len(w.sessions))
	for _, s := range w.sessions {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *session) int { return cmp.Compare(a.id, b.id) })
	return all
}
