package service

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// RebalanceOptions refines a rebalance.
type RebalanceOptions struct {
	DryRun bool // plan, and move nothing
	Force  bool // also move sessions that need a scan on their new workers
}

// MigrateOptions refines a migration.
type MigrateOptions struct {
	TargetWorkerID string // empty: the best worker
	Reason         string
	Force          bool // also if the session needs a scan on its new worker
}

// WorkerLoad is the number of sessions on a worker, before and after a plan.
type WorkerLoad struct {
	WorkerID string
	Capacity int
	Before   int
	After    int
}

// RebalanceResult is a plan to even out the load, and the migrations it began.
type RebalanceResult struct {
	DryRun         bool
	BatchID        string // of the migrations; empty if none was begun
	Moves          []domain.PlannedMove
	RemainingMoves int          // moves left to the next rebalance, beyond BulkLimit
	Scans          int          // moves whose sessions need a scan on their new workers
	ScansIfForced  int          // the same for the plan with Force; only of a dry run
	Workers        []WorkerLoad // by id; only the workers of the plan
}

// BulkLimit bounds the sessions of a bulk action and the moves of a rebalance.
const BulkLimit = 1000

// BulkAction names an action on many sessions at once.
type BulkAction string

// The bulk actions.
const (
	BulkRestart    BulkAction = "restart"
	BulkDisconnect BulkAction = "disconnect"
	BulkMigrate    BulkAction = "migrate"
	BulkDelete     BulkAction = "delete"
)

// BulkRequest is an action on the listed sessions or, if none is listed, on those
// of the filter: at most BulkLimit.
type BulkRequest struct {
	Action         BulkAction
	SessionIDs     []string
	Filter         ports.SessionFilter // ignored if it is the zero value
	TargetWorkerID string              // of BulkMigrate; empty: any worker
	Reason         string              // of BulkMigrate
	Force          bool                // of BulkMigrate: also sessions that need a scan on their new workers
}

// BulkResult is the outcome for one session of a bulk action.
type BulkResult struct {
	SessionID string
	Err       error // nil: recorded, and carried out in the background
}

// AnalyticsPoint holds the figures of one step of time. Sent, Failed and Received are the messages that
// were created in the step, once their outcome is known. A message that failed is not among those sent.
type AnalyticsPoint struct {
	At                     time.Time           // begin of the step
	Fleet                  *domain.FleetSample // the last one of the step; nil: none was taken
	Sent, Failed, Received int
	Unforwarded            int // failed in the send queue; not among Failed
}

// Operations serves administrators beyond single workers and users: sessions of any owner, migrations, and whatever
// concerns the whole fleet.
type Operations interface {
	// ListSessions lists sessions of all users, newest first.
	ListSessions(ctx context.Context, f ports.SessionFilter, p ports.Page) ([]*SessionView, int, error)
	// DeleteSession deletes a session as its owner would.
	DeleteSession(ctx context.Context, sessionID string) error
	// Bulk returns one result for each session, in the order of the list. A migration that
	// costs scans is a Conflict unless it is forced; nothing is done then.
	Bulk(ctx context.Context, b BulkRequest) ([]BulkResult, error)
	// Migrate moves a session to another worker, or to the named target. The
	// migration may still wait for admission when Migrate returns. It is a Conflict if
	// the session needs a scan there, unless the options force it.
	Migrate(ctx context.Context, sessionID string, opt MigrateOptions) (*domain.Migration, error)
	// ListMigrations lists migrations and failovers, newest first.
	ListMigrations(ctx context.Context, f ports.MigrationFilter, p ports.Page) ([]*domain.Migration, int, error)
	// CancelMigrations cancels a migration, or all of a batch, that have not begun.
	// It returns the cancelled ones, and how many are under way.
	CancelMigrations(ctx context.Context, id string) (cancelled []*domain.Migration, running int, err error)
	// Rebalance moves sessions until workers are about equally full.
	Rebalance(ctx context.Context, opt RebalanceOptions) (*RebalanceResult, error)
	// Analytics returns the figures of all users in n steps of time, the last of which is the present
	// one. A step is a multiple of domain.AnalyticsStep, and steps are aligned to the Unix epoch.
	// Figures are kept for 31 days.
	Analytics(ctx context.Context, step time.Duration, n int) ([]AnalyticsPoint, error)
	// Export calls fn with pages of rows, and stops at its first error. Memory is
	// constant except for workers. The audit trail records the export before its first page.
	Export(ctx context.Context, r ExportRequest, fn func(ExportPage) error) error
}
