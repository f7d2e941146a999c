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
		e.Seq = s.seq
		truncate(&e.At)
		s.events = append(s.events, e)
	}
	t.onRollback(func() {
		clear(s.events[start:])
		s.events, s.seq = s.events[:start], seq
	})
	return nil
}

func (t outbox) After(_ context.Context, seq int64, limit int) ([]domain.Event, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	events := t.s.events
	events = events[sort.Search(len(events), func(i int) bool { return events[i].Seq > seq }):]
	return slices.Clone(page(events, ports.Page{Limit: limit})), nil
}

func (t outbox) Last(context.Context) (int64, error) {
	if err := t.readable(); err != nil {
		return 0, err
	}
	return t.s.seq, nil
}

func (t outbox) DeleteBefore(_ context.Context, before time.Time) error {
	if err := t.writable(); err != nil {
		return err
	}
	s := t.s
	old := s.events
	isOld := func(e domain.Event) bool { return e.At.Before(before) }
	if !slices.ContainsFunc(old, isOld) {
		return nil
	}
	s.events = slices.DeleteFunc(slices.Clone(old), isOld)
	t.onRollback(func() { s.events = old })
	return nil
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
