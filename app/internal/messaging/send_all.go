package messaging

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// bulkTime is the time within which SendAll begins sends. The last one may take [sendLimit] more.
const bulkTime = 30 * time.Second

// SendAll sends messages in their order, one at a time.
func (m *Messages) SendAll(ctx context.Context, s service.Sender, key string, messages []service.SendItem) ([]service.SendResult, error) {
	if n := len(messages); n == 0 || n > service.SendAllLimit {
		var p domain.Problems
		p.Add("messages", "Give 1 to %d messages; use several calls for more", service.SendAllLimit)
		return nil, p.Err()
	}
	if key != "" {
		if err := domain.CheckIdempotencyKey(key); err != nil {
			return nil, err
		}
	}
	if err := m.sync.EnsureLoaded(ctx); err != nil {
		return nil, err
	}
	if _, _, err := m.target(ctx, s); domain.CodeOf(err) == domain.CodeSessionNotFound {
		return nil, err // the other reasons to refuse a send do not refuse a repeat
	}
	until := m.Now().Add(bulkTime)
	limited, cancel := context.WithTimeout(ctx, bulkTime)
	defer cancel()
	results := make([]service.SendResult, len(messages))
	for i := range messages {
		switch {
		case messages[i].Refusal != nil:
			results[i].Err = messages[i].Refusal
		case limited.Err() != nil || !m.Now().Before(until):
			results[i].Err = errNotSent()
		default:
			if err := m.keys.CheckSender(limited, s); err != nil {
				results[i].Err = whyNotSent(limited, err)
				continue
			}
			results[i] = m.sendPaced(limited, s, itemKey(key, i, &messages[i]), messages[i].Message)
		}
	}
	return results, nil
}

// whyNotSent returns the error for a message before which the sender could not be checked.
func whyNotSent(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errNotSent()
	}
	return err
}

// sendPaced sends one message of a bulk call when the pace of the session allows it. It
// enqueues a message with a Schedule at once: the queue keeps to the pace.
func (m *Messages) sendPaced(ctx context.Context, s service.Sender, key string, out *domain.Outgoing) service.SendResult {
	if out.Schedule != nil {
		return m.sendItem(ctx, s, key, out)
	}
	cancelPace, err := m.queues.AwaitPace(ctx, s.UserID, s.SessionID)
	if err != nil {
		return service.SendResult{Err: errNotSent()}
	}
	r := m.sendItem(ctx, s, key, out)
	if r.IsReplay || r.Message == nil {
		cancelPace()
	}
	return r
}

// sendItem sends one message of a bulk call, with a key if there is one.
func (m *Messages) sendItem(ctx context.Context, s service.Sender, key string, out *domain.Outgoing) (r service.SendResult) {
	if key == "" {
		r.Message, r.Err = m.Send(ctx, s, out)
	} else {
		r.Message, r.IsReplay, r.Err = m.SendOnce(ctx, s, key, out)
	}
	if r.Err == nil || r.Message != nil || ctx.Err() == nil {
		return r
	}
	// The call ended while the message waited, and before it was recorded.
	r.Err = errNotSent()
	if r.IsReplay {
		r.Err = outcomeUnknown(&ports.WorkerError{Failure: ports.WorkerTimedOut}, nil)
	}
	return r
}

// itemKey returns the idempotency key of a message in a bulk call, or "". A key that follows
// from the key of the call holds its hash: it is short, and unlike the keys that senders choose.
func itemKey(key string, index int, message *service.SendItem) string {
	if message.Key != "" || key == "" {
		return message.Key
	}
	return fmt.Sprintf("bulk/%x/%d", sha256.Sum256([]byte(key)), index)
}

// errNotSent returns the error for a message that a bulk call did not reach before it ended.
func errNotSent() error {
	return domain.Overloaded(time.Second, "Not sent: the call ended before the turn of this message; send it again")
}
