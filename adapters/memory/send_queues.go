package memory

import (
	"cmp"
	"context"
	"slices"
	"sort"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// sendQueueRow is the row of a queue. Its value is replaced, never changed.
type sendQueueRow struct {
	v       *domain.SendQueue
	session *sessionRow
	index   int32 // in its queue, plus one
}

func (r *sendQueueRow) heapIndex() *int32 { return &r.index }
func (r *sendQueueRow) before(o *sendQueueRow) bool {
	return cmp.Or(r.v.DueAt.Compare(o.v.DueAt), cmp.Compare(r.v.SessionID, o.v.SessionID)) < 0
}

func (r *sendQueueRow) rev() int64 {
	if r == nil {
		return 0
	}
	return r.v.Rev
}

func (r *sendQueueRow) clone() *domain.SendQueue {
	q := *r.v
	return &q
}

type sendQueues struct{ *txn }

// queueOf returns the queue of a session, or nil.
func (s *Store) queueOf(sessionID string) *sendQueueRow {
	session := s.sessions[sessionID]
	if session == nil {
		return nil
	}
	return session.sendQueue
}

func (t sendQueues) Get(_ context.Context, sessionID string) (*domain.SendQueue, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	r := t.s.queueOf(sessionID)
	if r == nil {
		return nil, ports.ErrNotFound
	}
	return r.clone(), nil
}

func (t sendQueues) Put(_ context.Context, q *domain.SendQueue) error {
	if err := t.writable(); err != nil {
		return err
	}
	r := t.s.queueOf(q.SessionID)
	if err := checkRev(r, q.Rev); err != nil {
		return err
	}
	session := t.s.sessions[q.SessionID]
	if session == nil {
		return ports.ErrNotFound
	}
	if r == nil {
		r = &sendQueueRow{session: session}
	}
	v := *q
	truncate(&v.DueAt, &v.NotBefore, &v.ClaimedUntil)
	v.Rev = t.s.nextRev()
	t.set(r, &v)
	q.Rev = v.Rev
	return nil
}

func (t sendQueues) set(r *sendQueueRow, v *domain.SendQueue) {
	old := r.v
	t.s.setSendQueue(r, v)
	t.onRollback(func() { t.s.setSendQueue(r, old) })
}

// setSendQueue sets the value of a row, or removes the row if v is nil, in every index.
func (s *Store) setSendQueue(r *sendQueueRow, v *domain.SendQueue) {
	if r.v != nil {
		s.sendQueueDue.remove(r)
		r.session.sendQueue = nil
		delete(s.sendQueuesOf[r.v.UserID], r)
		if len(s.sendQueuesOf[r.v.UserID]) == 0 {
			delete(s.sendQueuesOf, r.v.UserID)
		}
	}
	r.v = v
	if v == nil {
		return
	}
	r.session.sendQueue = r
	if !v.DueAt.IsZero() {
		s.sendQueueDue.add(r)
	}
	if s.sendQueuesOf[v.UserID] == nil {
		s.sendQueuesOf[v.UserID] = make(map[*sendQueueRow]struct{})
	}
	s.sendQueuesOf[v.UserID][r] = struct{}{}
}

func (t sendQueues) Due(_ context.Context, at time.Time, limit int) ([]*domain.SendQueue, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	rows := t.s.sendQueueDue.firstWhile(limit, func(r *sendQueueRow) bool { return !r.v.DueAt.After(at) })
	return copies(rows, (*sendQueueRow).clone), nil
}

func (t sendQueues) NextDue(context.Context) (time.Time, error) {
	if err := t.readable(); err != nil || len(t.s.sendQueueDue) == 0 {
		return time.Time{}, err
	}
	return t.s.sendQueueDue[0].v.DueAt, nil
}

func (t sendQueues) Bytes(_ context.Context, userID string) (n int64, err error) {
	if err := t.readable(); err != nil {
		return 0, err
	}
	for r := range t.s.sendQueuesOf[userID] {
		n += r.v.Bytes
	}
	return n, nil
}

// queuedRow is the row of a message that waits. Its value is replaced, never changed.
type queuedRow struct {
	v       *domain.QueuedMessage
	session *sessionRow
}

func queuedOrder(a, b *queuedRow) int {
	return cmp.Or(a.v.SendAt.Compare(b.v.SendAt), cmp.Compare(a.v.ID, b.v.ID))
}

func queuedDeadline(a, b *queuedRow) int {
	return cmp.Or(a.v.Deadline.Compare(b.v.Deadline), cmp.Compare(a.v.ID, b.v.ID))
}

func (r *queuedRow) rev() int64 {
	if r == nil {
		return 0
	}
	return r.v.Rev
}

// listed returns a copy without media.
func (r *queuedRow) listed() *domain.QueuedMessage {
	v := *r.v
	v.Message.Media, v.Upload = "", nil
	return v.Clone()
}

type queuedMessages struct{ *txn }

// find returns the row of a message, or nil.
func (t queuedMessages) find(sessionID, id string) *queuedRow {
	session := t.s.sessions[sessionID]
	if session == nil {
		return nil
	}
	return session.queuedByID[id]
}

func (t queuedMessages) Get(_ context.Context, sessionID, id string) (*domain.QueuedMessage, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	r := t.find(sessionID, id)
	if r == nil {
		return nil, ports.ErrNotFound
	}
	return r.v.Clone(), nil
}

func (t queuedMessages) Put(_ context.Context, m *domain.QueuedMessage) error {
	if err := t.writable(); err != nil {
		return err
	}
	r := t.find(m.SessionID, m.ID)
	if err := checkRev(r, m.Rev); err != nil {
		return err
	}
	session := t.s.sessions[m.SessionID]
	if session == nil {
		return ports.ErrNotFound
	}
	if r == nil {
		r = &queuedRow{session: session}
	}
	v := m.Clone()
	truncate(&v.SendAt, &v.Deadline, &v.CreatedAt)
	v.Rev = t.s.nextRev()
	t.set(r, v)
	m.Rev = v.Rev
	return nil
}

func (t queuedMessages) Delete(_ context.Context, sessionID, id string, rev int64) error {
	if err := t.writable(); err != nil {
		return err
	}
	r := t.find(sessionID, id)
	if r.rev() != rev || r == nil {
		return ports.ErrConflict
	}
	t.set(r, nil)
	return nil
}

func (t queuedMessages) set(r *queuedRow, v *domain.QueuedMessage) {
	old := r.v
	setQueued(r, v)
	t.onRollback(func() { setQueued(r, old) })
}

// setQueued sets the value of a row, or removes the row if v is nil, in every index.
func setQueued(r *queuedRow, v *domain.QueuedMessage) {
	session := r.session
	if r.v != nil {
		delete(session.queuedByID, r.v.ID)
		session.queued.remove(r, queuedOrder)
		session.deadlines.remove(r, queuedDeadline)
	}
	r.v = v
	if v == nil {
		return
	}
	if session.queuedByID == nil {
		session.queuedByID = make(map[string]*queuedRow)
	}
	session.queuedByID[v.ID] = r
	session.queued.add(r, queuedOrder)
	session.deadlines.add(r, queuedDeadline)
}

// deleteAll deletes the queue of a session.
func (t queuedMessages) deleteAll(session *sessionRow) {
	for _, r := range slices.Clone(session.queued) {
		t.set(r, nil)
	}
	if session.sendQueue != nil {
		sendQueues(t).set(session.sendQueue, nil)
	}
}

func (t queuedMessages) List(_ context.Context, sessionID string, after domain.Cursor, limit int) (found []*domain.QueuedMessage, err error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	session := t.s.sessions[sessionID]
	if session == nil {
		return nil, nil
	}
	rows := session.queued
	first := sort.Search(len(rows), func(i int) bool {
		return cmp.Or(rows[i].v.SendAt.Compare(toStoredTime(after.At)), cmp.Compare(rows[i].v.ID, after.ID)) > 0
	})
	rows = rows[first:]
	if limit > 0 && len(rows) > limit {
		rows = rows[:limit]
	}
	return copies(rows, (*queuedRow).listed), nil
}

func (t queuedMessages) Expired(_ context.Context, sessionID string, at time.Time, limit int) (found []*domain.QueuedMessage, err error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	session := t.s.sessions[sessionID]
	if session == nil {
		return nil, nil
	}
	for _, r := range session.deadlines {
		if r.v.Deadline.After(at) || limit > 0 && len(found) == limit {
			break
		}
		found = append(found, r.listed())
	}
	return found, nil
}

func (t queuedMessages) NextDeadline(_ context.Context, sessionID string) (time.Time, error) {
	if err := t.readable(); err != nil {
		return time.Time{}, err
	}
	session := t.s.sessions[sessionID]
	if session == nil || len(session.deadlines) == 0 {
		return time.Time{}, nil
	}
	return session.deadlines[0].v.Deadline, nil
}
