package memory

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/internal/words"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// message is the row of a message. Messages are by far the most numerous rows, so a row is smaller than a
// [domain.Message] and is changed in place.
type message struct {
	id, whatsAppID string
	from, to       string
	content        string
	kind           domain.MessageType
	direction      domain.Direction
	status         domain.MessageStatus
	session        *sessionRow
	rest           *messageRest // nil: all its fields are zero
	// Times are microseconds since 1970, or never.
	createdAt, sentAt, deliveredAt, readAt int64
	revision                               int64
	index                                  int32 // in its queue, plus one
}

// messageRest holds the fields that few messages have.
type messageRest struct {
	user                               *userRow // nil: the owner of the session
	mediaURL, filename, caption, error string
	media                              domain.MediaRef
	unreported, unforwarded            bool
	author, quotedID, targetID         string
	mentions                           string // see mentionSeparator
}

// mentionSeparator separates mentions. Stores keep no text with it.
const mentionSeparator = "\x00"

// never is the zero time in microseconds.
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

// whatsAppKey identifies a message by the id that WhatsApp assigned. Several messages of a session may share it.
type whatsAppKey struct {
	session *sessionRow
	id      string
}

func messageAge(a, b *message) int {
	return cmp.Or(cmp.Compare(a.createdAt, b.createdAt), cmp.Compare(a.id, b.id))
}

func (m *message) heapIndex() *int32      { return &m.index }
func (m *message) before(o *message) bool { return messageAge(m, o) < 0 }

func (m *message) user() *userRow {
	if m.rest != nil && m.rest.user != nil {
		return m.rest.user
	}
	return m.session.owner
}

// userHistory returns the list of the message's user that holds the message.
func (m *message) userHistory() *list[*message] {
	if m.direction == domain.Outbound {
		return &m.user().sent
	}
	return &m.user().received
}

func (m *message) clone() *domain.Message {
	v := &domain.Message{
		ID: m.id, WhatsAppID: m.whatsAppID, SessionID: m.session.v.ID, UserID: m.user().v.ID,
		Direction: m.direction, From: m.from, To: m.to, Type: m.kind, Content: m.content, Status: m.status,
		CreatedAt: fromMicros(m.createdAt), SentAt: fromMicros(m.sentAt),
		DeliveredAt: fromMicros(m.deliveredAt), ReadAt: fromMicros(m.readAt), Rev: m.revision,
	}
	if m.rest != nil {
		v.MediaURL, v.Media, v.Filename, v.Caption = m.rest.mediaURL, m.rest.media, m.rest.filename, m.rest.caption
		v.Error, v.Unreported, v.Unforwarded = m.rest.error, m.rest.unreported, m.rest.unforwarded
		v.Relations = domain.Relations{Author: m.rest.author, QuotedID: m.rest.quotedID, TargetID: m.rest.targetID}
		if m.rest.mentions != "" {
			v.Relations.Mentions = strings.Split(m.rest.mentions, mentionSeparator)
		}
	}
	return v
}

// fill copies a value into the row.
func (m *message) fill(v *domain.Message, session *sessionRow, user *userRow) {
	m.id, m.whatsAppID, m.session = v.ID, v.WhatsAppID, session
	m.from, m.to, m.content = v.From, v.To, v.Content
	m.kind, m.direction, m.status = v.Type, v.Direction, v.Status
	m.createdAt, m.sentAt = micros(v.CreatedAt), micros(v.SentAt)
	m.deliveredAt, m.readAt = micros(v.DeliveredAt), micros(v.ReadAt)
	rest := messageRest{
		mediaURL: v.MediaURL, media: v.Media, filename: v.Filename, caption: v.Caption, error: v.Error,
		unreported: v.Unreported, unforwarded: v.Unforwarded,
	}
	rest.author, rest.quotedID, rest.targetID = v.Relations.Author, v.Relations.QuotedID, v.Relations.TargetID
	rest.mentions = strings.Join(v.Relations.Mentions, mentionSeparator)
	if user != session.owner {
		rest.user = user
	}
	switch {
	case rest == messageRest{}:
		m.rest = nil
	case m.rest == nil || *m.rest != rest:
		m.rest = &rest
	}
}

func (m *message) rev() int64 {
	if m == nil {
		return 0
	}
	return m.revision
}

type messages struct{ *txn }

