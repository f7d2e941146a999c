package messaging

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apikeys"
	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/failure"
	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/app/internal/membership"
	"github.com/switchyard-wa/switchyard/app/internal/sendqueue"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/app/internal/usage"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	sendLimit   = 35 * time.Second // of a call to a worker, whatever became of the caller
	rowsPerPass = 256
)

// Messages implements [service.Messages] and the reports of workers on messages. It is
// safe for concurrent use.
type Messages struct {
	*txn.Writer
	members  *membership.Members
	cache    *fleet.Cache
	sync     *fleet.Sync
	keys     *apikeys.Keys
	detector *failure.Detector
	usage    *usage.Counter
	routes   *Routes
	queues   *sendqueue.Queues
	urls     ports.URLPolicy  // nil: any URL may be fetched
	types    ports.MediaTypes // nil: content is not checked
	early    earlyReports
	keyed    keyedSends
	trimmer  trimmer
}

var _ service.Messages = (*Messages)(nil)

// Parts lists the parts that messaging builds on.
type Parts struct {
	Writer   *txn.Writer
	Members  *membership.Members
	Cache    *fleet.Cache
	Sync     *fleet.Sync
	Keys     *apikeys.Keys
	Detector *failure.Detector
	Usage    *usage.Counter
	Routes   *Routes
	Queues   *sendqueue.Queues
	URLs     ports.URLPolicy  // judges the URLs of messages; nil: any may be fetched
	Types    ports.MediaTypes // tells the types of media; nil: content is not checked
}

// New returns the service.
func New(p Parts) *Messages {
	return &Messages{
		Writer: p.Writer, members: p.Members, cache: p.Cache, sync: p.Sync, keys: p.Keys,
		detector: p.Detector, routes: p.Routes, queues: p.Queues, usage: p.Usage, urls: p.URLs, types: p.Types,
	}
}

// History returns messages of a session, newest first. next is the zero cursor on the
// last page.
func (m *Messages) History(ctx context.Context, userID, sessionID string, f domain.MessageFilter) (page []*domain.Message, next domain.Cursor, err error) {
	limit := f.Limit
	f.Limit++ // one more tells whether there is a next page
	err = m.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		if _, err := txn.OwnedSession(ctx, tx, userID, sessionID); err != nil {
			return err
		}
		page, err = tx.Messages.List(ctx, sessionID, f)
		return err
	})
	if err != nil {
		return nil, next, apperr.Public(err)
	}
	if limit > 0 && len(page) > limit {
		page = page[:limit]
		last := page[limit-1]
		next = domain.Cursor{At: last.CreatedAt, ID: last.ID}
	}
	return page, next, nil
}

// Get returns one message by our id or WhatsApp's. A message that waits in the send queue is
// PENDING.
func (m *Messages) Get(ctx context.Context, userID, sessionID, messageID string) (found *domain.Message, err error) {
	err = m.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		if _, err := txn.OwnedSession(ctx, tx, userID, sessionID); err != nil {
			return err
		}
		found, err = tx.Messages.Get(ctx, sessionID, messageID)
		if errors.Is(err, ports.ErrNotFound) {
			found, err = tx.Messages.ByWhatsAppID(ctx, sessionID, messageID)
		}
		if errors.Is(err, ports.ErrNotFound) {
			found, err = waitingMessage(ctx, tx, sessionID, messageID)
		}
		return apperr.Message(err)
	})
	return found, apperr.Public(err)
}

// Usage counts the user's messages by time, session, type and outcome.
func (m *Messages) Usage(ctx context.Context, userID, sessionID string, since time.Time, bucket time.Duration) ([]service.MessageUsage, error) {
	var cells []service.MessageUsage
	err := m.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		if sessionID != "" {
			if _, err := txn.OwnedSession(ctx, tx, userID, sessionID); err != nil {
				return err
			}
		}
		counts, err := m.usage.Counts(ctx, tx, ports.UsageFilter{UserID: userID, SessionID: sessionID, Since: since}, bucket)
		cells = usageCells(counts)
		return err
	})
	return cells, apperr.Public(err)
}

// usageCells returns counts as the API has them: each message once.
func usageCells(counts []domain.UsageCount) []service.MessageUsage {
	var cells []service.MessageUsage
	for _, c := range counts {
		cell := service.MessageUsage{Bucket: c.Hour, SessionID: c.SessionID, Type: c.Type, Direction: domain.Outbound, Count: c.Count}
		switch c.Outcome {
		case domain.UsageReceived:
			cell.Direction = domain.Inbound
		case domain.UsageFailed:
			cell.Failed = true
		case domain.UsageUnforwarded:
			cell.Failed, cell.Unforwarded = true, true
		case domain.UsageSent:
		default:
			continue
		}
		cells = append(cells, cell)
	}
	return cells
}

// Housekeep fails the messages whose outcome was not reported in time. It deletes expired
// idempotency keys, and messages that are older than the retention of their owner's tier.
func (m *Messages) Housekeep(ctx context.Context, now time.Time) error {
	return errors.Join(m.failUnreported(ctx, now), m.trimKeys(ctx, now), m.trimHistories(ctx, now))
}

func (m *Messages) failUnreported(ctx context.Context, now time.Time) error {
	before := now.Add(-m.members.MaxClockLag()).Add(-m.Timing.MessageLife)
	for {
		n := 0
		err := m.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
			pending, err := tx.Messages.PendingBefore(ctx, before, rowsPerPass)
			n = len(pending)
			for _, message := range pending {
				earlier := *message
				message.FailUnreported(now)
				if err := m.saveMessage(ctx, tx, &earlier, message); err != nil {
					return err
				}
			}
			return err
		})
		if err != nil || n < rowsPerPass {
			return err
		}
	}
}

// saveMessage stores a message that changed, with the events of its progress.
func (m *Messages) saveMessage(ctx context.Context, tx *txn.Tx, before, after *domain.Message) error {
	if err := tx.Messages.Put(ctx, after); err != nil {
		return err
	}
	return tx.Record(ctx, domain.MessageEvents(before, after, m.Now())...)
}

// put stores a new message, with the key of its send if there is one.
func (m *Messages) put(ctx context.Context, message *domain.Message, key *domain.IdempotencyKey) error {
	return m.Store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		if key != nil {
			if err := m.bindKey(ctx, tx, key, message); err != nil {
				return err
			}
		}
		message.Rev = 0
		return tx.Messages.Put(ctx, message)
	})
}

// jid returns the address of an account by its number, or the empty string.
func jid(phone string) string {
	if phone == "" {
		return ""
	}
	return phone + "@s.whatsapp.net"
}
