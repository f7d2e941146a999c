package failure

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/app/internal/membership"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/app/internal/workqueue"
	"github.com/switchyard-wa/switchyard/domain"
)

const retryAfterError = time.Second

// Detector finds workers that are down. It is safe for concurrent use, except for
// Check and EvaluateCanaries, which one goroutine calls.
type Detector struct {
	*txn.Writer
	members *membership.Members
	cache   *fleet.Cache
	sync    *fleet.Sync
	queue   *workqueue.Queue

	probesStopped atomic.Bool
	silent        atomic.Int64 // workers found silent by the latest Check
	probedAt      atomic.Int64 // latest probe, µs; 0: none

	canaryCheckAt time.Time // when a canary may fail; zero: none is unusual

	// mu is taken under the lock of the cache, which calls WorkerCached, and the lock of
	// the membership is taken under mu. Who holds mu never calls the cache.
	mu     sync.Mutex
	health map[string]*health // by worker
}

// health is what the detector knows of a worker's process.
type health struct {
	worker          *domain.Worker // never changed, only replaced
	heardAt         time.Time      // when its latest heartbeat was first seen or the timer was reset, by our clock
	probes          domain.Probes
	isProbing       bool
	recheckedDownAt time.Time // DownAt of the crash that was re-checked
}

// New returns a detector, which observes the cache.
func New(w *txn.Writer, m *membership.Members, c *fleet.Cache, s *fleet.Sync, q *workqueue.Queue) *Detector {
	d := &Detector{Writer: w, members: m, cache: c, sync: s, queue: q, health: make(map[string]*health)}
	c.Observe(d)
	return d
}

// WorkerCached implements [fleet.WorkerObserver]: a new process starts with a clean
// record, and a new heartbeat restarts the timer.
func (d *Detector) WorkerCached(before, after *domain.Worker, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.health[after.ID]
	if h == nil || before == nil {
		h = &health{heardAt: now}
		d.health[after.ID] = h
	} else {
		if !before.RegisteredAt.Equal(after.RegisteredAt) {
			h.probes = domain.Probes{}
		}
		if !before.LastHeartbeat.Equal(after.LastHeartbeat) {
			h.heardAt = now
		}
	}
	h.worker = after
}

// WorkerDropped implements [fleet.WorkerObserver].
func (d *Detector) WorkerDropped(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.health, id)
}

// ResetHeartbeatTimers restarts the timers of all workers: this replica or the store
// was away, and heartbeats were not read.
func (d *Detector) ResetHeartbeatTimers(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range d.health {
		h.heardAt = now
	}
}

// SilentWorkers returns how many workers the latest Check found silent.
func (d *Detector) SilentWorkers() int { return int(d.silent.Load()) }

// Warning returns why the latest probe of a worker failed, or the empty string.
func (d *Detector) Warning(workerID string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if h := d.health[workerID]; h != nil {
		return h.probes.Warning
	}
	return ""
}

// silence is a worker whose heartbeat is overdue.
type silence struct {
	workerID string
	latest   time.Time // its latest heartbeat, by the row
}

// dueChecks are the checks that are due now.
type dueChecks struct {
	silent  []silence
	probe   []*domain.Worker
	recheck []*domain.Worker // crashed, by the word of another replica
}

// Check marks silent workers down and probes those that are due. It returns when the
// next check is due.
func (d *Detector) Check(ctx context.Context, b *workqueue.Batch) (time.Time, error) {
	now := d.Now()
	due := d.dueChecks(now)
	d.silent.Store(int64(len(due.silent)))
	if len(due.probe) > 0 {
		d.probedAt.Store(now.UnixMicro())
	}
	var errs []error
	for _, s := range due.silent {
		errs = append(errs, d.MarkDown(ctx, s.workerID, domain.DownHeartbeatTimeout, func(w *domain.Worker) bool {
			return w.LastHeartbeat.Equal(s.latest) // no replica has heard of it since
		}))
	}
	for _, w := range due.probe {
		if !d.queue.Dispatch(b, workqueue.Task{Key: "probe/" + w.ID, Pool: workqueue.Probes}, func() error {
			d.Probe(b.Context, w)
			return nil
		}) {
			d.probeEnded(w.ID)
		}
	}
	for _, w := range due.recheck {
		d.queue.Dispatch(b, workqueue.Task{Key: "recheck/" + w.ID, Pool: workqueue.Probes}, func() error {
			return d.recheckCrash(b.Context, w)
		})
	}
	return d.nextCheckAt(), errors.Join(errs...)
}

