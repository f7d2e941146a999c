package sendqueue

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/membership"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/app/internal/workqueue"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	dueLimit        = 4096             // queues that one pass looks at
	pollEvery       = 5 * time.Second  // among replicas: what they announce may be lost
	lookAhead       = 5 * time.Second  // the loop passes at least as often
	forwardsPerRun  = 64               // before a run yields to other queues
	expiredPerTx    = 64               // messages that one transaction fails
	claimLife       = 65 * time.Second // longer than a call to a worker, with some time to spare
	retryAfterError = time.Second
)

// ErrGone reports that a message no longer waits, was changed, or is another replica's.
var ErrGone = errors.New("the message no longer waits")

// HeldError reports that a message cannot be forwarded yet.
type HeldError struct {
	Reason string        // for people
	Wait   time.Duration // until the next try
	Pauses bool          // no message of the session is tried before Wait is over; otherwise a connection ends it
}

// Error returns the reason.
func (e *HeldError) Error() string { return "held: " + e.Reason }

// Forwarder sends messages. Package messaging implements it.
type Forwarder interface {
	// Forward sends a message. dequeue runs in the transaction that records it, and removes it
	// from the queue. requeue runs in the transaction that deletes the record, because the
	// worker certainly did not send the message.
	//
	// A nil error means that the message has left the queue, whatever its outcome. After a
	// *[HeldError] the message waits, and may be tried again. After a *[domain.Error] it waits,
	// and the error says why it can never be sent: the caller fails it.
	Forward(ctx context.Context, m *domain.QueuedMessage, dequeue, requeue func(ctx context.Context, tx *ports.Tx) error) error
	// Check validates a message. It returns the message with the type of its media.
	Check(ctx context.Context, m *domain.Outgoing) (*domain.Outgoing, error)
}

// Parts are what queues are made of.
type Parts struct {
	Writer    *txn.Writer
	Members   *membership.Members
	Forwarder Forwarder              // may be set until the first message is accepted
	Pace      int                    // messages a minute of one session; 0: no limit
	Parallel  int                    // sessions that forward at once
	Wake      func()                 // asks for another pass of the loop
	Announce  func(sessionID string) // tells other replicas that the queue has changed
}

// Queues implements [service.Scheduled], and forwards messages. It is safe for concurrent
// use, except Dispatch, which one goroutine calls.
type Queues struct {
	*txn.Writer
	parts Parts
	tasks *workqueue.Queue

	due     atomic.Bool // a queue may be due
	nextDue time.Time   // only Dispatch uses it
	held    heldSessions
}

var _ service.Scheduled = (*Queues)(nil)

// New returns the queues of all sessions.
func New(p Parts) *Queues {
	q := &Queues{Writer: p.Writer, parts: p}
	q.tasks = workqueue.New(p.Parallel, q.Now, q.Spawn)
	q.due.Store(true) // an earlier process may have left messages
	return q
}

// SetForwarder sets the Forwarder, which needs the queues itself. Call it once, before
// anything else.
func (q *Queues) SetForwarder(f Forwarder) { q.parts.Forwarder = f }

// Enqueue adds a message to the queue of its session, which the caller has checked. Call
// [Queues.Wake] after the commit.
func (q *Queues) Enqueue(ctx context.Context, tx *ports.Tx, m *domain.QueuedMessage) error {
	queue, err := tx.SendQueues.Get(ctx, m.SessionID)
	if errors.Is(err, ports.ErrNotFound) {
		queue, err = &domain.SendQueue{SessionID: m.SessionID, UserID: m.UserID}, nil
	}
	if err != nil {
		return err
	}
	userBytes, err := tx.SendQueues.Bytes(ctx, m.UserID)
	if err != nil {
		return err
	}
	if err := queue.Add(m, userBytes); err != nil {
		return err
	}
	m.Rev = 0
	if err := tx.QueuedMessages.Put(ctx, m); err != nil {
		return err
	}
	err = tx.SendQueues.Put(ctx, queue)
	if errors.Is(err, ports.ErrExists) {
		err = ports.ErrConflict // another sender has made it
	}
	return err
}

// Wake tells this replica and the others that the queue of a session may be due.
func (q *Queues) Wake(sessionID string) {
	q.due.Store(true)
	q.parts.Wake()
	if q.IsShared() {
		q.parts.Announce(sessionID)
	}
}

// NoteRemoteChanges makes Dispatch look at sessions that another replica has changed, or
// whose queues it has changed.
func (q *Queues) NoteRemoteChanges(ids ...string) {
	if len(ids) > 0 {
		q.NoteSessions(ids...)
		q.due.Store(true)
	}
}

// AfterCommit is an observer of transactions. A session that is connected may send.
func (q *Queues) AfterCommit(_ context.Context, c *txn.Changes) {
	for _, s := range c.Sessions {
		if s.Status == domain.Connected {
			q.NoteSessions(s.ID)
		}
	}
}

// NoteSessions makes Dispatch look at those of the changed sessions that hold messages.
func (q *Queues) NoteSessions(ids ...string) {
	for _, id := range ids {
		if q.held.release(id) {
			q.due.Store(true)
		}
	}
}

// Housekeep removes the records of finished tasks.
func (q *Queues) Housekeep(now time.Time) { q.tasks.Housekeep(now) }

// heldSessions holds the sessions whose messages wait for a connection, and marks those that
// may be connected by now. Its zero value is ready. It is safe for concurrent use.
type heldSessions struct {
	n        atomic.Int64 // sessions in waiting
	mu       sync.Mutex
	waiting  map[string]bool
	released map[string]bool
}

// watch adds a session that may have to wait. Call it before the session is read: a release
// after the read is then not lost.
func (h *heldSessions) watch(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting == nil {
		h.waiting, h.released = make(map[string]bool), make(map[string]bool)
	}
	h.waiting[id] = true
	h.n.Store(int64(len(h.waiting)))
}

// unwatch removes a session, which does not wait.
func (h *heldSessions) unwatch(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiting, id)
	h.n.Store(int64(len(h.waiting)))
}

// release marks a session if it waits. It reports whether the session waits.
func (h *heldSessions) release(id string) bool {
	if h.n.Load() == 0 {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.waiting[id] {
		return false
	}
	h.released[id] = true
	return true
}

// drainReleased returns the marked sessions and removes the marks.
func (h *heldSessions) drainReleased() (ids []string) {
	if h.n.Load() == 0 {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.released {
		ids = append(ids, id)
	}
	clear(h.released)
	return ids
}
