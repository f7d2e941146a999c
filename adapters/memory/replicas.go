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
	truncate(&v.StartedAt, &v.SeenAt)
	t.set(r.ID, &v)
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
	t.set(id, nil)
	return nil
}

// set sets a row, or deletes it if v is nil.
func (t replicas) set(id string, v *domain.Replica) {
	s := t.s
	old, existed := s.replicas[id]
	s.setReplica(id, v)
	t.onRollback(func() {
		if existed {
			s.setReplica(id, &old)
		} else {
			s.setReplica(id, nil)
		}
	})
}

func (s *Store) setReplica(id string, v *domain.Replica) {
	if v == nil {
		delete(s.replicas, id)
		return
	}
	s.replicas[id] = *v
}