// dueChecks returns the checks that are due and that this replica should do.
func (d *Detector) dueChecks(now time.Time) (due dueChecks) {
	isProbing := !d.probesStopped.Load()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range d.health {
		w := h.worker
		deadline := w.HeartbeatDeadline(d.Timing, h.heardAt)
		switch {
		case !w.Online:
			if isProbing && h.needsRecheck(now) {
				due.recheck = append(due.recheck, w)
			}
		case !now.Before(deadline):
			if !d.members.IsStoreUnreachable() && d.members.ShouldRun(membership.WorkOn(w.ID), deadline, now) {
				due.silent = append(due.silent, silence{w.ID, w.LastHeartbeat})
			}
		case h.probes.NextAt.IsZero():
			h.probes.NextAt = now.Add(d.Timing.ProbeInterval) // its registration was as good as a probe
		case isProbing && !h.isProbing && !now.Before(h.probes.NextAt):
			if h.probes.Refusals == 0 && !d.members.OwnsWork(membership.WorkOn(w.ID)) {
				h.probes.NextAt = now.Add(d.Timing.ProbeInterval) // another replica probes it
				continue
			}
			h.isProbing = true
			due.probe = append(due.probe, w)
		}
	}
	return due
}

// nextCheckAt returns when the next worker is due, or the zero time.
func (d *Detector) nextCheckAt() (next time.Time) {
	now := d.Now()
	isProbing := !d.probesStopped.Load()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range d.health {
		if !h.worker.Online {
			continue
		}
		at := h.worker.HeartbeatDeadline(d.Timing, h.heardAt)
		switch {
		case !now.Before(at):
			at = recheckSilenceAt(at, now)
		case isProbing && !h.isProbing && h.probes.NextAt.Before(at):
			at = h.probes.NextAt
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}

// recheckSilenceAt returns when to look again at a silent worker that this replica did not
// mark down: when the takeover delay is over, or a second later if the store was
// unreachable.
func recheckSilenceAt(deadline, now time.Time) time.Time {
	if takeover := deadline.Add(membership.TakeoverDelay); takeover.After(now) {
		return takeover
	}
	return now.Add(retryAfterError)
}

// needsRecheck reports, once for each crash, whether another replica marked the worker
// as crashed and this one has seen no refusal.
func (h *health) needsRecheck(now time.Time) bool {
	w := h.worker
	if w.DownReason != domain.DownCrashed || h.probes.Refusals > 0 || h.recheckedDownAt.Equal(w.DownAt) || !now.Before(w.FailoverAt) {
		return false
	}
	h.recheckedDownAt = w.DownAt
	return true
}

func (d *Detector) probeEnded(workerID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if h := d.health[workerID]; h != nil {
		h.isProbing = false
	}
}

// isRefusing reports whether the worker refused the latest call.
func (d *Detector) isRefusing(workerID string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.health[workerID]
	return h != nil && h.probes.Refusals > 0
}

// recordProbe records a result for the process that was called. crashed reports that
// it is gone: latest is the heartbeat that none has followed.
func (d *Detector) recordProbe(called *domain.Worker, result domain.ProbeResult, warning string, isClean bool) (crashed bool, latest time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.health[called.ID]
	if h == nil || !h.worker.RegisteredAt.Equal(called.RegisteredAt) || h.worker.Endpoint != called.Endpoint {
		return false, time.Time{} // a former process was called
	}
	now := d.Now()
	if result == domain.ProbeAnswered && h.probes.Refusals == 0 && h.probes.Warning == warning && isClean &&
		now.Add(d.Timing.ProbeInterval/2).Before(h.probes.NextAt) {
		return false, time.Time{} // nothing new
	}
	crashed = h.probes.Note(result, warning, h.heardAt, d.Timing, now) && h.worker.Online
	return crashed, h.worker.LastHeartbeat
}
