package accounts

import (
	"context"
	"sync"
)

const backgroundJobs = 32 // concurrently

// background runs a bounded number of jobs independently of their callers.
type background struct {
	spawn func(func())
	slots chan struct{}

	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup // Add only under mu while closed is false
}

func newBackground(spawn func(func())) *background {
	return &background{spawn: spawn, slots: make(chan struct{}, backgroundJobs)}
}

// start runs f in the background. It returns false if there is no free slot.
func (b *background) start(f func()) bool {
	if !b.enter() {
		return false
	}
	b.spawn(func() {
		defer func() {
			<-b.slots
			b.wg.Done()
		}()
		f()
	})
	return true
}

// enter acquires a slot. It returns false if there is none.
func (b *background) enter() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	select {
	case b.slots <- struct{}{}:
		b.wg.Add(1)
		return true
	default:
		return false
	}
}

// close waits until all jobs have ended or the context ends.
func (b *background) close(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	done := make(chan struct{})
	go func() {
		b.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
