package memory

import (
	"context"

	"github.com/switchyard-wa/switchyard/adapters/internal/fanout"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Bus implements [ports.Bus] within one process. When the queue of a slow subscriber is full, it loses the oldest event.
type Bus struct{ subscribers fanout.Fanout }

var _ ports.Bus = (*Bus)(nil)

// NewBus returns a bus without subscribers.
func NewBus() *Bus { return &Bus{} }

// Publish implements [ports.Bus]. All subscribers see the events of all calls in the same order.
func (b *Bus) Publish(ctx context.Context, events ...domain.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(events) > 0 {
		b.subscribers.Deliver(events)
	}
	return nil
}

// Subscribe implements [ports.Bus]. cancel does not wait for a call of fn that has begun, so fn may call cancel.
func (b *Bus) Subscribe(fn func(domain.Event)) (cancel func()) { return b.subscribers.Subscribe(fn) }
