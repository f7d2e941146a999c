// Package admission bounds costly work. A [Queue] runs a few pieces of work at once,
// lets a bounded number wait for a bounded time, and refuses the rest with
// OVERLOADED, so that a flood costs its senders and nobody else.
//
// Work waits in the order of its arrival. A caller whose context ends leaves the queue at
// once. One caller holds a bounded share of the queue. A caller whose share is full is
// refused, while others are still admitted.
//
// golang.org/x/sync/semaphore keeps the order and the cancellation. It has neither a
// bound on what waits nor shares of callers; this package adds both.
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
}

// Queue admits costly work. It is safe for concurrent use.
type Queue struct {
	cfg     Config
	running *semaphore.Weighted

	mu    sync.Mutex
	total int            // pieces of work that run or wait
	held  map[string]int // the same by caller
}

// New returns a queue.
func New(c Config) *Queue {
	c.Parallel = max(c.Parallel, 1)
	if c.MaxWait == 0 {
		c.MaxWait = 5 * time.Second
	}
	return &Queue{cfg: c, running: semaphore.NewWeighted(int64(c.Parallel)), held: make(map[string]int)}
}

// Acquire waits until the caller's work may run. The caller calls release when the work
// is done. An empty caller has no bounded share. The error is [domain.Overloaded], or the
// error of ctx.
func (q *Queue) Acquire(ctx context.Context, caller string) (release func(), err error) {
	if !q.enter(caller) {
		return nil, q.refusal()
	}
	waiting, cancel := context.WithTimeout(ctx, q.cfg.MaxWait)
	defer cancel()
	if err := q.running.Acquire(waiting, 1); err != nil {
		q.leave(caller)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, q.refusal()
	}
	return sync.OnceFunc(func() {
		q.running.Release(1)
		q.leave(caller)
	}), nil
}

// Depth returns the number of pieces of work that run or wait.
func (q *Queue) Depth() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total
}

// enter counts work of the caller, unless the queue or the share is full.
func (q *Queue) enter(caller string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.total >= q.cfg.Parallel+q.cfg.Waiting {
		return false
	}
	if caller != "" && q.cfg.Share > 0 {
		if q.held[caller] >= q.cfg.Share {
			return false
		}
		q.held[caller]++
	}
	q.total++
	return true
}

// leave undoes enter.
func (q *Queue) leave(caller string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total--
	if q.held[caller] > 1 {
		q.held[caller]--
		return
	}
	delete(q.held, caller)
}

// refusal returns the error of work that is refused.
func (q *Queue) refusal() error {
	return domain.Overloaded(time.Second, "Too many %s at once; try again in a moment", q.cfg.Work)
}
