package audit

import (
	"context"
	"strconv"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// workers adds to the trail what [service.Workers] cannot add in a transaction of its
// own: actions that failed, and actions that change no row.
type workers struct {
	service.Workers
	trail Trail
}

// Workers returns a service that does what next does and records what fails.
func (t Trail) Workers(next service.Workers) service.Workers { return workers{next, t} }

// recordFailure records an action on a worker that ended with err.
func (w workers) recordFailure(ctx context.Context, err error, action domain.AuditAction, id string) {
	w.trail.RecordFailure(ctx, err, action, Object("worker", domain.NormalizeWorkerRef(id)))
}

// Add adds a worker.
func (w workers) Add(ctx context.Context, r domain.Registration) (*service.WorkerView, error) {
	v, err := w.Workers.Add(ctx, r)
	w.trail.RecordFailure(ctx, err, domain.AuditWorkerAdded, Object("worker", domain.NormalizeWorkerRef(r.WorkerID)), "endpoint", r.Endpoint)
	return v, err
}

// Update changes a worker.
func (w workers) Update(ctx context.Context, id string, ch service.WorkerChange) (*service.WorkerView, error) {
	v, err := w.Workers.Update(ctx, id, ch)
	w.recordFailure(ctx, err, domain.AuditWorkerUpdated, id)
	return v, err
}

// Remove removes a worker.
func (w workers) Remove(ctx context.Context, id string, opt service.RemoveOptions) error {
	err := w.Workers.Remove(ctx, id, opt)
	w.recordFailure(ctx, err, domain.AuditWorkerRemoved, id)
	return err
}

// Drain drains a worker.
func (w workers) Drain(ctx context.Context, id string, opt service.DrainOptions) (*service.WorkerView, error) {
	v, err := w.Workers.Drain(ctx, id, opt)
	w.recordFailure(ctx, err, domain.AuditWorkerDrained, id)
	return v, err
}

// Activate activates a worker.
func (w workers) Activate(ctx context.Context, id string) (*service.WorkerView, error) {
	v, err := w.Workers.Activate(ctx, id)
	w.recordFailure(ctx, err, domain.AuditWorkerActivated, id)
	return v, err
}

// StopForeign stops a session that the store has never known.
func (w workers) StopForeign(ctx context.Context, id, sessionID string, opt service.StopForeignOptions) error {
	err := w.Workers.StopForeign(ctx, id, sessionID, opt)
	w.trail.RecordFailure(ctx, err, domain.AuditForeignStopped, Object("worker", domain.NormalizeWorkerRef(id)), "session", sessionID)
	return err
}

// TestEndpoint calls an endpoint.
func (w workers) TestEndpoint(ctx context.Context, endpoint string) (*service.ProbeReport, error) {
	r, err := w.Workers.TestEndpoint(ctx, endpoint)
	w.recordTest(ctx, r, err, Object("endpoint", endpoint))
	return r, err
}

// Test calls a worker.
func (w workers) Test(ctx context.Context, id string) (*service.ProbeReport, error) {
	r, err := w.Workers.Test(ctx, id)
	w.recordTest(ctx, r, err, Object("worker", domain.NormalizeWorkerRef(id)))
	return r, err
}

// recordTest records the result of a call to a health route.
func (w workers) recordTest(ctx context.Context, r *service.ProbeReport, err error, object string) {
	if err != nil {
		w.trail.RecordFailure(ctx, err, domain.AuditWorkerTested, object)
		return
	}
	w.trail.RecordAlone(ctx, domain.AuditWorkerTested, object, "reachable", strconv.FormatBool(r.Reachable))
}

// ProbeAll calls every worker.
func (w workers) ProbeAll(ctx context.Context) ([]service.ProbeReport, error) {
	all, err := w.Workers.ProbeAll(ctx)
	if err != nil {
		w.trail.RecordFailure(ctx, err, domain.AuditFleetProbed, "fleet")
		return nil, err
	}
	w.trail.RecordAlone(ctx, domain.AuditFleetProbed, "fleet", "workers", strconv.Itoa(len(all)))
	return all, nil
}

// StartProbes starts the background probes.
func (w workers) StartProbes(ctx context.Context) (service.ProbeStatus, error) {
	s, err := w.Workers.StartProbes(ctx)
	w.trail.RecordFailure(ctx, err, domain.AuditFleetProbesStarted, "fleet")
	return s, err
}

// StopProbes stops the background probes.
func (w workers) StopProbes(ctx context.Context) (service.ProbeStatus, error) {
	s, err := w.Workers.StopProbes(ctx)
	w.trail.RecordFailure(ctx, err, domain.AuditFleetProbesStopped, "fleet")
	return s, err
}

// operations adds to the trail what [service.Operations] cannot add in a transaction of
// its own.
type operations struct {
	service.Operations
	trail Trail
}

// Operations returns a service that does what next does and records what fails.
func (t Trail) Operations(next service.Operations) service.Operations { return operations{next, t} }

// DeleteSession deletes a session of any user.
func (o operations) DeleteSession(ctx context.Context, sessionID string) error {
	err := o.Operations.DeleteSession(ctx, sessionID)
	o.trail.RecordFailure(ctx, err, domain.AuditSessionDeleted, Object("session", sessionID))
	return err
}

// bulkActions names the actions of bulk requests.
var bulkActions = map[service.BulkAction]domain.AuditAction{
	service.BulkRestart: domain.AuditSessionRestarted, service.BulkDisconnect: domain.AuditSessionDisconnected,
	service.BulkMigrate: domain.AuditSessionMigrated, service.BulkDelete: domain.AuditSessionDeleted,
}

// Bulk does the same to many sessions.
func (o operations) Bulk(ctx context.Context, b service.BulkRequest) ([]service.BulkResult, error) {
	results, err := o.Operations.Bulk(ctx, b)
	o.trail.RecordFailure(ctx, err, domain.AuditFleetBulk, "fleet", "action", string(b.Action))
	for _, r := range results {
		o.trail.RecordFailure(ctx, r.Err, bulkActions[b.Action], Object("session", r.SessionID))
	}
	return results, err
}

// Migrate moves a session.
func (o operations) Migrate(ctx context.Context, sessionID string, opt service.MigrateOptions) (*domain.Migration, error) {
	m, err := o.Operations.Migrate(ctx, sessionID, opt)
	o.trail.RecordFailure(ctx, err, domain.AuditSessionMigrated, Object("session", sessionID), "to", opt.TargetWorkerID)
	return m, err
}

// CancelMigrations cancels migrations.
func (o operations) CancelMigrations(ctx context.Context, id string) ([]*domain.Migration, int, error) {
	cancelled, running, err := o.Operations.CancelMigrations(ctx, id)
	o.trail.RecordFailure(ctx, err, domain.AuditMigrationCancelled, Object("migration", id))
	return cancelled, running, err
}

// Rebalance evens out the load.
func (o operations) Rebalance(ctx context.Context, opt service.RebalanceOptions) (*service.RebalanceResult, error) {
	r, err := o.Operations.Rebalance(ctx, opt)
	switch {
	case err != nil:
		o.trail.RecordFailure(ctx, err, domain.AuditFleetRebalanced, "fleet")
	case !opt.DryRun:
		o.trail.RecordAlone(ctx, domain.AuditFleetRebalanced, "fleet", "batch", r.BatchID, "moves", strconv.Itoa(len(r.Moves)))
	}
	return r, err
}
