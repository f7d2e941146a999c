package memory

import (
	"context"
	"slices"
	"sort"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

type outbox struct{ *txn }

func (t outbox) Append(_ context.Context, events ...domain.Event) error {
	if err := t.writable(); err != nil || len(events) == 0 {
		return err
	}
	s := t.s
	start, seq := len(s.events), s.seq
	for _, e := range events {
		s.seq++
		e = copyEvent(e)
		e.Seq = s.seq
		s.events = append(s.events, e)
	}
	t.onRollback(func() {
		clear(s.events[start:])
		s.events, s.seq = s.events[:start], seq
	})
	return nil
}

func (t outbox) After(_ context.Context, f ports.EventFilter, seq int64, limit int) ([]domain.Event, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	events := t.s.events
	events = events[sort.Search(len(events), func(i int) bool { return events[i].Seq > seq }):]
	var found []domain.Event
	for _, e := range events {
		if f.UserID != "" && e.UserID != f.UserID || f.SessionID != "" && e.SessionID != f.SessionID {
			continue
		}
		if limit > 0 && len(found) == limit {
			break
		}
		found = append(found, copyEvent(e))
	}
	return found, nil
}

func (t outbox) Last(context.Context) (int64, error) {
	if err := t.readable(); err != nil {
		return 0, err
	}
	return t.s.seq, nil
}

func (t outbox) LastDeleted(context.Context) (int64, error) {
	if err := t.readable(); err != nil {
		return 0, err
	}
	return t.s.lastDeleted, nil
}

func (t outbox) DeleteBefore(_ context.Context, before time.Time, limit int) (int, error) {
	if err := t.writable(); err != nil {
		return 0, err
	}
	s := t.s
	old, lastDeleted := s.events, s.lastDeleted
	n := 0
	for n < min(len(old), limit) && old[n].At.Before(before) {
		n++
	}
	if n == 0 {
		return 0, nil
	}
	s.events, s.lastDeleted = old[n:], old[n-1].Seq
	t.onRollback(func() { s.events, s.lastDeleted = old, lastDeleted })
	return n, nil
}

// copyEvent returns a copy that shares no memory, with the times that a store keeps.
func copyEvent(e domain.Event) domain.Event {
	truncate(&e.At)
	if e.Message != nil {
		m := *e.Message
		m.Relations.Mentions = slices.Clone(m.Relations.Mentions)
		truncate(&m.CreatedAt, &m.SentAt, &m.DeliveredAt, &m.ReadAt)
		e.Message = &m
	}
	if e.Session != nil {
		s := *e.Session
		truncate(&s.LastSeenAt, &s.CreatedAt, &s.UpdatedAt)
		e.Session = &s
	}
	return e
}

type settings struct{ *txn }

func (t settings) Get(_ context.Context, name string) (string, error) {
	return find(t.txn, t.s.settings, name, func(value string) string { return value })
}

func (t settings) Put(_ context.Context, name, value string) error {
	if err := t.writable(); err != nil {
		return err
	}
	s := t.s
	old, existed := s.settings[name]
	s.settings[name] = value
	t.onRollback(func() {
		if !existed {
			delete(s.settings, name)
			return
		}
		s.settings[name] = old
	})
	return nil
}

func (t settings) Delete(_ context.Context, name string) error {
	if err := t.writable(); err != nil {
		return err
	}
	s := t.s
	if old, existed := s.settings[name]; existed {
		delete(s.settings, name)
		t.onRollback(func() { s.settings[name] = old })
	}
	return nil
}

func (t settings) PutIfAbsent(ctx context.Context, name, value string) (string, error) {
	if err := t.writable(); err != nil {
		return "", err
	}
	if old, exists := t.s.settings[name]; exists {
		return old, nil
	}
	return value, t.Put(ctx, name, value)
}

func (t settings) CompareAndSwap(ctx context.Context, name, old, value string) error {
	if err := t.writable(); err != nil {
		return err
	}
	if current, exists := t.s.settings[name]; current != old || exists && old == "" {
		return ports.ErrConflict
	}
	return t.Put(ctx, name, value)
}
