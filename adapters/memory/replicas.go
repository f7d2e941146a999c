package memory

import (
	"context"
	"maps"
	"slices"

	"github.com/switchyard-wa/switchyard/domain"
)

type replicas struct{ *txn }

func (t replicas) Put(_ context.Context, r *domain.Replica) error {
	if err := t.writable(); err != nil {
		return err
	}
	v := *r
	keep(&v.StartedAt, &v.SeenAt)
	t.set(r.ID, v, true)
	return nil
}

func (t replicas) List(context.Context) ([]*domain.Replica, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	var all []*domain.Replica
	for _, id := range slices.Sorted(maps.Keys(t.s.replicas)) {
		v := t.s.replicas[id]
		all = append(all, &v)
	}
	return all, nil
}

func (t replicas) Delete(_ context.Context, id string) error {
	if err := t.writable(); err != nil {
		return err
	}
	t.set(id, domain.Replica{}, false)
	return nil
}

// set puts a row in its place, or none.
func (t replicas) set(id string, v domain.Replica, there bool) {
	s := t.s
	old, was := s.replicas[id]
	change := func(v domain.Replica, there bool) {
		if s.replicas[id] = v; !there {
			delete(s.replicas, id)
		}
	}
	change(v, there)
	t.undo(func() { change(old, was) })
}
