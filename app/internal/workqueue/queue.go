package workqueue

import (
	"context"
	"maps"
	"sync"
	"time"
)

const (
	perWorker       = 8           // tasks that run at once for one worker
	pauseAfterError = time.Second // before a failed key runs again
)

// Pool names a bound on tasks that run at once.
type Pool int

// The pools. Each has the size that New was given.
const (
	Sessions Pool = iota // sessions and cleanups
	Probes
	pools
)

// The pools of a queue of webhooks.
const (
	Webhooks        = Sessions
	FailingWebhooks = Probes // their latest attempt failed
)

// Task describes a piece of background work.
type Task struct {
	Key    string // one task runs per key
	Worker string // the worker that the task calls, or whatever else bounds it; empty: none
	Pool   Pool
}

// Batch is the set of tasks that one caller dispatched and waits for.
type Batch struct {
	sync.WaitGroup
	// Context is the context of the tasks. It outlives the loop that dispatches them.
	Context context.Context
}

// Queue runs tasks within bounds. Use New.
type Queue struct {
	now   func() time.Time
	spawn func(func())
	slots [pools]chan struct{}
	woken chan struct{}

	mu        sync.Mutex
	running   map[string]bool
	busy      map[string]int      // running tasks by worker
	backlog   map[string][]string // keys that wait for a worker, as of the latest pass
	notBefore map[string]time.Time
}

// New returns a queue whose pools run up to parallel tasks each. spawn runs a task.
func New(parallel int, now func() time.Time, spawn func(func())) *Queue {
	q := &Queue{
		now: now, spawn: spawn, woken: make(chan struct{}, 1),
		running: make(map[string]bool), busy: make(map[string]int), notBefore: make(map[string]time.Time),
	}
	for i := range q.slots {
		q.slots[i] = make(chan struct{}, parallel)
	}
	return q
}

// Wake asks for another pass soon. Many calls in a row make one pass.
func (q *Queue) Wake() {
	select {
	case q.woken <- struct{}{}:
	default:
	}
}

// Woken returns the channel that receives once after Wake.
func (q *Queue) Woken() <-chan struct{} { return q.woken }

// Dispatch runs fn in the background and reports whether it does. It refuses a
// task that is out of bounds. After an error of fn the key pauses for a second.
// then runs when the task has left its slot.
func (q *Queue) Dispatch(b *Batch, t Task, fn func() error, then ...func()) bool {
	if !q.acquire(t) {
		return false
	}
	b.Add(1)
	q.spawn(func() {
		defer b.Done()
		var pauseUntil time.Time
		defer func() {
			q.release(t, pauseUntil)
			for _, f := range then {
				f()
			}
			q.Wake()
		}()
		if err := fn(); err != nil {
			pauseUntil = q.now().Add(pauseAfterError)
		}
	})
	return true
}

func (q *Queue) acquire(t Task) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running[t.Key] || q.now().Before(q.notBefore[t.Key]) || t.Worker != "" && q.busy[t.Worker] >= perWorker {
		return false
	}
	select {
	case q.slots[t.Pool] <- struct{}{}:
	default:
		return false
	}
	delete(q.notBefore, t.Key)
	q.running[t.Key] = true
	q.busy[t.Worker]++
	return true
}

func (q *Queue) release(t Task, pauseUntil time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	<-q.slots[t.Pool]
	delete(q.running, t.Key)
	q.busy[t.Worker]--
	if q.busy[t.Worker] <= 0 {
		delete(q.busy, t.Worker)
	}
	if !pauseUntil.IsZero() {
		q.notBefore[t.Key] = pauseUntil
	}
}

// IsBusy reports whether a task runs for the worker.
func (q *Queue) IsBusy(worker string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.busy[worker] > 0
}

// SetBacklog replaces the keys that wait for a busy worker, by worker.
func (q *Queue) SetBacklog(byWorker map[string][]string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.backlog = byWorker
}

// NextInBacklog removes and returns the next key that waits for the worker. It
// returns the empty string if there is none.
func (q *Queue) NextInBacklog(worker string) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	keys := q.backlog[worker]
	if len(keys) == 0 {
		return ""
	}
	q.backlog[worker] = keys[1:]
	return keys[0]
}

// Housekeep forgets pauses that are over.
func (q *Queue) Housekeep(now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	maps.DeleteFunc(q.notBefore, func(_ string, until time.Time) bool { return now.After(until) })
}
