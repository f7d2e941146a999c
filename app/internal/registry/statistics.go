package registry

import (
	"context"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/workqueue"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Statistics sums up the sessions and workers in the store.
func (w *Workers) Statistics(ctx context.Context) (*service.FleetStatistics, error) {
	if err := w.sync.EnsureLoaded(ctx); err != nil {
		return nil, err
	}
	st := &service.FleetStatistics{}
	var workers []*domain.Worker
	err := w.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		workers, _, err = tx.Workers.List(ctx, ports.WorkerFilter{}, ports.Page{})
		if err != nil {
			return err
		}
		st.Sessions, err = tx.Sessions.CountByStatus(ctx)
		return err
	})
	if err != nil {
		return nil, apperr.Public(err)
	}
	cpus, memories := 0, 0
	for _, worker := range workers {
		switch worker.Status() {
		case domain.WorkerOnline:
			st.Online++
		case domain.WorkerOffline:
			st.Offline++
			continue
		case domain.WorkerMaintenance:
			st.Maintenance++
		}
		st.Capacity += worker.Capacity
		st.Used += worker.Used
		if worker.CPU >= 0 {
			st.CPU += worker.CPU
			cpus++
		}
		if worker.Memory >= 0 {
			st.Memory += worker.Memory
			memories++
		}
	}
	st.CPU /= float64(max(cpus, 1))
	st.Memory /= float64(max(memories, 1))
	return st, nil
}

// ExplainPlacement returns which worker the next session would get, and why.
func (w *Workers) ExplainPlacement(ctx context.Context) (string, []domain.Candidate, error) {
	if err := w.sync.RefreshShared(ctx); err != nil {
		return "", nil, err
	}
	chosen, all := w.cache.Explain(w.cache.Loads(), domain.Request{}, w.Now())
	return chosen, all, nil
}

// TestEndpoint calls a health route that need not belong to a worker.
func (w *Workers) TestEndpoint(ctx context.Context, endpoint string) (*service.ProbeReport, error) {
	canonical, err := domain.ParseEndpoint(endpoint)
	if err != nil {
		var p domain.Problems
		p.Check("endpoint", err)
		return nil, p.Err()
	}
	r := w.detector.ProbeEndpoint(ctx, canonical)
	return &r, nil
}

// Test calls a worker's health route.
func (w *Workers) Test(ctx context.Context, id string) (*service.ProbeReport, error) {
	if err := w.sync.EnsureLoaded(ctx); err != nil {
		return nil, err
	}
	worker, err := w.sync.LookupWorker(ctx, domain.NormalizeWorkerRef(id))
	if err != nil {
		return nil, err
	}
	r := w.detector.Probe(ctx, worker)
	return &r, nil
}

// ProbeAll calls every worker's health route and returns the reports by worker id.
func (w *Workers) ProbeAll(ctx context.Context) ([]service.ProbeReport, error) {
	if err := w.sync.RefreshShared(ctx); err != nil {
		return nil, err
	}
	all := w.cache.Workers()
	reports := make([]service.ProbeReport, len(all))
	workqueue.ForEach(len(all), w.parallel.Probes, w.Spawn, func(i int) {
		reports[i] = w.detector.Probe(ctx, all[i])
	})
	return reports, nil
}

// ProbeStatus returns the state of the background probes.
func (w *Workers) ProbeStatus(ctx context.Context) service.ProbeStatus {
	return w.detector.ProbeStatus(ctx)
}

// StartProbes starts the background probes on all replicas.
func (w *Workers) StartProbes(ctx context.Context) (service.ProbeStatus, error) {
	return w.detector.StartProbes(ctx)
}

// StopProbes stops the background probes on all replicas.
func (w *Workers) StopProbes(ctx context.Context) (service.ProbeStatus, error) {
	return w.detector.StopProbes(ctx)
}
