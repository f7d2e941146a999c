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

// A group is committed when it has so many Updates, or is so old, even if more
// of them wait.
const (
	groupSize = 256
	groupAge  = 10 * time.Millisecond
)

// job is an Update.
type job struct {
	ctx      context.Context
	fn       func(ctx context.Context, tx *ports.Tx) error
	state    atomic.Int32
	done     chan struct{} // receives once the outcome stands
	err      error
	panicked any
	exited   bool // fn ended its goroutine
}

// The states of a job. Whoever moves it on from waiting has it.
const (
	waiting int32 = iota
	started
	withdrawn
)

// writer runs all Updates, one after the other, in a goroutine of its own.
type writer struct {
	store *Store
	conn  *grouped
	jobs  sync.Pool

	mu         sync.Mutex
	queue      []*job
	asleep     bool // until wake receives
	closed     bool
	checkpoint bool // is wanted before the next group
	wake       chan struct{}
	stopped    chan struct{}

	// What follows is the goroutine's.
	batch         []*job // taken from the queue
	next          int    // the first that is not looked at yet
	open          bool   // there is a transaction
	begun         time.Time
	ran           []*job // in it
	lastGroupSize int    // how many were in the last

	commits atomic.Int64
}

func newWriter(s *Store, c *conn) *writer {
	return &writer{
		store: s, conn: &grouped{conn: c},
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

// wakeAndUnlock wakes the goroutine and unlocks.
func (w *writer) wakeAndUnlock() {
	asleep := w.asleep
	w.asleep = false
	w.mu.Unlock()
	if asleep {
		w.wake <- struct{}{}
	}
}

// do has fn run and returns its outcome.
func (w *writer) do(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
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
	if ended := ctx.Done(); ended == nil {
		<-j.done
	} else {
		select {
		case <-j.done:
		case <-ended:
			if j.state.CompareAndSwap(waiting, withdrawn) {
				return ctx.Err() // the goroutine recycles it
			}
			<-j.done
		}
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

// run is the goroutine. If a function ends it, another takes its place.
func (w *writer) run() {
	finished := false
	defer func() {
		if !finished {
			go w.run()
		}
	}()
	for {
		for w.next < len(w.batch) {
			j := w.batch[w.next]
			w.batch[w.next] = nil
			w.next++
			w.step(j)
			if w.open && (len(w.ran) >= groupSize || time.Since(w.begun) > groupAge) {
				w.commit()
			}
		}
		w.commit()
		if !w.take() {
			break
		}
	}
	finished = true
	close(w.stopped)
}

// take fetches what has queued up, and sleeps until there is something. It
// reports false when the writer is to end.
func (w *writer) take() bool {
	w.gather()
	w.mu.Lock()
	for len(w.queue) == 0 && !w.checkpoint {
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
	checkpoint := w.checkpoint
	w.checkpoint = false
	w.mu.Unlock()
	if checkpoint {
		w.store.checkpoints.finish(w.conn.conn)
	}
	return true
}

// gather lets those who were just told of a commit go on: they may have more
// to write, and then it is in the next group and not in the one after it. It
// waits for nothing, and only as long as the queue grows.
func (w *writer) gather() {
	for grown := 0; w.lastGroupSize > 1; {
		runtime.Gosched()
		w.mu.Lock()
		n := len(w.queue)
		w.mu.Unlock()
		if n == grown {
			return
		}
		grown = n
	}
}

// step runs one job, unless nobody waits for it any more.
func (w *writer) step(j *job) {
	if !j.state.CompareAndSwap(waiting, started) {
		w.recycle(j)
		return
	}
	if j.err = j.ctx.Err(); j.err == nil && !w.open {
		j.err = w.begin()
	}
	if j.err != nil {
		j.done <- struct{}{}
		return
	}
	w.ran = append(w.ran, j)
	w.call(j)
	if w.conn.lost != nil {
		w.finish(fmt.Errorf("the transaction was lost: %w", w.conn.lost))
	}
}

func (w *writer) begin() error {
	err := w.conn.control(beginWrite)
	if err != nil { // those who wait have waited long enough too
		for w.next < len(w.batch) {
			j := w.batch[w.next]
			w.batch[w.next] = nil
			w.next++
			if !j.state.CompareAndSwap(waiting, started) {
				w.recycle(j)
				continue
			}
			j.err = err
			j.done <- struct{}{}
		}
		return err
	}
	w.open, w.begun = true, time.Now()
	return nil
}

// call runs the function of a job and keeps, or takes back, what it wrote.
func (w *writer) call(j *job) {
	returned := false
	defer func() {
		if !returned {
			if j.panicked = recover(); j.panicked == nil {
				j.exited = true
			}
		}
		w.conn.finishUpdate(returned && j.err == nil)
	}()
	j.err = w.store.body.Begin(j.ctx, w.conn, w.store, true).Run(j.fn)
	returned = true
}

// commit ends the group, if there is one.
func (w *writer) commit() {
	if !w.open {
		return
	}
	w.commits.Add(1)
	err := w.conn.control(commit)
	if err != nil {
		err = fmt.Errorf("commit: %w", err)
	}
	w.finish(err)
}

// finish tells everybody in the group how it ended. Nobody hears of it
// earlier, not even of a failure: that may be due to what another has written.
func (w *writer) finish(err error) {
	if err != nil {
		_ = w.conn.end() // nothing more can be done
	}
	w.conn.lost = nil
	w.lastGroupSize = len(w.ran)
	for i, j := range w.ran {
		w.ran[i] = nil
		if j.err == nil {
			j.err = err
		}
		j.done <- struct{}{}
	}
	w.open, w.ran = false, w.ran[:0]
	w.store.checkpoints.note(w.lastGroupSize)
}

// grouped is the connection of an Update in a group.
type grouped struct {
	*conn
	saved bool  // this Update has written
	lost  error // SQLite has ended the transaction of the whole group
}

// save makes it possible to take back what an Update is about to write.
func (g *grouped) save(s *sqlstore.Statement) error {
	if g.lost != nil {
		return g.lost
	}
	if !s.Write || g.saved {
		return nil
	}
	if err := g.control(savepoint); err != nil {
		return g.check(err)
	}
	g.saved = true
	return nil
}

// check notices if an error has cost the whole transaction.
func (g *grouped) check(err error) error {
	if err != nil && g.idle() {
		g.lost = err
	}
	return err
}

func (g *grouped) Exec(ctx context.Context, s *sqlstore.Statement, args []any) (int64, error) {
	if err := g.save(s); err != nil {
		return 0, err
	}
	n, err := g.conn.Exec(ctx, s, args)
	return n, g.check(err)
}

func (g *grouped) Query(ctx context.Context, s *sqlstore.Statement, args []any) (sqlstore.Rows, error) {
	if err := g.save(s); err != nil {
		return nil, err
	}
	rows, err := g.conn.Query(context.Background(), s, args)
	return rows, g.check(err)
}

// finishUpdate ends the part of one Update.
func (g *grouped) finishUpdate(keep bool) {
	if !g.saved {
		return
	}
	g.saved = false
	if g.lost != nil {
		return
	}
	var err error
	if !keep {
		err = g.control(rollbackTo)
	}
	if err == nil {
		err = g.control(release)
	}
	if err != nil { // it is not certain what the transaction holds
		g.lost = err
	}
}
