package redis

import (
	"context"
	"encoding/json"
	"slices"
	"sync"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// busQueue is how many events may wait for one subscriber.
const busQueue = 4096

// Bus implements [ports.Bus] for all processes. What is published arrives by way of
// Redis, also in the process that publishes. Each subscriber has a goroutine, until
// it is cancelled, and a queue; of a queue that is full the oldest event is
// dropped, so that the newest state always arrives.
type Bus struct {
	f *Coordination

	mu          sync.Mutex
	subscribers []*subscriber
	closed      bool
	running     sync.WaitGroup
}

var _ ports.Bus = (*Bus)(nil)

func newBus(f *Coordination) *Bus { return &Bus{f: f} }

// Publish implements [ports.Bus]. An error means that nothing may have been
// published, or everything.
func (b *Bus) Publish(ctx context.Context, events ...domain.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(events) == 0 {
		return nil
	}
	message, err := json.Marshal(events)
	if err != nil {
		return err
	}
	return b.f.do(ctx, func(ctx context.Context) error {
		return b.f.rdb.Publish(ctx, b.f.channels.events, message).Err()
	})
}

// Subscribe implements [ports.Bus]. What is published after cancel does not
// arrive; cancel does not wait for a call of fn that has begun, so fn may call
// it too.
func (b *Bus) Subscribe(fn func(domain.Event)) (cancel func()) {
	s := &subscriber{wake: make(chan struct{}, 1), done: make(chan struct{})}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return func() {}
	}
	b.subscribers = append(b.subscribers, s)
	b.running.Go(func() { s.run(fn) })
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if i := slices.Index(b.subscribers, s); i >= 0 {
			b.subscribers = slices.Delete(b.subscribers, i, i+1)
			close(s.done)
		}
	}
}

func (b *Bus) heard(message string) {
	var events []domain.Event
	if json.Unmarshal([]byte(message), &events) != nil {
		return // nobody of ours publishes such a thing
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.subscribers {
		s.add(events)
	}
}

func (b *Bus) close() {
	b.mu.Lock()
	b.closed = true
	for _, s := range b.subscribers {
		close(s.done)
	}
	b.subscribers = nil
	b.mu.Unlock()
	b.running.Wait()
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
