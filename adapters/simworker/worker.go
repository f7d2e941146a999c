package simworker

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Never is a delay that disables the action.
const Never time.Duration = -1

const (
	qrLife          = 20 * time.Second // lifetime of a QR
	maxQRs          = 5
	legacyInterval  = 30 * time.Second
	legacyTries     = 5
	legacyRetry     = 5 * time.Second
	retry           = 2 * time.Second // delay after a failed heartbeat
	reportRetry     = time.Second
	maxRetry        = 30 * time.Second
	receiptAttempts = 3
	receiptsKept    = 4096
	dedupeKept      = 100_000
)

// Config configures a simulated worker. Only ID is required.
type Config struct {
	ID          string
	Endpoint    string // where the control plane calls it; [Serve] sets it if empty
	Capacity    int    // most sessions; default domain.DefaultWorkerCapacity
	Description string
	Version     string // default domain.DefaultWorkerVersion
	Environment string // default SIMULATION
	Labels      map[string]string
	State       *State        // default: a new one in memory
	Interval    time.Duration // between heartbeats; default: from the response to the registration
	// ScanAfter is the delay until the pretended phone scans a QR. It is 2 s by
	// default, or [Never].
	ScanAfter time.Duration
	// ReceiptAfter is the delay from a send to its delivery, and from there to its
	// reading. It is 200 ms by default, or [Never].
	ReceiptAfter time.Duration
	FailRate     float64 // share of calls that fail without effect, 0 to 1
	// Legacy selects the behaviour of legacy workers: no lease, no generation, no
	// dedupe, and reports inside the calls that cause them.
	Legacy bool
	// Limited limits callers as legacy workers do: 5 session operations in 5 minutes
	// and 10 sends a minute for each session.
	Limited bool
	Seed    uint64 // of the random choices
	// Log receives a refused registration that no repetition mends, at error level. The
	// default is the log of [ServeConfig], or slog.Default for a worker in a [Fleet].
	Log *slog.Logger
	// Now is the clock of the worker and of the times passed to Tick. The default is
	// time.Now. Leases use the monotonic clock if the readings have one.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	c.Capacity = cmp.Or(c.Capacity, domain.DefaultWorkerCapacity)
	c.Version = cmp.Or(c.Version, domain.DefaultWorkerVersion)
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

// Worker is a simulated worker. [New] returns one. Its methods are safe for
// concurrent use, except that one goroutine at a time calls Tick. The worker
// holds no lock while it calls the control plane.
type Worker struct {
	cfg     Config
	control service.WorkerProtocol // nil: no control plane

	mu       sync.Mutex
	process  int64 // number of the process; the results of calls of former ones are ignored
	up       bool
	hung     bool
	cutOff   bool
	bootedAt time.Time
	onDue    func() // called when Tick has a new task
	hangUp   func() // called when pending requests of callers must be dropped
	stateErr error  // why the state could not be read; no session starts then

	registered  bool
	refusal     error // error of the latest registration
	tries       int
	registerAt  time.Time // zero: no registration is due
	recoverAt   time.Time // zero: no recovery is due
	interval    time.Duration
	heartbeatAt time.Time // zero: no heartbeat is due
	lease       time.Duration
	acceptedAt  time.Time // when the newest accepted message was sent
	fenced      bool      // the lease ended, and no message was accepted since

	sessions map[string]*session
	known    map[string]int64 // highest generation started by this process, by session
	ended    map[string]int64 // highest blocked generation, by session
	done     map[string]ports.Sent
	// forgotten holds the ids of media that the worker has lost.
	forgotten map[string]bool
	doneKeys  []string
	receipts  [3][]receipt // delivered, read, retried; each in order of time
	uses      map[string][]time.Time
	sent      int64
	random    *rand.Rand
}

// session is one session of a worker. A running session is connected to WhatsApp,
// or about to be.
type session struct {
	id, user, name string
	generation     int64
	running        bool
	status         domain.Status
	statusAt       time.Time
	phone          string
	pairing, code  string
	qr             string
	qrs            int
	loggedOut      bool
	reason, fault  string

	qrAt, scanAt, upAt, reportAt time.Time // due times of the actions; zero: not due
}

// receipt is a report on a message that is due at a time.
type receipt struct {
	at       time.Time
	report   domain.MessageReport
	attempts int
}

// New returns a worker whose process starts now. It reports to the control plane,
// which may be nil. The worker registers in its first Tick. New does not check the
// configuration, because the control plane decides. If the control plane refuses the
// id or the endpoint, the worker logs "registration refused" at error level, and
// [Worker.Refusal] returns the error.
func New(cfg Config, control service.WorkerProtocol) *Worker {
	w := &Worker{cfg: cfg.withDefaults(), control: control}
	w.random = rand.New(rand.NewPCG(w.cfg.Seed, hash(w.cfg.ID)))
	w.boot(w.cfg.Now())
	return w
}

// boot starts a process with the data of the state. The caller holds the lock.
func (w *Worker) boot(now time.Time) {
	w.resetProcess()
	w.up, w.bootedAt = true, now
	if w.control != nil {
		w.registerAt = now
	}
	if w.cfg.Legacy {
		w.process++
		return
	}
	process, ended, err := w.cfg.State.beginProcess(w.id())
	sent, sentErr := w.cfg.State.sentMessages(w.cfg.ID, dedupeKept)
	w.process, w.stateErr = max(w.process+1, process), errors.Join(err, sentErr)
	if ended != nil {
		w.ended = ended
	}
	for _, e := range sent {
		w.remember(dedupeKey(e.Session, e.ClientMessageID), ports.Sent{WhatsAppID: e.MessageID, Status: domain.MessageSent, At: e.Time})
	}
}

// resetProcess resets everything that ends with a process. The caller holds the lock.
func (w *Worker) resetProcess() {
	w.up, w.hung, w.stateErr = false, false, nil
	w.registered, w.refusal, w.tries, w.registerAt = false, nil, 0, time.Time{}
	w.recoverAt, w.heartbeatAt, w.acceptedAt, w.lease, w.fenced = time.Time{}, time.Time{}, time.Time{}, 0, false
	w.interval = cmp.Or(w.cfg.Interval, legacyInterval)
	w.sessions, w.known, w.ended = map[string]*session{}, map[string]int64{}, map[string]int64{}
	w.done, w.doneKeys = map[string]ports.Sent{}, nil
	w.receipts, w.uses, w.sent = [3][]receipt{}, map[string][]time.Time{}, 0
}

// id returns the normalized id.
func (w *Worker) id() string { return domain.NormalizeWorkerRef(w.cfg.ID) }

// ID returns the worker's id as it was configured.
func (w *Worker) ID() string { return w.cfg.ID }

// Endpoint returns the endpoint that the control plane calls.
func (w *Worker) Endpoint() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cfg.Endpoint
}

