package workqueue

import "sync"

// Notifier wakes goroutines that wait for a key to change. Its zero value is ready.
type Notifier struct {
	mu      sync.Mutex
	waiters map[string]chan struct{}
}

// Changed returns a channel that is closed at the next Notify of the key. Read the
// state after calling Changed, or a change between the two is missed.
func (n *Notifier) Changed(key string) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.waiters == nil {
		n.waiters = make(map[string]chan struct{})
	}
	c := n.waiters[key]
	if c == nil {
		c = make(chan struct{})
		n.waiters[key] = c
	}
	return c
}

// Notify wakes everyone who waits for the key.
func (n *Notifier) Notify(key string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.waiters[key]; c != nil {
		close(c)
		delete(n.waiters, key)
	}
}
