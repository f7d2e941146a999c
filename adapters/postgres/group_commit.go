package postgres

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/switchyard-wa/switchyard/adapters/internal/sqlstore"
)

const (
	// maxWriteFirstLeaders and maxReadFirstLeaders bound how many groups of a committer run at a time.
	maxWriteFirstLeaders, maxReadFirstLeaders = 2, 1
	// secondLeaderQueue is how many Updates wait before a second leader starts. Large groups cost least per Update.
	secondLeaderQueue = 32
	// maxGroupSize bounds the Updates of one group.
	maxGroupSize = 128
	// retryJitter spreads the individual runs of the Updates whose group failed.
	retryJitter = 10 * time.Millisecond
)

// groupSettings applies to the transaction of a group. A group stops waiting early for a row that another transaction holds,
// because two groups may wait for each other's rows. The planner looks rows up by key even in a growing table whose
// statistics still call it small.
var groupSettings = &sqlstore.Statement{
	SQL: "SELECT set_config('lock_timeout', '100ms', true), set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true)",
}

// readFirstLock serializes the read-first groups of all replicas. Most of these groups change the same few rows, such as
// the row that numbers events.
var readFirstLock = &sqlstore.Statement{SQL: "SELECT 1 FROM pg_advisory_xact_lock(7526768903562)"}

// errRetryIndividually reports that a group was rolled back and that each of its Updates has to run individually.
var errRetryIndividually = errors.New("postgres: the Update runs again individually")

// groupCommitter queues Updates and commits them in groups. A leader is a goroutine that forms and commits groups while
// Updates are queued. Leaders start with the queue and end with it.
type groupCommitter struct {
	store      *Store
	maxLeaders int
	lock       *sqlstore.Statement // acquired before a group is formed; nil: none

	mu        sync.Mutex
	queue     []*participant
	leaders   int
	sizeLimit int // of the next group, after a group that failed; 0: maxGroupSize
}

// enqueue queues a participant with its first statement, and starts a leader if one is needed.
func (c *groupCommitter) enqueue(p *participant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, p)
	if c.leaders == 0 || c.leaders < c.maxLeaders && len(c.queue) >= secondLeaderQueue {
		c.leaders++
		go c.lead()
	}
}

// withdraw removes a participant from the queue. It returns the participant's group if a leader was faster.
func (c *groupCommitter) withdraw(p *participant) *group {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.group == nil {
		c.queue = slices.DeleteFunc(c.queue, func(o *participant) bool { return o == p })
		p.withdrawn = true
	}
	return p.group
}

// lead commits groups until the queue is empty.
func (c *groupCommitter) lead() {
	for c.keepsLeading() {
		if size := c.commitGroup(); size > 1 {
			c.yieldToCallers()
		}
	}
}

// keepsLeading reports whether the calling leader has another group to commit. Otherwise the leader is no longer counted.
func (c *groupCommitter) keepsLeading() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.queue)
	if n == 0 || c.leaders > 1 && n < secondLeaderQueue {
		c.leaders--
		return false
	}
	return true
}

// commitGroup commits one group of queued Updates and returns its size. The group is formed as late as possible: once
// there is a connection and the lock is held.
func (c *groupCommitter) commitGroup() (size int) {
	pooled, err := c.store.acquire(context.Background())
	if err != nil {
		g := c.formGroup()
		g.complete(groupOutcome(err))
		return g.size
	}
	conn := connOf(pooled)
	defer conn.release(pooled)
	if c.lock != nil {
		err = conn.execAll(beginWrite, c.lock, groupSettings)
	}
	g := c.formGroup()
	g.begun = c.lock != nil
	if err == nil && g.size > 0 {
		err = g.run(conn)
	}
	if (err != nil || g.size == 0) && !errors.Is(err, ErrUncertain) {
		_, _ = conn.exec(rollback) // on failure the pool closes the connection
	}
	err = groupOutcome(err)
	c.adaptSize(g.size, err)
	g.complete(err)
	return g.size
}

// groupOutcome returns what the participants of a group are told. Unless the server does not answer, or the outcome of
// COMMIT is unknown, the Updates of a failed group may succeed individually.
func groupOutcome(err error) error {
	if err == nil || pgconn.Timeout(err) || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUncertain) {
		return err
	}
	return errRetryIndividually
}

// formGroup makes a group of the oldest queued Updates. The group may be empty.
func (c *groupCommitter) formGroup() *group {
	c.mu.Lock()
	defer c.mu.Unlock()
	size := min(len(c.queue), maxGroupSize)
	if c.sizeLimit > 0 {
		size = min(size, c.sizeLimit)
	}
	g := newGroup(slices.Clone(c.queue[:size]))
	c.queue = slices.Delete(c.queue, 0, size)
	for _, p := range g.pending {
		p.group = g
	}
	return g
}

// adaptSize shrinks the next groups after a group whose Updates have to run individually, and grows them again as groups
// succeed. A group of one says nothing about size.
func (c *groupCommitter) adaptSize(size int, outcome error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case errors.Is(outcome, errRetryIndividually) && size > 1:
		c.sizeLimit = max(size/4, 1)
	case outcome != nil:
	case c.sizeLimit > 0 && size >= c.sizeLimit:
		c.sizeLimit += max(c.sizeLimit/4, 1)
		if c.sizeLimit >= maxGroupSize {
			c.sizeLimit = 0
		}
	}
}

// yieldToCallers lets the goroutines run whose Updates have just been committed. Their next Updates then join the next
// group instead of the group after it. The leader only yields the processor, and only as long as the queue grows.
func (c *groupCommitter) yieldToCallers() {
	for seen := 0; ; {
		runtime.Gosched()
		c.mu.Lock()
		n := len(c.queue)
		c.mu.Unlock()
		if n == seen {
			return
		}
		seen = n
	}
}
