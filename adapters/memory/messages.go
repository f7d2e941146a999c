package memory

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// message is a row of the history. There are by far the most of these, so it
// is smaller than a [domain.Message], and changed in place.
type message struct {
	id, whatsAppID string
	from, to       string
	content        string
	kind           domain.MessageType
	direction      domain.Direction
	status         domain.MessageStatus
	home           *sessionRow
	rest           *messageRest // nil: all of it is zero
	// Microseconds since 1970, or never.
	createdAt, sentAt, deliveredAt, readAt int64
	rev                                    int64
	at                                     int32
}

// messageRest is what few messages have.
type messageRest struct {
	user                               *userRow // nil: home's owner
	mediaURL, filename, caption, error string
	unreported                         bool
}

const never = math.MinInt64

func micros(t time.Time) int64 {
	if t.IsZero() {
		return never
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == never {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

type whatsAppKey struct {
	home *sessionRow
	id   string
}

func messageAge(a, b *message) int {
	return cmp.Or(cmp.Compare(a.createdAt, b.createdAt), cmp.Compare(a.id, b.id))
}

func (m *message) place() *int32          { return &m.at }
func (m *message) before(o *message) bool { return messageAge(m, o) < 0 }

func (m *message) user() *userRow {
	if m.rest != nil && m.rest.user != nil {
		return m.rest.user
	}
	return m.home.owner
}

// written is the list of its user that has the message.
func (m *message) written() *list[*message] {
	if m.direction == domain.Outbound {
		return &m.user().sent
	}
	return &m.user().received
}

func (m *message) clone() *domain.Message {
	v := &domain.Message{
		ID: m.id, WhatsAppID: m.whatsAppID, SessionID: m.home.v.ID, UserID: m.user().v.ID,
		Direction: m.direction, From: m.from, To: m.to, Type: m.kind, Content: m.content, Status: m.status,
		CreatedAt: fromMicros(m.createdAt), SentAt: fromMicros(m.sentAt),
		DeliveredAt: fromMicros(m.deliveredAt), ReadAt: fromMicros(m.readAt), Rev: m.rev,
	}
	if m.rest != nil {
		v.MediaURL, v.Filename, v.Caption = m.rest.mediaURL, m.rest.filename, m.rest.caption
		v.Error, v.Unreported = m.rest.error, m.rest.unreported
	}
	return v
}

// fill makes m the row of a value.
func (m *message) fill(v *domain.Message, home *sessionRow, user *userRow) {
	m.id, m.whatsAppID, m.home = v.ID, v.WhatsAppID, home
	m.from, m.to, m.content = v.From, v.To, v.Content
	m.kind, m.direction, m.status = v.Type, v.Direction, v.Status
	m.createdAt, m.sentAt = micros(v.CreatedAt), micros(v.SentAt)
	m.deliveredAt, m.readAt = micros(v.DeliveredAt), micros(v.ReadAt)
	rest := messageRest{mediaURL: v.MediaURL, filename: v.Filename, caption: v.Caption, error: v.Error, unreported: v.Unreported}
	if user != home.owner {
		rest.user = user
	}
	switch {
	case rest == messageRest{}:
		m.rest = nil
	case m.rest == nil || *m.rest != rest:
		m.rest = &rest
	}
}

func (m *message) revision() int64 {
	if m == nil {
		return 0
	}
	return m.rev
}

type messages struct{ *txn }

// Put needs the session and the user to exist. Ids are unique in the store.
func (t messages) Put(_ context.Context, v *domain.Message) error {
	if err := t.writable(); err != nil {
		return err
	}
	s := t.s
	m := s.messages[v.ID]
	if err := swap(m != nil, m.revision(), v.Rev); err != nil {
		return err
	}
	home := s.sessions[v.SessionID]
	if home == nil {
		return ports.ErrNotFound
	}
	user := home.owner
	if v.UserID != user.v.ID {
		if user = s.users[v.UserID]; user == nil {
			return ports.ErrNotFound
		}
	}
	if m != nil && m.home != home { // the message of another session
		return ports.ErrConflict
	}
	if v.Direction == domain.Inbound && s.received(home, v.WhatsAppID, m) {
		return ports.ErrExists
	}
	if m == nil {
		m = &message{}
		m.fill(v, home, user)
		m.rev = s.nextRev()
		s.link(m)
		s.undos = append(s.undos, undo{message: m})
	} else {
		s.was = append(s.was, *m)
		s.undos = append(s.undos, undo{message: m, changed: true})
		next := *m
		next.fill(v, home, user)
		next.rev = s.nextRev()
		s.change(m, next)
	}
	v.Rev = m.rev
	return nil
}

// link puts a message into every index.
func (s *Store) link(m *message) {
	s.messages[m.id] = m
	s.linkWhatsApp(m)
	m.home.history.add(m, messageAge)
	m.written().add(m, messageAge)
	if m.status == domain.MessagePending {
		s.pending.add(m)
	}
}

// unlink takes a message out of every index.
func (s *Store) unlink(m *message) {
	delete(s.messages, m.id)
	s.unlinkWhatsApp(m)
	m.home.history.remove(m, messageAge)
	m.written().remove(m, messageAge)
	s.pending.remove(m)
}

// change gives a message another value of the same id.
func (s *Store) change(m *message, next message) {
	if m.createdAt != next.createdAt || m.direction != next.direction || m.user() != next.user() {
		s.unlink(m)
		*m = next
		m.at = 0
		s.link(m)
		return
	}
	if m.whatsAppID != next.whatsAppID {
		s.unlinkWhatsApp(m)
		defer s.linkWhatsApp(m)
	}
	if m.status != next.status {
		s.pending.remove(m)
	}
	wasPending := m.at > 0
	next.at = m.at
	*m = next
	if m.status == domain.MessagePending && !wasPending {
		s.pending.add(m)
	}
}

func (s *Store) linkWhatsApp(m *message) {
	if m.whatsAppID == "" {
		return
	}
	key := whatsAppKey{m.home, m.whatsAppID}
	if s.whatsApp[key] == nil {
		s.whatsApp[key] = m
		return
	}
	s.repeats[key] = append(s.repeats[key], m)
}

func (s *Store) unlinkWhatsApp(m *message) {
	if m.whatsAppID == "" {
		return
	}
	key := whatsAppKey{m.home, m.whatsAppID}
	others := s.repeats[key]
	if s.whatsApp[key] == m {
		if len(others) == 0 {
			delete(s.whatsApp, key)
			return
		}
		s.whatsApp[key], others = others[0], others[1:]
	} else {
		i := slices.Index(others, m)
		others = slices.Delete(others, i, i+1)
	}
	if s.repeats[key] = others; len(others) == 0 {
		delete(s.repeats, key)
	}
}

// received reports whether the session has an inbound message of the WhatsApp
// id, other than the one given.
func (s *Store) received(home *sessionRow, whatsAppID string, except *message) bool {
	key := whatsAppKey{home, whatsAppID}
	isOther := func(m *message) bool { return m != nil && m != except && m.direction == domain.Inbound }
	return isOther(s.whatsApp[key]) || slices.ContainsFunc(s.repeats[key], isOther)
}

// forget removes the messages of a session. They keep their places in its
// history, from which they come back if the Update does.
func (t messages) forget(home *sessionRow) {
	s := t.s
	if len(home.history) == 0 {
		return
	}
	lists := make(map[*list[*message]]list[*message])
	for _, m := range home.history {
		delete(s.messages, m.id)
		s.unlinkWhatsApp(m)
		s.pending.remove(m)
		lists[m.written()] = nil
	}
	for l := range lists {
		lists[l] = *l
		*l = slices.Clone(*l)
		*l = slices.DeleteFunc(*l, func(m *message) bool { return m.home == home })
	}
	t.undo(func() {
		for l, old := range lists {
			*l = old
		}
		for _, m := range home.history {
			s.messages[m.id] = m
			s.linkWhatsApp(m)
			if m.status == domain.MessagePending {
				s.pending.add(m)
			}
		}
	})
}

func (t messages) Get(_ context.Context, sessionID, id string) (*domain.Message, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	m := t.s.messages[id]
	if m == nil || m.home.v.ID != sessionID {
		return nil, ports.ErrNotFound
	}
	return m.clone(), nil
}

// ByWhatsAppID prefers what was sent, and then the latest: a message to oneself
// is there twice.
func (t messages) ByWhatsAppID(_ context.Context, sessionID, whatsAppID string) (*domain.Message, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	home := t.s.sessions[sessionID]
	if home == nil {
		return nil, ports.ErrNotFound
	}
	key := whatsAppKey{home, whatsAppID}
	best := t.s.whatsApp[key]
	if best == nil {
		return nil, ports.ErrNotFound
	}
	for _, m := range t.s.repeats[key] {
		isOut, wasOut := m.direction == domain.Outbound, best.direction == domain.Outbound
		if isOut && !wasOut || isOut == wasOut && best.before(m) {
			best = m
		}
	}
	return best.clone(), nil
}

// List takes Since as included and Until as excluded.
func (t messages) List(_ context.Context, sessionID string, f domain.MessageFilter) ([]*domain.Message, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	home := t.s.sessions[sessionID]
	if home == nil {
		return nil, nil
	}
	rows := home.history
	if !f.Until.IsZero() {
		rows = rows[:from(rows, f.Until, "")]
	}
	if f.After != (domain.Cursor{}) {
		rows = rows[:from(rows, f.After.At, f.After.ID)]
	}
	if !f.Since.IsZero() {
		rows = rows[from(rows, f.Since, ""):]
	}
	to, search := newNeedle(f.To), newNeedle(f.Search)
	var found []*domain.Message
	for _, m := range slices.Backward(rows) {
		if f.Limit > 0 && len(found) >= f.Limit {
			break
		}
		if (f.Direction == "" || m.direction == f.Direction) && (f.Type == "" || m.kind == f.Type) &&
			(f.Status == "" || m.status == f.Status) && to.in(m.to) &&
			(search.in(m.content) || m.rest != nil && search.in(m.rest.caption)) {
			found = append(found, m.clone())
		}
	}
	return found, nil
}

// from gives the index of the first message at or after a time and id. The
// time is that of a row if it is to the microsecond.
func from(rows []*message, at time.Time, id string) int {
	if at.IsZero() && id == "" {
		return 0
	}
	us := at.UnixMicro()
	if fromMicros(us).Before(at) { // rows have nothing in between
		us++
	}
	return sort.Search(len(rows), func(i int) bool {
		return rows[i].createdAt > us || rows[i].createdAt == us && rows[i].id >= id
	})
}

func (t messages) CountSince(_ context.Context, userID string, since time.Time) (int, time.Time, error) {
	if err := t.readable(); err != nil {
		return 0, time.Time{}, err
	}
	user := t.s.users[userID]
	if user == nil {
		return 0, time.Time{}, nil
	}
	rows := user.sent[from(user.sent, since, ""):]
	if len(rows) == 0 {
		return 0, time.Time{}, nil
	}
	return len(rows), fromMicros(rows[0].createdAt), nil
}

// PendingBefore gives the oldest first.
func (t messages) PendingBefore(_ context.Context, before time.Time, limit int) ([]*domain.Message, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	rows := t.s.pending.first(limit, func(m *message) bool { return fromMicros(m.createdAt).Before(before) })
	return copies(rows, (*message).clone), nil
}

// Usage gives the cells in order of their fields.
func (t messages) Usage(
	_ context.Context, userID, sessionID string, since time.Time, bucket time.Duration,
) ([]ports.MessageUsage, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	user := t.s.users[userID]
	if user == nil {
		return nil, nil
	}
	size := max(bucket.Microseconds(), 1)
	cells := make(map[ports.MessageUsage]int)
	count := func(rows []*message) {
		for _, m := range rows[from(rows, since, ""):] {
			if sessionID != "" && (m.home.v.ID != sessionID || m.user() != user) {
				continue
			}
			start := m.createdAt - (m.createdAt%size+size)%size
			cells[ports.MessageUsage{
				Bucket: time.UnixMicro(start).UTC(), SessionID: m.home.v.ID, Type: m.kind, Direction: m.direction,
				Failed: m.status == domain.MessageFailed,
			}]++
		}
	}
	if sessionID == "" {
		count(user.sent)
		count(user.received)
	} else if home := t.s.sessions[sessionID]; home != nil {
		count(home.history)
	}
	usage := make([]ports.MessageUsage, 0, len(cells))
	for cell, n := range cells {
		cell.Count = n
		usage = append(usage, cell)
	}
	slices.SortFunc(usage, func(a, b ports.MessageUsage) int {
		failed := 0
		if a.Failed != b.Failed {
			if failed = -1; a.Failed {
				failed = 1
			}
		}
		return cmp.Or(a.Bucket.Compare(b.Bucket), cmp.Compare(a.SessionID, b.SessionID), cmp.Compare(a.Type, b.Type),
			cmp.Compare(a.Direction, b.Direction), failed)
	})
	return usage, nil
}
