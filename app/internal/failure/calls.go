package failure

import (
	"context"
	"errors"

	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Probe calls the health route of a worker and records the outcome.
func (d *Detector) Probe(ctx context.Context, w *domain.Worker) service.ProbeReport {
	r, err := d.callHealth(ctx, fleet.Ref(w))
	r.WorkerID = w.ID
	d.probeEnded(w.ID)
	d.RecordCall(ctx, w, err)
	return r
}

// ProbeEndpoint calls a health route that need not belong to a worker.
func (d *Detector) ProbeEndpoint(ctx context.Context, endpoint string) service.ProbeReport {
	r, _ := d.callHealth(ctx, ports.WorkerRef{Endpoint: endpoint})
	return r
}

func (d *Detector) callHealth(ctx context.Context, w ports.WorkerRef) (service.ProbeReport, error) {
	began := d.Now()
	err := d.Workers.Health(ctx, w)
	r := service.ProbeReport{Endpoint: w.Endpoint, Reachable: err == nil, At: d.Now()}
	r.Took = r.At.Sub(began)
	if err != nil {
		r.Error = publicMessage(err)
	}
	return r, err
}

// RequireHealthy calls a health route and returns a public error if it does not answer.
// A ref without an id is an endpoint that is not known yet.
func (d *Detector) RequireHealthy(ctx context.Context, w ports.WorkerRef) error {
	if err := d.Workers.Health(ctx, w); err != nil {
		return domain.Errorf(domain.Unavailable, domain.CodeWorkerUnreachable,
			"The worker's endpoint could not be reached: %s", publicMessage(err)).WithCause(err)
	}
	return nil
}

// publicMessage returns the failure of a call in words that are fit to show.
func publicMessage(err error) string {
	var failure *ports.WorkerError
	if errors.As(err, &failure) {
		return failure.Message
	}
	return "the worker could not be called"
}

// RecordCall counts the outcome of any call as a probe of the process that was called.
// An outcome that is not the worker's doing is ignored: a cancelled call, an open
// circuit, a rate limit of our own.
func (d *Detector) RecordCall(ctx context.Context, w *domain.Worker, err error) {
	result, warning := domain.ProbeAnswered, ""
	if err != nil {
		var failure *ports.WorkerError
		if !errors.As(err, &failure) || failure.Failure == ports.WorkerCircuitOpen || errors.Is(err, context.Canceled) ||
			failure.Failure == ports.WorkerBusy && failure.Status == 0 {
			return
		}
		result = failure.Probe()
		if result != domain.ProbeAnswered || failure.Failure == ports.WorkerFailed {
			warning = failure.Message
		}
	}
	if result == domain.ProbeRefused && d.IsShared() && !d.isRefusing(w.ID) {
		// Before the first refusal counts, read what other replicas have heard of the
		// worker: only a heartbeat after the refusal contradicts it.
		if err := d.sync.RefreshWorkersByID(ctx, w.ID); err != nil {
			d.LogFailure(ctx, "worker not read", err, "worker", w.ID)
			return
		}
	}
	crashed, latest := d.recordProbe(w, result, warning, err == nil)
	switch {
	case crashed:
		err := d.MarkDown(ctx, w.ID, domain.DownCrashed, func(current *domain.Worker) bool {
			return current.RegisteredAt.Equal(w.RegisteredAt) && current.Endpoint == w.Endpoint && current.LastHeartbeat.Equal(latest)
		})
		d.LogFailure(ctx, "crash not recorded", err, "worker", w.ID)
	case result == domain.ProbeRefused:
		d.queue.Wake() // the next probe follows soon
	}
}
