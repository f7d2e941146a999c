package service

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

// RegisterResult answers a registration.
type RegisterResult struct {
	Worker    *domain.Worker
	Known     bool          // the worker had registered before
	Assigned  int           // sessions for it to recover
	Interval  time.Duration // between its heartbeats
	Lease     time.Duration // how long it may run without an accepted heartbeat, if it has that capability
	Breakdown domain.Breakdown
	Commands  []StopCommand // to be carried out before the worker starts anything
}

// StopCommand tells a worker to stop a session that it does not own, whether or
// not the session runs there. The worker never starts this generation or an older
// one of the session again.
type StopCommand struct {
	SessionID  string
	Generation int64
}

// HeartbeatResult answers a heartbeat.
type HeartbeatResult struct {
	Worker    *domain.Worker
	Processed int      // sessions in the list
	Synced    int      // listed sessions whose status or data changed here
	Skipped   int      // listed items that were not usable
	Warnings  []string // why, in a few words each; the first of them
	Stale     int      // silent workers, as this replica found at its latest check
	Breakdown domain.Breakdown
	Commands  []StopCommand
	Lease     time.Duration
}

// AssignedSession is a session with its owner, for a worker to recover.
type AssignedSession struct {
	*domain.Session
	UserEmail string
	UserTier  domain.Tier
}

// RecoveryStatus is the outcome of one session's recovery on a worker.
type RecoveryStatus string

// The recovery statuses. Workers never send IGNORED: it marks a session that is
// not assigned to the reporting worker.
const (
	RecoverySuccess RecoveryStatus = "SUCCESS"
	RecoveryFailed  RecoveryStatus = "FAILED"
	RecoverySkipped RecoveryStatus = "SKIPPED"
	RecoveryIgnored RecoveryStatus = "IGNORED"
)

// RecoveryResult is a worker's report on one session.
type RecoveryResult struct {
	SessionID string
	Status    RecoveryStatus
	Error     string
	At        time.Time
}

// RecoveryOutcome tells how one RecoveryResult was applied.
type RecoveryOutcome struct {
	SessionID string
	Status    RecoveryStatus
	Action    string // in a few words
	Error     string
	Updated   bool
}

// InboundMessage is a message that a worker received.
type InboundMessage struct {
	SessionID  string
	WorkerID   string // empty: the worker did not name itself
	WhatsAppID string
	From, To   string
	Type       domain.MessageType
	Content    string
	MediaURL   string
	Media      domain.MediaRef // zero: none
	Caption    string
	Filename   string
	Relations  domain.Relations // addresses and ids as the worker writes them
	At         time.Time
	Generation int64
}

// WorkerAccess decides for which workers a token speaks.
type WorkerAccess interface {
	// Authorize returns nil if the holder's token speaks for the worker, whose id is
	// normalised. [domain.WorkerTokens] has identified the holder. An own token speaks for
	// its own worker in its own epoch, the fleet token for every worker without an own
	// token. Otherwise the error is Unauthenticated or Forbidden. The end of an epoch takes
	// effect at once on every replica.
	Authorize(ctx context.Context, holder domain.TokenHolder, workerID string) error
}

// WorkerProtocol serves workers. Worker and session ids arrive as the worker
// writes them, and are normalised here.
type WorkerProtocol interface {
	// Register calls the worker's health route first.
	Register(ctx context.Context, r domain.Registration) (*RegisterResult, error)
	// Heartbeat renews the worker's lease when it returns without an error. An
	// unknown worker is NotFound, and has to register.
	Heartbeat(ctx context.Context, h domain.Heartbeat) (*HeartbeatResult, error)
	// AssignedSessions lists the sessions that a restarted worker has to recover.
	AssignedSessions(ctx context.Context, workerID string) ([]AssignedSession, error)
	// ReportRecovery returns one outcome for each result, in the order of the list.
	ReportRecovery(ctx context.Context, workerID string, results []RecoveryResult) ([]RecoveryOutcome, error)
	// ReportPreserved records that the worker goes down and keeps credentials. It
	// returns how many of the sessions are assigned to the worker.
	ReportPreserved(ctx context.Context, workerID string, sessionIDs []string) (int, error)
	// Unregister marks the worker as left and returns its status. Repeating it is no error.
	// A worker that runs at another endpoint by now stays registered. An empty endpoint is
	// not compared.
	Unregister(ctx context.Context, workerID, endpoint string) (domain.WorkerStatus, error)
	// ReportSession applies a worker's report on a session. A stale report, or one of
	// a worker that does not own the session, is refused; the outcome says so.
	ReportSession(ctx context.Context, r domain.Report) (domain.Outcome, error)
	// ReportMessage applies no report that would take a message's status back.
	ReportMessage(ctx context.Context, r domain.MessageReport) (applied bool, err error)
	// ReceiveMessage stores a message once, however often it is reported.
	ReceiveMessage(ctx context.Context, m InboundMessage) (stored bool, err error)
}
