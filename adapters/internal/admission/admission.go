// Package admission bounds costly work. A [Queue] runs a few pieces of work at once,
// lets a bounded number wait for a bounded time, and refuses the rest with
// OVERLOADED, so that a flood costs its senders and nobody else.
//
// Work waits in the order of its arrival. A caller whose context ends leaves the queue at
// once. One caller holds a bounded share of the queue. A caller whose share is full is
// refused, while others are still admitted. Callers may take turns (round robin): one piece
// of work of each caller competes, and the next one joins at the end when the first is done.
//
// golang.org/x/sync/semaphore keeps the order and the cancellation. It has neither a
// bound on what waits nor shares or turns of callers; this package adds them.
package admission

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/switchyard-wa/switchyard/domain"
)

// Config configures a [Queue]. The zero value of each field but Work works.
type Config struct {
	Work     string        // the rest of the refusal "Too many … at once"
	Parallel int           // pieces of work at once; 0: one
	Waiting  int           // pieces of work that wait at most; 0: none waits
	MaxWait  time.Duration // 0: 5 s
	Share    int           // pieces of work of one caller, running or waiting; 0: no bound
	InTurn   bool          // callers take turns: one piece of work of each runs at once
}

// Queue admits costly work. It is safe for concurrent use.
type Queue struct {
	cfg     Config
	running *semaphore.Weighted

	mu    sync.Mutex
	total int               // pieces of work that run or wait
	held  map[string]*place // the same by caller
}

// place is the part of one caller in a queue.
type place struct {
	pieces int                 // of work that run or wait
	turn   *semaphore.Weighted // held by the piece that competes, if callers take turns
}

// New returns a queue.
func New(c Config) *Queue {
	c.Parallel = max(c.Parallel, 1)
	if c.MaxWait == 0 {
		c.MaxWait = 5 * time.Second
	}
	return &Queue{cfg: c, running: semaphore.NewWeighted(int64(c.Parallel)), held: make(map[string]*place)}
}

// Acquire waits until the caller's work may run. The caller calls release when the work
// is done. An empty caller has no bounded share and takes no turns. The error is
// [domain.Overloaded], or the error of ctx.
func (q *Queue) Acquire(ctx context.Context, caller string) (release func(), err error) {
	held, isAdmitted := q.enter(caller)
	if !isAdmitted {
		return nil, q.refusal()
	}
	waiting, cancel := context.WithTimeout(ctx, q.cfg.MaxWait)
	defer cancel()
	if err := q.wait(waiting, held); err != nil {
		q.leave(caller)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, q.refusal()
	}
	return sync.OnceFunc(func() {
		q.running.Release(1)
		q.endTurn(held)
		q.leave(caller)
	}), nil
}

// wait waits for the caller's turn, and then until the work may run.
func (q *Queue) wait(ctx context.Context, held *place) error {
	if q.cfg.InTurn && held != nil {
		if err := held.turn.Acquire(ctx, 1); err != nil {
			return err
		}
	}
	err := q.running.Acquire(ctx, 1)
	if err != nil {
		q.endTurn(held)
	}
	return err
}

// endTurn lets the next piece of work of the caller compete.
func (q *Queue) endTurn(held *place) {
	if q.cfg.InTurn && held != nil {
		held.turn.Release(1)
	}
}

// Depth returns the number of pieces of work that run or wait.
func (q *Queue) Depth() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total
}

// enter counts work of the caller, unless the queue or the share is full. An empty caller has
// no place.
func (q *Queue) enter(caller string) (held *place, isAdmitted bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.total >= q.cfg.Parallel+q.cfg.Waiting {
		return nil, false
	}
	if caller != "" {
		held = q.held[caller]
		if held == nil {
			held = &place{turn: semaphore.NewWeighted(1)}
			q.held[caller] = held
		}
		if q.cfg.Share > 0 && held.pieces >= q.cfg.Share {
			return nil, false
		}
		held.pieces++
	}
	q.total++
	return held, true
}

// leave undoes enter.
func (q *Queue) leave(caller string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total--
	held := q.held[caller]
	if held == nil {
		return
	}
	held.pieces--
	if held.pieces == 0 {
		delete(q.held, caller)
	}
}

// refusal returns the error of work that is refused.
func (q *Queue) refusal() error {
	return domain.Overloaded(time.Second, "Too many %s at once; try again in a moment", q.cfg.Work)
}
