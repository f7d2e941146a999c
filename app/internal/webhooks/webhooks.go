package webhooks

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/membership"
	"github.com/switchyard-wa/switchyard/app/internal/outbox"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/app/internal/workqueue"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	pollEvery       = 5 * time.Second // among replicas: what they announce may be lost
	retryAfterError = time.Second
	changedPerPass  = 1000 // deliveries that one transaction deletes, or makes pending again
)

// epochSetting changes whenever a webhook is made or deleted.
const epochSetting = "webhooks.epoch"

// Parts are what webhooks are made of.
type Parts struct {
	Writer  *txn.Writer
	Members *membership.Members
	Log     *outbox.Log
	Sender  ports.WebhookSender // nil: nothing is delivered, and no webhook can be made
	Sealer  ports.Sealer        // nil: likewise
	URLs    ports.URLPolicy     // nil: any URL is accepted
	Mailer  ports.Mailer        // nil: owners are not told when a webhook is switched off
	Policy  domain.WebhookPolicy
	// Retention is how long deliveries that have ended are kept. Events are kept for the same time.
	Retention time.Duration
	Parallel  int    // attempts at once; half of them for webhooks whose latest attempt failed
	Wake      func() // asks for another pass of the loop
	Announce  func() // tells other replicas that deliveries were written
}

// Webhooks implements [service.Webhooks], and delivers. It is safe for concurrent use, except Project and
// Dispatch, which one goroutine calls.
type Webhooks struct {
	*txn.Writer
	parts  Parts
	reader *outbox.Reader
	queue  *workqueue.Queue

	unread atomic.Bool // there may be events to read
	due    atomic.Bool // a webhook may be due

	// Only Project uses these.
	pollAt   time.Time
	sessions map[string]bool // those with a webhook, as of epoch; nil: not read yet
	epoch    string

	mu      sync.Mutex
	skipped int64 // no event up to here needs a delivery

	nextDue time.Time // only Dispatch uses it
}

var _ service.Webhooks = (*Webhooks)(nil)

// New returns webhooks. It registers a reader of the log if the program can deliver.
func New(p Parts) *Webhooks {
	w := &Webhooks{Writer: p.Writer, parts: p}
	if w.isAvailable() { // the log keeps what a reader has not read
		w.reader = p.Log.NewReader("webhooks")
	}
	w.queue = workqueue.New((p.Parallel+1)/2, w.Now, w.Spawn) // of each pool
	w.Wake()
	return w
}

// isAvailable reports whether the program can deliver.
func (w *Webhooks) isAvailable() bool { return w.parts.Sender != nil && w.parts.Sealer != nil }

// Wake makes the next pass look for events to read and for deliveries that are due.
func (w *Webhooks) Wake() {
	w.unread.Store(true)
	w.due.Store(true)
}

// AfterCommit is an observer of transactions.
func (w *Webhooks) AfterCommit(_ context.Context, c *txn.Changes) {
	if c.HasEvents {
		w.unread.Store(true)
	}
}

// SavePosition stores the position up to which no event needs a delivery.
func (w *Webhooks) SavePosition(ctx context.Context) error {
	skipped := w.skippedTo()
	if skipped == 0 {
		return nil
	}
	return w.Writer.Update(ctx, func(ctx context.Context, tx *ports.Tx) error { return w.reader.Skip(ctx, tx, skipped) })
}

// Housekeep deletes deliveries that ended long ago.
func (w *Webhooks) Housekeep(ctx context.Context, now time.Time) error {
	if !w.isAvailable() {
		return nil
	}
	w.queue.Housekeep(now)
	before := now.Add(-w.parts.Retention)
	for {
		delivered, dead := 0, 0
		err := w.Writer.Update(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
			delivered, err = tx.Deliveries.DeleteEnded(ctx, domain.DeliveryDelivered, before, changedPerPass)
			if err != nil {
				return err
			}
			dead, err = tx.Deliveries.DeleteEnded(ctx, domain.DeliveryDead, before, changedPerPass)
			return err
		})
		if err != nil || max(delivered, dead) < changedPerPass {
			return err
		}
	}
}

// owned returns a webhook of a user's session. An empty id stands for the first one.
func owned(ctx context.Context, tx *ports.Tx, userID, sessionID, webhookID string) (*domain.Webhook, error) {
	if _, err := txn.OwnedSession(ctx, tx, userID, sessionID); err != nil {
		return nil, err
	}
	if webhookID == "" {
		all, err := tx.Webhooks.BySession(ctx, sessionID)
		if err != nil {
			return nil, err
		}
		if len(all) == 0 {
			return nil, apperr.Webhook(ports.ErrNotFound)
		}
		return all[0], nil
	}
	h, err := tx.Webhooks.Get(ctx, webhookID)
	if err == nil && h.SessionID != sessionID {
		err = ports.ErrNotFound
	}
	return h, apperr.Webhook(err)
}
