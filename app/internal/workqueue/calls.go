package workqueue

import (
	"context"
	"sync"
	"time"
)

// Calls registers the calls to workers that are under way. Its zero value is ready.
type Calls struct {
	mu      sync.Mutex
	cancels map[string]map[*context.CancelFunc]struct{} // by worker
}

// Begin returns the context of a call to a worker. It ends after limit, or when
// Cancel is called for the worker. The caller calls end after the call.
func (c *Calls) Begin(ctx context.Context, workerID string, limit time.Duration) (call context.Context, end func()) {
	call, cancel := context.WithTimeout(ctx, limit)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancels == nil {
		c.cancels = make(map[string]map[*context.CancelFunc]struct{})
	}
	if c.cancels[workerID] == nil {
		c.cancels[workerID] = make(map[*context.CancelFunc]struct{})
	}
	c.cancels[workerID][&cancel] = struct{}{}
	return call, func() {
		cancel()
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.cancels[workerID], &cancel)
		if len(c.cancels[workerID]) == 0 {
			delete(c.cancels, workerID)
		}
	}
}

// Cancel cancels the calls to a worker that are under way.
func (c *Calls) Cancel(workerID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for cancel := range c.cancels[workerID] {
		(*cancel)()
	}
}