// Put returns [ports.ErrNotFound] if the session or the user is missing. Ids are unique in the store.
func (t messages) Put(_ context.Context, v *domain.Message) error {
	if err := t.writable(); err != nil {
		return err
	}
	s := t.s
	m := s.messages[v.ID]
	if err := checkRev(m, v.Rev); err != nil {
		return err
	}
	session := s.sessions[v.SessionID]
	if session == nil {
		return ports.ErrNotFound
	}
	user := session.owner
	if v.UserID != user.v.ID {
		user = s.users[v.UserID]
	}
	if user == nil {
		return ports.ErrNotFound
	}
	if m != nil && m.session != session { // a message keeps its session
		return ports.ErrConflict
	}
	if v.Direction == domain.Inbound && s.hasInbound(session, v.WhatsAppID, m) {
		return ports.ErrExists
	}
	if m == nil {
		m = &message{}
		m.fill(v, session, user)
		m.revision = s.nextRev()
		s.link(m)
		s.undoLog = append(s.undoLog, undoEntry{message: m})
	} else {
		s.formerMessages = append(s.formerMessages, *m)
		s.undoLog = append(s.undoLog, undoEntry{message: m, updated: true})
		next := *m
		next.fill(v, session, user)
		next.revision = s.nextRev()
		s.replaceMessage(m, next)
	}
	v.Rev = m.revision
	return nil
}

// link adds a message to every index.
func (s *Store) link(m *message) {
	s.messages[m.id] = m
	s.linkWhatsApp(m)
	m.session.history.add(m, messageAge)
	m.userHistory().add(m, messageAge)
	if m.status == domain.MessagePending {
		s.pending.add(m)
	}
}

// unlink removes a message from every index.
func (s *Store) unlink(m *message) {
	delete(s.messages, m.id)
	s.unlinkWhatsApp(m)
	m.session.history.remove(m, messageAge)
	m.userHistory().remove(m, messageAge)
	s.pending.remove(m)
}

