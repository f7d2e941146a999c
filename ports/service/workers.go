package service

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// WorkerView is a worker with the sessions that run on it, counted by status.
type WorkerView struct {
	*domain.Worker
	Breakdown domain.Breakdown
	Warning   string                  // why its latest probe failed, while its heartbeats arrive
	Drain     *DrainProgress          // set by Get alone, while the worker is draining
	Foreign   []domain.ForeignSession // set by Get alone; by id
}

// DrainProgress counts how many sessions of a worker have moved since its drain
// began.
type DrainProgress struct {
	BatchID   string // of the migrations
	Total     int    // sessions to move; less if some were taken down meanwhile
	Remaining int    // sessions still assigned to the worker
	Moving    int    // migrations under way, started or not
	Moved     int
	NeedsScan int // moved, and wait for a scan
	Failed    int // did not come up on another worker
}

// WorkerChange lists what an administrator may change of a worker. Nil fields stay.
type WorkerChange struct {
	Capacity    *int
	Description *string
	Version     *string
	Environment *string
	Labels      map[string]string
	Failover    *domain.FailoverPolicy
}

// DrainOptions refines a drain.
type DrainOptions struct {
	Force bool // also move linked sessions that need a scan elsewhere
}

// RemoveOptions refines the removal of a worker.
type RemoveOptions struct {
	Force     bool // also move linked sessions that need a scan elsewhere, and disconnect those that fit nowhere
	Destroyed bool // the worker's disk is gone, and all wipes there count as confirmed; needs Force
}

// StopForeignOptions refines the stop of a foreign session.
type StopForeignOptions struct {
	Wipe bool // delete its credentials too
}

// ProbeReport is the result of calling a worker's health route.
type ProbeReport struct {
	WorkerID  string
	Endpoint  string
	Reachable bool
	Error     string // in plain words
	Took      time.Duration
	At        time.Time
}

// ProbeStatus is the state of the background probes, which replicas share.
type ProbeStatus struct {
	Running   bool
	Interval  time.Duration // between probes of one worker
	LastCheck time.Time     // the last probe of this replica; zero: none yet
	Workers   int           // in the fleet
}

// FleetStatistics sums up workers and sessions.
type FleetStatistics struct {
	Online, Offline, Maintenance int
	Capacity, Used               int
	CPU, Memory                  float64 // average of the known values, percent
	Sessions                     map[domain.Status]int
}

// Workers serves administrators of the fleet. Breakdowns and warnings show the
// view of the replica that answers; the rest is the same on all replicas.
type Workers interface {
	// Add calls the worker's health route first. An id or endpoint of another worker
	// is a Conflict.
	Add(ctx context.Context, r domain.Registration) (*WorkerView, error)
	Get(ctx context.Context, id string) (*WorkerView, []*domain.Session, error)
	// LoadSamples returns the recorded load of a worker since a time, the oldest first.
	LoadSamples(ctx context.Context, id string, since time.Time) ([]domain.LoadSample, error)
	// List returns workers by id, and how many match in all.
	List(ctx context.Context, f ports.WorkerFilter, p ports.Page) ([]*WorkerView, int, error)
	Update(ctx context.Context, id string, ch WorkerChange) (*WorkerView, error)
	// Remove moves the worker's sessions to others first. It is a Conflict for the same sessions
	// as Drain. Wipes that the worker has not confirmed wait for its return, and keep the ids of
	// deleted sessions taken. With Destroyed they end. A worker that was removed before can be
	// removed again with Destroyed.
	Remove(ctx context.Context, id string, opt RemoveOptions) error
	// Drain takes the worker out of placement. Its sessions move in the background. It is
	// a Conflict if linked sessions would need a scan elsewhere, unless the options force it.
	Drain(ctx context.Context, id string, opt DrainOptions) (*WorkerView, error)
	// StopForeign stops a foreign session on a worker, and wipes it if the options say so. A
	// session that the store knows and that is not foreign on the worker is a Conflict.
	StopForeign(ctx context.Context, id, sessionID string, opt StopForeignOptions) error
	// Activate puts the worker back into placement if its health route answers.
	Activate(ctx context.Context, id string) (*WorkerView, error)
	Statistics(ctx context.Context) (*FleetStatistics, error)
	// ExplainPlacement tells which worker the next session would get, and why.
	ExplainPlacement(ctx context.Context) (chosen string, all []domain.Candidate, err error)
	// TestEndpoint calls the health route of an endpoint from this replica. A worker
	// that does not answer is a report, not an error; so for Test and ProbeAll.
	TestEndpoint(ctx context.Context, endpoint string) (*ProbeReport, error)
	Test(ctx context.Context, id string) (*ProbeReport, error)
	ProbeAll(ctx context.Context) ([]ProbeReport, error)
	ProbeStatus(ctx context.Context) ProbeStatus
	// StartProbes starts the background probes on all replicas, within seconds.
	StartProbes(ctx context.Context) (ProbeStatus, error)
	// StopProbes stops the background probes on all replicas, within seconds.
	StopProbes(ctx context.Context) (ProbeStatus, error)
}
