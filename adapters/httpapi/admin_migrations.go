package httpapi

import (
	"context"
	"fmt"

	"github.com/danielgtaylor/huma/v2"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// migrationView is a migration as administrators see it.
type migrationView struct {
	ID          string                 `json:"id" example:"01JX3B5ZKQ7M"`
	SessionID   string                 `json:"sessionId" example:"support"`
	UserID      string                 `json:"userId" example:"01JX3B5ZKQ7M"`
	Kind        domain.MigrationKind   `json:"kind" doc:"Who wants it: OPERATOR, DRAIN, REBALANCE, FAILOVER or RETURN (to the worker with the credentials)" example:"OPERATOR"`
	Status      domain.MigrationStatus `json:"status" doc:"PENDING, RUNNING, COMPLETED, NEEDS_SCAN (the session is on its new worker and waits for a scan), FAILED or CANCELLED" example:"COMPLETED"`
	FromWorker  string                 `json:"fromWorker" example:"worker-1"`
	ToWorker    view.String            `json:"toWorker" doc:"Null until it is chosen" example:"worker-2"`
	BatchID     view.String            `json:"batchId" doc:"Of a drain, rebalance or bulk action" example:"01JX3B5ZKQ7N"`
	Reason      view.String            `json:"reason" example:"maintenance"`
	Error       view.String            `json:"error" doc:"Why the status is FAILED, CANCELLED or NEEDS_SCAN" example:"worker-2 is full"`
	CreatedAt   view.Time              `json:"createdAt"`
	StartedAt   view.Time              `json:"startedAt"`
	CompletedAt view.Time              `json:"completedAt"`
	Duration    nullableFloat          `json:"duration" doc:"Milliseconds from start to end" example:"1500"`
}

func viewMigration(m *domain.Migration) migrationView {
	v := migrationView{
		ID: m.ID, SessionID: m.SessionID, UserID: m.UserID, Kind: m.Kind, Status: m.Status,
		FromWorker: m.FromWorker, ToWorker: view.String(m.ToWorker), BatchID: view.String(m.BatchID),
		Reason: view.String(m.Reason), Error: view.String(m.Error),
		CreatedAt: view.Time(m.CreatedAt), StartedAt: view.Time(m.StartedAt), CompletedAt: view.Time(m.CompletedAt), Duration: -1,
	}
	if !m.StartedAt.IsZero() && !m.CompletedAt.IsZero() {
		v.Duration = milliseconds(m.CompletedAt.Sub(m.StartedAt))
	}
	return v
}

func viewMigrations(list []*domain.Migration) []migrationView {
	views := make([]migrationView, len(list))
	for i, m := range list {
		views[i] = viewMigration(m)
	}
	return views
}

// ForceScans is the parameter by which administrators accept scans.
type ForceScans struct {
	Force bool `query:"force" doc:"Also moves linked sessions that need a new QR scan, because no other worker has their credentials" example:"false"`
}

type migrateBody struct {
	TargetWorkerID string  `json:"targetWorkerId,omitempty" doc:"The best worker if it is not given" example:"worker-2"`
	Reason         *string `json:"reason,omitempty" doc:"At most 255 characters" example:"maintenance"`
}

type migrateInput struct {
	SessionPath
	ForceScans
	Body           migrateBody
	target, reason string
}

// Resolve applies the rules of the domain.
func (in *migrateInput) Resolve(huma.Context) []error {
	var p problems
	in.target = p.text("targetWorkerId", in.Body.TargetWorkerID, domain.NormalizeWorkerID)
	if text := optional(&p, "reason", in.Body.Reason, domain.CheckReason); text != nil {
		in.reason = *text
	}
	return p
}

type migratedView struct {
	Migration migrationView `json:"migration"`
}

func (a *api) migrate(ctx context.Context, c *requestContext, in *migrateInput) (migratedView, error) {
	m, err := a.Operations.Migrate(ctx, c.sessionRef(), service.MigrateOptions{TargetWorkerID: in.target, Reason: in.reason, Force: in.Force})
	if err != nil {
		return migratedView{}, err
	}
	switch m.Status {
	case domain.MigrationPending:
		c.message = "Session will migrate when its turn comes"
	case domain.MigrationRunning:
		c.message = "Session is migrating"
	case domain.MigrationFailed, domain.MigrationCancelled:
		c.message = "Session did not migrate"
	case domain.MigrationNeedsScan:
		c.message = "Session migrated; its new QR code has to be scanned"
	}
	return migratedView{viewMigration(m)}, nil
}

type listMigrationsInput struct {
	SessionID string `query:"sessionId" doc:"Of this session" example:"support"`
	WorkerID  string `query:"workerId" doc:"From or to this worker" example:"worker-1"`
	BatchID   string `query:"batchId" doc:"Of this drain, rebalance or bulk action" example:"01JX3B5ZKQ7N"`
	Status    string `query:"status" doc:"PENDING, RUNNING, COMPLETED, NEEDS_SCAN, FAILED or CANCELLED, in any case" example:"COMPLETED"`
	Kind      string `query:"kind" doc:"OPERATOR, DRAIN, REBALANCE, FAILOVER or RETURN, in any case" example:"FAILOVER"`
	PageInput
	filter ports.MigrationFilter
}

// Resolve reads the parameters.
func (in *listMigrationsInput) Resolve(huma.Context) []error {
	var p problems
	f := &in.filter
	f.SessionID, f.WorkerID = normalizeSession(in.SessionID), normalizeWorker(in.WorkerID)
	f.BatchID = p.searchText("batchId", in.BatchID)
	parse(&p, "status", in.Status, &f.Status, oneOf(domain.MigrationPending, domain.MigrationRunning,
		domain.MigrationCompleted, domain.MigrationNeedsScan, domain.MigrationFailed, domain.MigrationCancelled))
	parse(&p, "kind", in.Kind, &f.Kind, oneOf(domain.MigrationByOperator, domain.MigrationByDrain, domain.MigrationByRebalance,
		domain.MigrationByFailover, domain.MigrationByReturn))
	return p
}

type migrationListView struct {
	Migrations []migrationView `json:"migrations"`
	Pagination pagination      `json:"pagination"`
}

func (a *api) migrations(ctx context.Context, _ *requestContext, in *listMigrationsInput) (migrationListView, error) {
	list, total, err := a.Operations.ListMigrations(ctx, in.filter, in.page())
	if err != nil {
		return migrationListView{}, err
	}
	return migrationListView{viewMigrations(list), paginationOf(in.page(), total)}, nil
}

type cancelMigrationsInput struct {
	ID string `path:"id" doc:"Id of a migration or of a batch" example:"01JX3B5ZKQ7M"`
}

type cancelledView struct {
	Cancelled  int             `json:"cancelled" example:"1"`
	Running    int             `json:"running" doc:"Those that had begun and take their course" example:"3"`
	Migrations []migrationView `json:"migrations" doc:"Those that were cancelled"`
}

func (a *api) cancelMigrations(ctx context.Context, c *requestContext, in *cancelMigrationsInput) (cancelledView, error) {
	cancelled, running, err := a.Operations.CancelMigrations(ctx, clean(in.ID, maxID))
	if err != nil {
		return cancelledView{}, err
	}
	c.message = counted(len(cancelled), "migration") + " cancelled"
	if running > 0 {
		c.message += fmt.Sprintf("; %d had begun and take their course", running)
	}
	return cancelledView{len(cancelled), running, viewMigrations(cancelled)}, nil
}

// counted puts a noun after a number.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

type rebalanceBody struct {
	_      struct{} `additionalProperties:"false"`
	DryRun bool     `json:"dryRun,omitempty" doc:"Plans and moves nothing" example:"true"`
	Force  bool     `json:"force,omitempty" doc:"As in the query" example:"false"`
}

type rebalanceInput struct {
	DryRun bool `query:"dryRun" doc:"Plans and moves nothing" example:"true"`
	ForceScans
	Body rebalanceBody
}

// Resolve refuses what might be a misspelt dry run.
func (in *rebalanceInput) Resolve(ctx huma.Context) []error {
	var p problems
	p.only(contextOf(ctx.Context()).query, "dryRun", "force")
	return p
}

type plannedView struct {
	SessionID  string `json:"sessionId" example:"support"`
	UserID     string `json:"userId" example:"01JX3B5ZKQ7M"`
	FromWorker string `json:"fromWorker" example:"worker-1"`
	ToWorker   string `json:"toWorker" example:"worker-2"`
}

// balanceView is how full a worker is.
type balanceView struct {
	SessionCount int           `json:"sessionCount" example:"20"`
	Load         nullableFloat `json:"load" nullable:"false" doc:"Percent of its capacity" example:"66.67"`
}

type rebalancedView struct {
	WorkerID    string      `json:"workerId" example:"worker-1"`
	MaxSessions int         `json:"maxSessions" example:"30"`
	Before      balanceView `json:"before"`
	After       balanceView `json:"after"`
}

type rebalanceView struct {
	DryRun  bool             `json:"dryRun" example:"false"`
	BatchID view.String      `json:"batchId" doc:"Of the migrations; null if none was begun" example:"01JX3B5ZKQ7N"`
	Moves   []plannedView    `json:"moves"`
	Left    int              `json:"left" doc:"Moves that are left to the next rebalance" example:"0"`
	Scans   int              `json:"scans" doc:"Moves whose sessions need a new QR scan; none without force" example:"0"`
	Forced  int              `json:"scansWithForce" doc:"In a dry run: the scans that the plan with force=true costs" example:"12"`
	Workers []rebalancedView `json:"workers"`
}

func (a *api) rebalance(ctx context.Context, c *requestContext, in *rebalanceInput) (rebalanceView, error) {
	dryRun := in.DryRun || in.Body.DryRun
	r, err := a.Operations.Rebalance(ctx, service.RebalanceOptions{DryRun: dryRun, Force: in.Force || in.Body.Force})
	if err != nil {
		return rebalanceView{}, err
	}
	v := rebalanceView{r.DryRun, view.String(r.BatchID), make([]plannedView, len(r.Moves)), r.RemainingMoves, r.Scans, r.ScansIfForced, make([]rebalancedView, len(r.Workers))}
	for i, m := range r.Moves {
		v.Moves[i] = plannedView(m)
	}
	for i, w := range r.Workers {
		full := func(n int) balanceView {
			return balanceView{n, nullableFloat(100 * float64(n) / float64(max(w.Capacity, 1)))}
		}
		v.Workers[i] = rebalancedView{w.WorkerID, w.Capacity, full(w.Before), full(w.After)}
	}
	switch {
	case len(r.Moves) == 0:
		c.message = "The load is even; nothing has to move"
	case dryRun:
		c.message = "A rebalance would move " + counted(len(r.Moves), "session")
	default:
		c.message = counted(len(r.Moves), "session") + " will move, a few at a time; follow them with GET /admin/migrations?batchId=" + r.BatchID
	}
	if r.RemainingMoves > 0 {
		c.message += fmt.Sprintf("; %d more are left to the next rebalance", r.RemainingMoves)
	}
	if r.ScansIfForced > r.Scans {
		c.message += fmt.Sprintf("; with force=true sessions would move of which %d need a new QR scan", r.ScansIfForced)
	}
	return v, nil
}