// replaceMessage replaces the value of a message by one with the same id and session, in every index.
func (s *Store) replaceMessage(m *message, next message) {
	if m.createdAt != next.createdAt || m.direction != next.direction || m.user() != next.user() {
		s.unlink(m)
		*m = next
		m.index = 0
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
	wasPending := m.index > 0
	next.index = m.index
	*m = next
	if m.status == domain.MessagePending && !wasPending {
		s.pending.add(m)
	}
}

func (s *Store) linkWhatsApp(m *message) {
	if m.whatsAppID == "" {
		return
	}
	key := whatsAppKey{m.session, m.whatsAppID}
	if s.whatsApp[key] == nil {
		s.whatsApp[key] = m
		return
	}
	s.duplicates[key] = append(s.duplicates[key], m)
}

func (s *Store) unlinkWhatsApp(m *message) {
	if m.whatsAppID == "" {
		return
	}
	key := whatsAppKey{m.session, m.whatsAppID}
	others := s.duplicates[key]
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
	if len(others) == 0 {
		delete(s.duplicates, key)
		return
	}
	s.duplicates[key] = others
}

// hasInbound reports whether the session has an inbound message with the WhatsApp id, other than the given message.
func (s *Store) hasInbound(session *sessionRow, whatsAppID string, except *message) bool {
	key := whatsAppKey{session, whatsAppID}
	isOther := func(m *message) bool { return m != nil && m != except && m.direction == domain.Inbound }
	return isOther(s.whatsApp[key]) || slices.ContainsFunc(s.duplicates[key], isOther)
}

// deleteAll deletes the messages of a session. They stay in the session's history, from which a rollback restores them.
func (t messages) deleteAll(session *sessionRow) {
	s := t.s
	if len(session.history) == 0 {
		return
	}
	lists := make(map[*list[*message]]list[*message])
	for _, m := range session.history {
		delete(s.messages, m.id)
		s.unlinkWhatsApp(m)
		s.pending.remove(m)
		lists[m.userHistory()] = nil
	}
	for l := range lists {
		lists[l] = *l
		*l = slices.Clone(*l)
		*l = slices.DeleteFunc(*l, func(m *message) bool { return m.session == session })
	}
	t.onRollback(func() {
		for l, old := range lists {
			*l = old
		}
		for _, m := range session.history {
			s.messages[m.id] = m
			s.linkWhatsApp(m)
			if m.status == domain.MessagePending {
				s.pending.add(m)
			}
		}
	})
}

func (t messages) DeleteBefore(_ context.Context, sessionID string, before time.Time, limit int) (int, error) {
	if err := t.writable(); err != nil {
		return 0, err
	}
	s := t.s
	session := s.sessions[sessionID]
	if session == nil {
		return 0, nil
	}
	old := session.history
	n := sort.Search(len(old), func(i int) bool { return !fromMicros(old[i].createdAt).Before(before) })
	gone := slices.Clone(old[:min(n, max(limit, 0))])
	for _, m := range gone {
		s.unlink(m)
	}
	t.onRollback(func() {
		for _, m := range gone {
			s.link(m)
		}
	})
	return len(gone), nil
}

func (t messages) Delete(_ context.Context, sessionID, id string, rev int64) error {
	if err := t.writable(); err != nil {
		return err
	}
	m := t.s.messages[id]
	if m == nil || m.session.v.ID != sessionID || m.revision != rev {
		return ports.ErrConflict
	}
	t.s.unlink(m)
	t.onRollback(func() { t.s.link(m) })
	return nil
}

func (t messages) Get(_ context.Context, sessionID, id string) (*domain.Message, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	m := t.s.messages[id]
	if m == nil || m.session.v.ID != sessionID {
		return nil, ports.ErrNotFound
	}
	return m.clone(), nil
}

// ByWhatsAppID prefers an outbound message, and then the latest one. A message that an account sends to itself is stored
// twice, as outbound and as inbound.
func (t messages) ByWhatsAppID(_ context.Context, sessionID, whatsAppID string) (*domain.Message, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	session := t.s.sessions[sessionID]
	if session == nil {
		return nil, ports.ErrNotFound
	}
	key := whatsAppKey{session, whatsAppID}
	best := t.s.whatsApp[key]
	if best == nil {
		return nil, ports.ErrNotFound
	}
	for _, m := range t.s.duplicates[key] {
		isOut, wasOut := m.direction == domain.Outbound, best.direction == domain.Outbound
		if isOut && !wasOut || isOut == wasOut && best.before(m) {
			best = m
		}
	}
	return best.clone(), nil
}

// List includes messages at Since and excludes messages at Until.
func (t messages) List(_ context.Context, sessionID string, f domain.MessageFilter) ([]*domain.Message, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	session := t.s.sessions[sessionID]
	if session == nil {
		return nil, nil
	}
	rows := session.history
	if !f.Until.IsZero() {
		rows = rows[:indexFrom(rows, f.Until, "")]
	}
	if f.After != (domain.Cursor{}) {
		rows = rows[:indexFrom(rows, f.After.At, f.After.ID)]
	}
	if !f.Since.IsZero() {
		rows = rows[indexFrom(rows, f.Since, ""):]
	}
	search := words.ParseSearch(f.Search)
	var found []*domain.Message
	for _, m := range slices.Backward(rows) {
		if f.Limit > 0 && len(found) >= f.Limit {
			break
		}
		if (f.Direction == "" || m.direction == f.Direction) && (f.Type == "" || m.kind == f.Type) &&
			(f.Status == "" || m.status == f.Status) && (f.To == "" || m.to == f.To) {
			if v := m.clone(); f.Search == "" || search.Finds(v) {
				found = append(found, v)
			}
		}
	}
	return found, nil
}

// indexFrom returns the index of the first message at or after a time and id.
func indexFrom(rows []*message, at time.Time, id string) int {
	if at.IsZero() && id == "" {
		return 0
	}
	us := at.UnixMicro()
	if fromMicros(us).Before(at) { // stored times are whole microseconds
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
	rows := user.sent[indexFrom(user.sent, since, ""):]
	n, first := 0, time.Time{}
	for _, m := range rows {
		if m.rest != nil && m.rest.unforwarded {
			continue
		}
		if n == 0 {
			first = fromMicros(m.createdAt)
		}
		n++
	}
	return n, first, nil
}

// PendingBefore returns the oldest message first.
func (t messages) PendingBefore(_ context.Context, before time.Time, limit int) ([]*domain.Message, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	rows := t.s.pending.firstWhile(limit, func(m *message) bool { return fromMicros(m.createdAt).Before(before) })
	return copies(rows, (*message).clone), nil
}