// State returns the worker's credentials and journal.
func (w *Worker) State() *State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cfg.State
}

// Capabilities returns the extensions that the worker announces.
func (w *Worker) Capabilities() []domain.Capability {
	if w.cfg.Legacy {
		return nil
	}
	all := []domain.Capability{domain.CapLease, domain.CapGeneration, domain.CapDedupe, domain.CapMedia, domain.CapReplies}
	if _, ok := w.control.(CallTokens); ok {
		all = append(all, domain.CapOwnToken)
	}
	return all
}

// Ref returns the worker's reference for a gateway.
func (w *Worker) Ref() ports.WorkerRef {
	return ports.WorkerRef{ID: w.id(), Endpoint: w.Endpoint(), Capabilities: w.Capabilities()}
}

// Crash ends the process and writes a journal entry. Calls are refused from then
// on. Everything but the state is lost.
func (w *Worker) Crash() {
	w.mu.Lock()
	if w.up {
		now := w.cfg.Now()
		e := w.entry(Crashed, now)
		if end := w.leaseEnd(); end.Before(now) {
			e.Effective = end // it did nothing after the lease; zero without a lease
		}
		w.resetProcess()
		_ = w.cfg.State.Record(e) // best effort
	}
	w.mu.Unlock()
	w.notifyDue()
}

