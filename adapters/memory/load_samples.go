package memory

import (
	"context"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

type loadSamples struct{ *txn }

func (t loadSamples) Append(_ context.Context, samples ...domain.LoadSample) error {
	if err := t.writable(); err != nil {
		return err
	}
	for _, l := range samples {
		truncate(&l.At)
		i, exists := slices.BinarySearchFunc(t.s.loads[l.WorkerID], l.At, byTime)
		if !exists {
			t.replace(l.WorkerID, slices.Insert(slices.Clone(t.s.loads[l.WorkerID]), i, l))
		}
	}
	return nil
}

func byTime(l domain.LoadSample, at time.Time) int { return l.At.Compare(at) }

// replace replaces the samples of a worker. A stored slice is never changed in place.
func (t loadSamples) replace(workerID string, samples []domain.LoadSample) {
	s, old := t.s, t.s.loads[workerID]
	s.setLoads(workerID, samples)
	t.onRollback(func() { s.setLoads(workerID, old) })
}

// setLoads sets the samples of a worker, or removes its key if there are none.
func (s *Store) setLoads(workerID string, samples []domain.LoadSample) {
	if len(samples) == 0 {
		delete(s.loads, workerID)
		return
	}
	s.loads[workerID] = samples
}

func (t loadSamples) Since(_ context.Context, workerID string, since time.Time) ([]domain.LoadSample, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	all := t.s.loads[workerID]
	i, _ := slices.BinarySearchFunc(all, since, byTime)
	return slices.Clone(all[i:]), nil
}

func (t loadSamples) DeleteBefore(_ context.Context, before time.Time) error {
	if err := t.writable(); err != nil {
		return err
	}
	for id, all := range t.s.loads {
		if i, _ := slices.BinarySearchFunc(all, before, byTime); i > 0 {
			t.replace(id, slices.Clone(all[i:]))
		}
	}
	return nil
}
