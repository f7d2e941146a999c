package sqlite

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/internal/sqlstore"
	"github.com/switchyard-wa/switchyard/ports"
)

// The limits of a group. The writer commits a group that has reached one of them, even if more Updates wait.
const (
	maxGroupSize = 256
	maxGroupAge  = 10 * time.Millisecond
)

// indexedAtOnce is how many messages the full-text index receives at once. A search reads the newer ones.
const indexedAtOnce = 512

// job is an Update in the queue of the writer.
type job struct {
	ctx      context.Context
	fn       func(ctx context.Context, tx *ports.Tx) error
	state    atomic.Int32
	done     chan struct{} // receives when the outcome is final
	err      error
	panicked any
	exited   bool // fn has ended its goroutine
}

// The states of a job. The party that changes the state from jobWaiting, by compare-and-swap, owns the job from then on.
const (
	jobWaiting   int32 = iota
	jobStarted         // the writer owns it
	jobWithdrawn       // the caller no longer waits; the writer discards it
)

// start makes the writer the owner of the job. It returns false if the caller has withdrawn the job.
func (j *job) start() bool { return j.state.CompareAndSwap(jobWaiting, jobStarted) }

// withdraw makes the writer discard the job. It returns false if the writer has started it.
func (j *job) withdraw() bool { return j.state.CompareAndSwap(jobWaiting, jobWithdrawn) }

// complete wakes the caller of Update.
func (j *job) complete() { j.done <- struct{}{} }

// writer runs all Updates, one after the other, in its own goroutine. The package comment describes its groups.
type writer struct {
	store     *Store
	conn      *groupConn
	jobs      sync.Pool
	groupSize int // commits a group of so many Updates

	indexAfter int64 // messages that the full-text index receives at once

	mu                  sync.Mutex
	queue               []*job
	asleep              bool // the goroutine waits for wake
	closed              bool
	checkpointRequested bool // to be done before the next group
	wake                chan struct{}
	stopped             chan struct{}

	// Only the goroutine uses the following fields.
	batch         []*job // removed from the queue
	next          int    // the index of the next job in batch
	open          bool   // a transaction is open
	begunAt       time.Time
	group         []*job // has run in the open transaction
	lastGroupSize int

	commits atomic.Int64
}

func newWriter(s *Store, c *conn) *writer {
	return &writer{
		store: s, conn: &groupConn{conn: c}, groupSize: maxGroupSize, indexAfter: indexedAtOnce,
		jobs: sync.Pool{New: func() any { return &job{done: make(chan struct{}, 1)} }},
		wake: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
}

func (w *writer) start() { go w.run() }

// stop waits until every job in the queue is done.
func (w *writer) stop() {
	w.mu.Lock()
	w.closed = true
	w.wakeAndUnlock()
	<-w.stopped
}

// requestCheckpoint makes the writer run a checkpoint before its next group.
func (w *writer) requestCheckpoint() {
	w.mu.Lock()
	w.checkpointRequested = true
	w.wakeAndUnlock()
}

// wakeAndUnlock releases the lock and wakes the goroutine if it is asleep.
func (w *writer) wakeAndUnlock() {
	asleep := w.asleep
	w.asleep = false
	w.mu.Unlock()
	if asleep {
		w.wake <- struct{}{}
	}
}

// update runs fn in the writer's goroutine and returns its outcome. If the context ends while fn waits, fn never runs. If fn
// panics or ends its goroutine, update does the same.
func (w *writer) update(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	j := w.jobs.Get().(*job)
	j.ctx, j.fn = ctx, fn
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		w.recycle(j)
		return ports.ErrClosed
	}
	w.queue = append(w.queue, j)
	w.wakeAndUnlock()
	select {
	case <-j.done:
	case <-ctx.Done():
		if j.withdraw() {
			return ctx.Err() // the writer recycles the job
		}
		<-j.done
	}
	err, panicked, exited := j.err, j.panicked, j.exited
	w.recycle(j)
	switch {
	case panicked != nil:
		panic(panicked)
	case exited:
		runtime.Goexit()
	}
	return err
}

func (w *writer) recycle(j *job) {
	*j = job{done: j.done}
	w.jobs.Put(j)
}

// run is the writer's goroutine. If the function of an Update ends it, another one continues.
func (w *writer) run() {
	finished := false
	defer func() {
		if !finished {
			go w.run()
		}
	}()
	for {
		for j := w.nextJob(); j != nil; j = w.nextJob() {
			w.runJob(j)
			if w.open && (len(w.group) >= w.groupSize || time.Since(w.begunAt) > maxGroupAge) {
				w.commit()
			}
		}
		w.commit()
		if !w.awaitBatch() {
			break
		}
	}
	finished = true
	close(w.stopped)
}

