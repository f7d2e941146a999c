package workqueue

import (
	"context"
	"sync"
)

// KeyedMutex is a mutex per key. Its zero value is ready. The orchestrator locks a
// session while it works on it, so that two calls to a worker about one session do
// not overtake each other. It does not lock the session's row: reports of workers
// are applied meanwhile.
type KeyedMutex struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed when the key is unlocked
}

// Lock waits for the key, or until ctx ends, and returns the function that unlocks
// it.
func (m *KeyedMutex) Lock(ctx context.Context, key string) (unlock func(), err error) {
	for {
		unlock, unlocked := m.tryLock(key)
		if unlock != nil {
			return unlock, nil
		}
		select {
		case <-unlocked:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// tryLock returns either unlock, or a channel that is closed when the holder
// unlocks the key.
func (m *KeyedMutex) tryLock(key string) (unlock func(), unlocked <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.held[key]; c != nil {
		return nil, c
	}
	if m.held == nil {
		m.held = make(map[string]chan struct{})
	}
	c := make(chan struct{})
	m.held[key] = c
	return func() {
		m.mu.Lock()
		delete(m.held, key)
		m.mu.Unlock()
		close(c)
	}, nil
}

// IsLocked reports whether the key is locked.
func (m *KeyedMutex) IsLocked(key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held[key] != nil
}
