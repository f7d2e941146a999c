package memory

import (
	"context"
	"slices"
	"sync"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// busQueue is how many events may wait for one subscriber.
const busQueue = 4096

// Bus implements [ports.Bus] within one process. Each subscriber has a
// goroutine, until it is cancelled, and a queue; of a queue that is full the
// oldest event is dropped, so that the newest state always arrives.
type Bus struct {
	mu          sync.Mutex // one Publish after the other: all subscribers see the same order
	subscribers []*subscriber
}

var _ ports.Bus = (*Bus)(nil)

// NewBus returns a bus without subscribers.
func NewBus() *Bus { return &Bus{} }

// Publish implements [ports.Bus].
func (b *Bus) Publish(ctx context.Context, events ...domain.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(events) == 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.subscribers {
		s.add(events)
	}
	return nil
}

// Subscribe implements [ports.Bus]. What is published after cancel does not
// arrive; cancel does not wait for a call of fn that has begun, so fn may call
// it too.
func (b *Bus) Subscribe(fn func(domain.Event)) (cancel func()) {
	s := &subscriber{wake: make(chan struct{}, 1), done: make(chan struct{})}
	b.mu.Lock()
	b.subscribers = append(b.subscribers, s)
	b.mu.Unlock()
	go s.run(fn)
	return sync.OnceFunc(func() {
		b.mu.Lock()
		b.subscribers = slices.DeleteFunc(b.subscribers, func(o *subscriber) bool { return o == s })
		b.mu.Unlock()
		close(s.done)
	})
}

type subscriber struct {
	mu     sync.Mutex
	events []domain.Event // a ring once it is full
	oldest int            // where the ring begins
	wake   chan struct{}
	done   chan struct{}
}

func (s *subscriber) add(events []domain.Event) {
	s.mu.Lock()
	for _, e := range events {
		if len(s.events) < busQueue {
			s.events = append(s.events, e)
			continue
		}
		s.events[s.oldest] = e
		s.oldest = (s.oldest + 1) % busQueue
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take empties the queue.
func (s *subscriber) take() []domain.Event {
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
		for _, e := range s.take() {
			select {
			case <-s.done:
				return
			default:
			}
			fn(e)
		}
	}
}
