// Package fanout delivers events to the subscribers within one process. The event buses of the memory and the Redis
// adapter build on it.
//
// Each subscriber has a queue of [Capacity] events and a goroutine that empties it. A slow subscriber therefore delays
// neither the publisher nor other subscribers. When its queue is full, the oldest event is dropped, so that the newest
// state always arrives.
package fanout

import (
	"slices"
	"sync"

	"github.com/switchyard-wa/switchyard/domain"
)

// Capacity is how many events wait for one subscriber.
const Capacity = 4096

// Fanout holds the subscribers. The zero value is ready to use. Its methods may be called concurrently.
type Fanout struct {
	mu          sync.Mutex // held by Deliver as a whole, so that all subscribers see one order
	subscribers []*subscriber
	closed      bool
	running     sync.WaitGroup
}

// Deliver appends events to the queue of every subscriber. It does not wait for subscribers.
func (f *Fanout) Deliver(events []domain.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.subscribers {
		s.enqueue(events)
	}
}

// Subscribe calls fn with every event that is delivered until cancel is called. Calls of fn do not overlap. cancel does
// not wait for a call of fn that has begun, so fn may call cancel. After [Fanout.Close] fn is never called.
func (f *Fanout) Subscribe(fn func(domain.Event)) (cancel func()) {
	s := &subscriber{wake: make(chan struct{}, 1), done: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return func() {}
	}
	f.subscribers = append(f.subscribers, s)
	f.running.Go(func() { s.run(fn) })
	return func() { f.unsubscribe(s) }
}

func (f *Fanout) unsubscribe(s *subscriber) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.Index(f.subscribers, s); i >= 0 {
		f.subscribers = slices.Delete(f.subscribers, i, i+1)
		close(s.done)
	}
}

// Len returns the number of subscribers.
func (f *Fanout) Len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.subscribers)
}

// Close ends all subscriptions and waits for calls of subscribers that have begun.
func (f *Fanout) Close() {
	f.mu.Lock()
	f.closed = true
	for _, s := range f.subscribers {
		close(s.done)
	}
	f.subscribers = nil
	f.mu.Unlock()
	f.running.Wait()
}

// subscriber is a queue of events and the goroutine that empties it.
type subscriber struct {
	mu     sync.Mutex
	events []domain.Event // a ring once it is full
	oldest int            // where the ring begins
	wake   chan struct{}  // receives when the queue is not empty
	done   chan struct{}  // closed when the subscription ends
}

func (s *subscriber) enqueue(events []domain.Event) {
	s.mu.Lock()
	for _, e := range events {
		if len(s.events) < Capacity {
			s.events = append(s.events, e)
			continue
		}
		s.events[s.oldest] = e
		s.oldest = (s.oldest + 1) % Capacity
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// drain empties the queue and returns its events, oldest first.
func (s *subscriber) drain() []domain.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := s.events
	if s.oldest > 0 {
		events = slices.Concat(events[s.oldest:], events[:s.oldest])
	}
	s.events, s.oldest = nil, 0
	return events
}

func (s *subscriber) run(fn func(domain.Event)) {
	for {
		select {
		case <-s.done:
			return
		case <-s.wake:
		}
		for _, e := range s.drain() {
			select {
			case <-s.done:
				return
			default:
			}
			fn(e)
		}
	}
}
