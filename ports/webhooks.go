package ports

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

//go:generate go tool mockgen -source webhooks.go -destination mocks/webhooks.go -package mocks

// WebhookCall is one attempt to deliver an event.
type WebhookCall struct {
	URL     string
	ID      string        // of the delivery; the same in all of its attempts
	At      time.Time     // of the attempt; the signature covers it
	Keys    [][]byte      // each signs the event
	Event   *domain.Event // the body is its JSON form
	Timeout time.Duration // of the whole attempt; 0: as the sender decides
	// NotAfter is when another replica may send later events. Nothing is sent after it, not even by a
	// process that was paused meanwhile. Zero: there is no such time.
	NotAfter time.Time
}

// WebhookAnswer is the response of a receiver, whatever its code.
type WebhookAnswer struct {
	Code    int
	Body    string        // the beginning of the body, as text that is safe to show
	Latency time.Duration // until the response had arrived
}

// WebhookSender posts events to the URLs of customers, signed as Standard Webhooks says. It is safe for
// concurrent use.
type WebhookSender interface {
	// Post sends the event once. It follows no redirect. The error is a *[WebhookError] if no response
	// arrived, or the error of ctx. After an error the receiver may have got the event.
	Post(ctx context.Context, c WebhookCall) (WebhookAnswer, error)
}

// WebhookError says why a receiver did not respond.
type WebhookError struct {
	Message string // for the owner of the webhook; it contains no address
	Err     error
}

// Error returns the message with its cause, for logs.
func (e *WebhookError) Error() string {
	if e.Err == nil {
		return e.Message
	}
	return e.Message + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *WebhookError) Unwrap() error { return e.Err }

// Sealer encrypts secrets for a store. It is safe for concurrent use.
type Sealer interface {
	// Seal returns the encrypted form of a secret, another one on each call. Only Open with the same bound
	// value opens it: a sealed secret that is moved to another row is of no use there.
	Seal(secret []byte, bound string) ([]byte, error)
	// Open returns the secret. It fails if sealed was changed, is bound to another value, or was sealed with
	// another key. The error contains nothing of the secret.
	Open(sealed []byte, bound string) ([]byte, error)
}