func (w *Worker) alive() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.up
}

// Boot starts a process after a crash or a stop. It does nothing to a running one.
func (w *Worker) Boot() {
	w.mu.Lock()
	if !w.up {
		w.boot(w.cfg.Now())
	}
	w.mu.Unlock()
	w.notifyDue()
}

// BootOn starts the process of a worker that has crashed on another disk.
func (w *Worker) BootOn(state *State) {
	w.mu.Lock()
	if !w.up {
		w.cfg.State = state
		w.boot(w.cfg.Now())
	}
	w.mu.Unlock()
	w.notifyDue()
}

// Hang makes the process hang until [Worker.Resume]. Calls time out meanwhile, and
// the worker takes no action of its own. Only its lease ends in time.
func (w *Worker) Hang() { w.inject(func() { w.hung = true }) }

// Resume ends a [Worker.Hang].
func (w *Worker) Resume() { w.inject(func() { w.hung = false }) }

// CutOff separates the worker from the control plane in both directions until
// [Worker.Reconnect]. The process goes on running; its lease ends.
func (w *Worker) CutOff() { w.inject(func() { w.cutOff = true }) }

// Reconnect ends a [Worker.CutOff].
func (w *Worker) Reconnect() { w.inject(func() { w.cutOff = false }) }

// inject changes the failures of the worker under the lock.
func (w *Worker) inject(change func()) {
	w.mu.Lock()
	change()
	w.mu.Unlock()
	w.notifyDue()
}

// Registered reports whether the control plane has accepted this process.
func (w *Worker) Registered() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.registered
}

// Refusal returns the error of the latest registration. It is nil after a success
// and before the first registration.
func (w *Worker) Refusal() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refusal
}

// Running returns the ids of the running sessions, sorted.
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

// notifyDue notifies the driver of the worker that Tick may have a new task.
func (w *Worker) notifyDue() {
	w.mu.Lock()
	tell := w.onDue
	w.mu.Unlock()
	if tell != nil {
		tell()
	}
}

// controlPlane returns the control plane, if the worker can reach it.
func (w *Worker) controlPlane() (service.WorkerProtocol, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fence(w.cfg.Now()) // before anything is sent
	switch {
	case w.control == nil:
		return nil, errNoControlPlane
	case w.cutOff, !w.up:
		return nil, errCutOff
	}
	return w.control, nil
}

// Stop ends the process gracefully. It stops the sessions, reports that their
// credentials are preserved, and unregisters. A legacy worker unregisters first,
// and then logs every session out without a report.
func (w *Worker) Stop(ctx context.Context) error {
	if w.cfg.Legacy {
		err := w.unregister(ctx)
		for _, id := range w.stopProcess() {
			err = errors.Join(err, w.cfg.State.Unlink(id))
		}
		return err
	}
	known := w.Registered()
	ids := w.stopProcess()
	if !known {
		return nil
	}
	if len(ids) > 0 && w.control != nil && !w.isCutOff() {
		if _, err := w.control.ReportPreserved(ctx, w.cfg.ID, ids); err != nil {
			return errors.Join(err, w.unregister(ctx))
		}
	}
	return w.unregister(ctx)
}

// unregister unregisters the worker if it can reach the control plane.
func (w *Worker) unregister(ctx context.Context) error {
	if w.control == nil || w.isCutOff() {
		return nil
	}
	_, err := w.control.Unregister(ctx, w.cfg.ID, w.Endpoint())
	return err
}

// stopProcess stops all sessions and the process. It returns the ids of those sessions.
func (w *Worker) stopProcess() (ids []string) {
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
	w.resetProcess()
	return ids
}

func (w *Worker) isCutOff() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cutOff
}

// sorted returns the sessions by id. The caller holds the lock.
func (w *Worker) sorted() []*session {
	all := make([]*session, 0, len(w.sessions))
	for _, s := range w.sessions {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *session) int { return cmp.Compare(a.id, b.id) })
	return all
}