// nextJob removes the next job from the batch. It returns nil if the batch is empty.
func (w *writer) nextJob() *job {
	if w.next == len(w.batch) {
		return nil
	}
	j := w.batch[w.next]
	w.batch[w.next] = nil
	w.next++
	return j
}

// awaitBatch moves the queue into the batch, once it is not empty. It returns false when the writer has to end.
func (w *writer) awaitBatch() bool {
	w.yieldToCallers()
	w.mu.Lock()
	for len(w.queue) == 0 && !w.checkpointRequested {
		if w.closed {
			w.mu.Unlock()
			return false
		}
		w.asleep = true
		w.mu.Unlock()
		<-w.wake
		w.mu.Lock()
	}
	w.batch, w.queue, w.next = w.queue, w.batch[:0], 0
	checkpoint := w.checkpointRequested
	w.checkpointRequested = false
	w.mu.Unlock()
	if checkpoint {
		w.store.checkpoints.finishCopy(w.conn.conn)
	}
	return true
}

// yieldToCallers lets the callers of the last group run. They may have a further Update, which then joins the next group and
// not the one after it. The writer yields its processor as long as the queue grows, and never sleeps.
func (w *writer) yieldToCallers() {
	if w.lastGroupSize <= 1 {
		return
	}
	for length := 0; ; {
		runtime.Gosched()
		w.mu.Lock()
		n := len(w.queue)
		w.mu.Unlock()
		if n == length {
			return
		}
		length = n
	}
}

// runJob runs one job, unless its caller no longer waits. It begins a transaction if none is open.
func (w *writer) runJob(j *job) {
	if !j.start() {
		w.recycle(j)
		return
	}
	j.err = j.ctx.Err()
	if j.err == nil && !w.open {
		j.err = w.begin()
	}
	if j.err != nil {
		j.complete()
		return
	}
	w.group = append(w.group, j)
	w.callFunction(j)
	if w.conn.lost != nil {
		w.completeGroup(fmt.Errorf("the transaction was lost: %w", w.conn.lost))
	}
}

// begin begins the transaction of a group. If that fails, the whole batch fails: its callers have waited as long.
func (w *writer) begin() error {
	err := w.store.CheckPresence()
	if err == nil {
		err = w.conn.control(beginWrite)
	}
	if err != nil {
		for j := w.nextJob(); j != nil; j = w.nextJob() {
			if !j.start() {
				w.recycle(j)
				continue
			}
			j.err = err
			j.complete()
		}
		return err
	}
	w.open, w.begunAt = true, time.Now()
	return nil
}

// callFunction calls the function of a job. It undoes the job's writes if the function does not return nil.
func (w *writer) callFunction(j *job) {
	returned := false
	defer func() {
		if !returned {
			j.panicked = recover()
			j.exited = j.panicked == nil
		}
		w.conn.finishUpdate(returned && j.err == nil)
	}()
	j.err = w.store.queries.Begin(j.ctx, w.conn, w.store, sqlstore.ReadWrite).Run(j.fn)
	returned = true
}

// commit commits the group, if a transaction is open.
func (w *writer) commit() {
	if !w.open {
		return
	}
	w.commits.Add(1)
	err := w.indexMessages()
	if err == nil {
		err = w.conn.control(commit)
	}
	if err == nil {
		err = w.store.checkFiles() // a commit to a removed file would end with the process
	}
	if err != nil {
		err = fmt.Errorf("commit: %w", err)
	}
	w.completeGroup(err)
	if err == nil {
		w.store.checkpoints.boundLog(w.conn.conn)
	}
}

// indexMessages enters new messages into the full-text index once there are many, outside the savepoints of Updates.
func (w *writer) indexMessages() error {
	if !w.conn.hasWritten {
		return nil
	}
	w.conn.hasWritten = false
	return w.store.queries.IndexNew(context.Background(), w.conn.conn, w.indexAfter)
}

// completeGroup completes every job of the group. err is the failure of the group as a whole. No caller learns its outcome
// earlier, not even a failure: a failure may depend on the writes of another Update, which may be rolled back.
func (w *writer) completeGroup(err error) {
	if err != nil {
		_ = w.conn.end() // the jobs receive the first error
	}
	w.conn.lost, w.conn.hasWritten = nil, false
	w.lastGroupSize = len(w.group)
	for i, j := range w.group {
		w.group[i] = nil
		if j.err == nil {
			j.err = err
		}
		j.complete()
	}
	w.open, w.group = false, w.group[:0]
}
