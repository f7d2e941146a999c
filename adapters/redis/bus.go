package redis

import (
	"context"
	"encoding/json"

	"github.com/switchyard-wa/switchyard/adapters/internal/fanout"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Bus implements [ports.Bus] for all processes. Events travel through Redis, even to subscribers of the process that
// publishes them. When the queue of a slow subscriber is full, it loses the oldest event.
type Bus struct {
	c           *Coordination
	subscribers fanout.Fanout
}

var _ ports.Bus = (*Bus)(nil)

func newBus(c *Coordination) *Bus { return &Bus{c: c} }

// Publish implements [ports.Bus]. After an error either all events or none were published.
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
	return b.c.do(ctx, func(ctx context.Context) error {
		return b.c.rdb.Publish(ctx, b.c.channels.events, message).Err()
	})
}

// Subscribe implements [ports.Bus]. cancel does not wait for a call of fn that has begun, so fn may call cancel.
func (b *Bus) Subscribe(fn func(domain.Event)) (cancel func()) { return b.subscribers.Subscribe(fn) }

// receive delivers the events of a message from Redis. It ignores a message that is not JSON: no version of this package
// publishes one.
func (b *Bus) receive(message string) {
	var events []domain.Event
	if json.Unmarshal([]byte(message), &events) == nil {
		b.subscribers.Deliver(events)
	}
}
