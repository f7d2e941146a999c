package ports

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

// The interfaces of this file are what the core offers: inbound adapters call
// them, package app/orchestrator and app/accounts implement them. Every error is a
// *domain.Error or the context's. Whatever belongs to someone else is reported
// as not found. All of it may be called at the same time, on any replica. What one
// replica records holds on all; of API keys, sign-ins and tiers another may go by
// what it has read within the last second.

// Profile is what a user may change of an account. Nil fields stay.
type Profile struct {
	Name            *string
	Email           *string
	CurrentPassword string
	NewPassword     string // empty: stays
}

// UserChange is what an administrator may change of a user. Nil fields stay.
type UserChange struct {
	Name   *string
	Tier   *domain.Tier
	Role   *domain.Role
	Active *bool
}

// SignedIn is the answer to a successful sign-in.
type SignedIn struct {
	User         *domain.User
	Token        string // access token
	RefreshToken string
	ExpiresIn    time.Duration // of the access token
}

// Caller is who makes a request, once that is established.
type Caller struct {
	UserID   string
	Role     domain.Role
	SignInID string
}

// UserSummary is a user with what it has.
type UserSummary struct {
	*domain.User
	domain.UserUsage
}

// AccountUseCases are the use cases of people: signing in and managing an account.
// Whatever changes a password, role or activity ends the user's access tokens.
type AccountUseCases interface {
	// Register makes a user and signs it in. An email that is taken is a Conflict.
	Register(ctx context.Context, name, email, password string) (*SignedIn, error)
	// Login takes the same time whether or not the email exists. Too many that
	// fail, by email and ip, are Exceeded.
	Login(ctx context.Context, email, password, ip string) (*SignedIn, error)
	// Refresh gives new tokens for the newest refresh token of a sign-in; an older
	// one ends the sign-in.
	Refresh(ctx context.Context, refreshToken string) (*SignedIn, error)
	// Logout ends the caller's sign-in. Repeating it is no error.
	Logout(ctx context.Context, c Caller) error
	// Authenticate checks an access token, including that nothing has revoked it.
	Authenticate(ctx context.Context, token string) (Caller, error)
	User(ctx context.Context, userID string) (*UserSummary, error)
	// UpdateProfile changes what is given, all or nothing; a new password needs the
	// current one.
	UpdateProfile(ctx context.Context, c Caller, p Profile) (*domain.User, error)
	// ChangePassword ends every other sign-in of the caller.
	ChangePassword(ctx context.Context, c Caller, current, next string) error
	// ForgotPassword mails a token in the background. It answers any email alike.
	ForgotPassword(ctx context.Context, email string) error
	// ResetPassword sets a password by such a token, which is good once, and ends
	// every sign-in of the user.
	ResetPassword(ctx context.Context, token, next string) error
	// Deactivate ends the account; its sessions go down.
	Deactivate(ctx context.Context, c Caller, password string) error
	// Users and UpdateUser are for administrators. Users also gives how many match
	// in all.
	Users(ctx context.Context, f UserFilter, p Page) ([]*UserSummary, int, error)
	UpdateUser(ctx context.Context, userID string, ch UserChange) (*UserSummary, error)
}

// NewSession is what a user says of a session to be created.
type NewSession struct {
	ID          string // empty: derived from the name
	Name        string
	Description string
}

// CreatedSession is a new session with its API key, which is shown this once.
type CreatedSession struct {
	*domain.Session
	APIKey string
}

// SessionView is a session with its worker, as a user sees them.
type SessionView struct {
	*domain.Session
	Worker *domain.Worker // nil: not assigned
}

// SessionQR is what there is to scan or type. QR is zero and PairingCode empty
// when there is none now.
type SessionQR struct {
	SessionID   string
	Status      domain.Status
	WorkerID    string
	QR          domain.QR
	PairingCode string
}

// ConnectOptions refine a connect. The zero value asks for a QR and does not wait.
type ConnectOptions struct {
	PairingPhone string        // asks for a pairing code
	Wait         time.Duration // for a QR, a pairing code or a connection
}

// KeyView is an API key with the session it belongs to.
type KeyView struct {
	*domain.APIKey
	Session *domain.Session
}

// TierView is what a user's tier allows and how much of it is used.
type TierView struct {
	Tier     domain.Tier
	Limits   domain.Limits
	Sessions int
	Messages int // this hour
	APICalls int // this hour
}

// SessionUseCases are the use cases of a session's owner.
//
// Connect, Disconnect, Logout, Restart and DeleteSession record what is wanted and
// try to carry it out before they return. Once it is recorded the background
// work goes on with it, also after a crash, and whether or not the caller waits.
type SessionUseCases interface {
	// CreateSession makes a session card and its API key; nothing is started. More
	// than the tier allows are a Conflict (SESSION_LIMIT_EXCEEDED).
	CreateSession(ctx context.Context, userID string, n NewSession) (*CreatedSession, error)
	Session(ctx context.Context, userID, sessionID string) (*SessionView, error)
	// Sessions lists the newest first, and gives how many match in all.
	Sessions(ctx context.Context, userID string, f SessionFilter, p Page) ([]*SessionView, int, error)
	// Connect places the session and has it started. Without a worker that takes it
	// nothing is recorded, and the error (NO_AVAILABLE_WORKERS and others) says why.
	Connect(ctx context.Context, userID, sessionID string, o ConnectOptions) (*SessionQR, error)
	QR(ctx context.Context, userID, sessionID string) (*SessionQR, error)
	// Disconnect keeps the session's credentials. One that is down already is no error.
	Disconnect(ctx context.Context, userID, sessionID string) (*SessionView, error)
	// Logout unlinks the phone too.
	Logout(ctx context.Context, userID, sessionID string) (*SessionView, error)
	// Restart is for a session that is wanted up; another is a Conflict.
	Restart(ctx context.Context, userID, sessionID string) (*SessionView, error)
	DeleteSession(ctx context.Context, userID, sessionID string) error

	// Keys lists those that are good, newest first.
	Keys(ctx context.Context, userID string) ([]*KeyView, error)
	// RotateKey returns a new key; the old ones end after the grace.
	RotateKey(ctx context.Context, userID, sessionID string, grace time.Duration) (string, error)
	RevokeKey(ctx context.Context, userID, keyID string) error

	Tier(ctx context.Context, userID string) (*TierView, error)
	// Usage counts as [Messages.Usage] does.
	Usage(ctx context.Context, userID, sessionID string, since time.Time, bucket time.Duration) ([]MessageUsage, error)
}

// KeyHolder is who sends with an API key, or a user sending through a session
// of its own.
type KeyHolder struct {
	KeyID     string // empty: a user with an access token
	UserID    string
	SessionID string
}

// MessageUseCases are the use cases of sending and of the history.
type MessageUseCases interface {
	// AuthenticateKey checks an API key and counts the call; the usage is given
	// also when the limit is used up (API_LIMIT_EXCEEDED).
	AuthenticateKey(ctx context.Context, key string) (KeyHolder, domain.Usage, error)
	// Send records the message and forwards it once. The message returned is
	// PENDING together with a WORKER_TIMEOUT error if the outcome is unknown.
	Send(ctx context.Context, h KeyHolder, m *domain.Outgoing) (*domain.Message, error)
	// Act does something to a message or in a chat.
	Act(ctx context.Context, h KeyHolder, a domain.Action) error
	// History gives the newest first; next is zero on the last page.
	History(ctx context.Context, userID, sessionID string, f domain.MessageFilter) (messages []*domain.Message, next domain.Cursor, err error)
	// Message finds a message by our id or WhatsApp's.
	Message(ctx context.Context, userID, sessionID, messageID string) (*domain.Message, error)
}

// Registered answers a registration.
type Registered struct {
	Worker    *domain.Worker
	Known     bool          // it had registered before
	Assigned  int           // sessions that are its to recover
	Interval  time.Duration // between its heartbeats
	Lease     time.Duration // how long it may run without an accepted one, if it has that capability
	Breakdown domain.Breakdown
	Commands  []Command // to be carried out before anything is started
}

// Command tells a worker to stop a session that is not its own, whether or not
// it runs there: this generation and older ones are never to be started there again.
type Command struct {
	SessionID  string
	Generation int64
}

// HeartbeatAnswer answers a heartbeat.
type HeartbeatAnswer struct {
	Worker    *domain.Worker
	Processed int // sessions listed
	Synced    int // of them, those whose status or data changed here
	Stale     int // workers that this replica has just found silent
	Breakdown domain.Breakdown
	Commands  []Command
	Lease     time.Duration
}

// AssignedSession is a session together with its owner, for a worker to recover.
type AssignedSession struct {
	*domain.Session
	UserEmail string
	UserTier  domain.Tier
}

// RecoveryStatus is what became of one session that a worker tried to recover.
type RecoveryStatus string

// The recovery statuses. IGNORED is ours: the session is not that worker's.
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

// RecoveryOutcome is what was made of one RecoveryResult.
type RecoveryOutcome struct {
	SessionID string
	Status    RecoveryStatus
	Action    string // what was done, in a few words
	Error     string
	Updated   bool
}

// InboundMessage is a message that a worker received.
type InboundMessage struct {
	SessionID  string
	WorkerID   string // empty: the worker did not say who it is
	WhatsAppID string
	From, To   string
	Type       domain.MessageType
	Content    string
	MediaURL   string
	Caption    string
	At         time.Time
	Generation int64
}

// WorkerProtocol are the use cases of workers. Worker and session ids arrive
// as the worker writes them and are normalised here.
type WorkerProtocol interface {
	// RegisterWorker calls the worker's health route first.
	RegisterWorker(ctx context.Context, r domain.Registration) (*Registered, error)
	// Heartbeat renews the worker's lease when it returns without an error. A worker
	// that is not known is NotFound, and has to register.
	Heartbeat(ctx context.Context, h domain.Heartbeat) (*HeartbeatAnswer, error)
	// AssignedSessions lists what a restarted worker has to recover.
	AssignedSessions(ctx context.Context, workerID string) ([]AssignedSession, error)
	// Recovered gives one outcome for each result, in the order given.
	Recovered(ctx context.Context, workerID string, results []RecoveryResult) ([]RecoveryOutcome, error)
	// Preserved notes that the worker goes down and keeps credentials, and gives how
	// many of the sessions are its own.
	Preserved(ctx context.Context, workerID string, sessionIDs []string) (int, error)
	// UnregisterWorker finds the worker by id or, without one, by endpoint.
	// Repeating it is no error. The status given is what the worker is then: one that
	// runs at another endpoint than this is left alone.
	UnregisterWorker(ctx context.Context, workerID, endpoint string) (domain.WorkerStatus, error)
	// SessionReport applies a worker's word on a session. One that is refused, since
	// it is stale or not the owner's, is no error; the outcome says so.
	SessionReport(ctx context.Context, r domain.Report) (domain.Outcome, error)
	// MessageReport applies nothing that would take a message back.
	MessageReport(ctx context.Context, r domain.MessageReport) (applied bool, err error)
	// MessageReceived stores a message once, however often it is reported.
	MessageReceived(ctx context.Context, m InboundMessage) (stored bool, err error)
}

// WorkerView is a worker with what runs on it.
type WorkerView struct {
	*domain.Worker
	Breakdown domain.Breakdown
	Warning   string         // why its latest probe failed, while its heartbeats arrive
	Drain     *DrainProgress // only when a single worker was asked for, and it is draining
}

// WorkerChange is what an administrator may change of a worker. Nil fields stay.
type WorkerChange struct {
	Capacity    *int
	Description *string
	Version     *string
	Environment *string
	Labels      map[string]string
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

// FleetStatistics sums up workers and sessions.
type FleetStatistics struct {
	Online, Offline, Maintenance int
	Capacity, Used               int
	CPU, Memory                  float64 // average of those known, percent
	Sessions                     map[domain.Status]int
}

// MonitorStatus is the state of the background health monitor, which replicas
// share.
type MonitorStatus struct {
	Running   bool
	Interval  time.Duration // between probes of one worker
	LastCheck time.Time     // when this replica last probed; zero: not yet
	Workers   int           // in the fleet
}

// FleetUseCases are an administrator's use cases on workers. Breakdowns and
// warnings are as the replica that is asked sees the fleet; the rest is everybody's.
type FleetUseCases interface {
	// AddWorker calls the worker's health route first. An id or endpoint that another
	// has is a Conflict.
	AddWorker(ctx context.Context, r domain.Registration) (*WorkerView, error)
	Worker(ctx context.Context, id string) (*WorkerView, []*domain.Session, error)
	// WorkerLoad gives the recorded load of a worker from a time on, the oldest first.
	WorkerLoad(ctx context.Context, id string, since time.Time) ([]domain.LoadSample, error)
	// ListWorkers lists them by id, and gives how many match in all.
	ListWorkers(ctx context.Context, f WorkerFilter, p Page) ([]*WorkerView, int, error)
	UpdateWorker(ctx context.Context, id string, ch WorkerChange) (*WorkerView, error)
	// RemoveWorker moves its sessions elsewhere first; force disconnects those
	// that cannot move.
	RemoveWorker(ctx context.Context, id string, force bool) error
	// Drain takes the worker out of placement; its sessions move in the background.
	Drain(ctx context.Context, id string) (*WorkerView, error)
	// Activate puts it back into placement, if its health route answers.
	Activate(ctx context.Context, id string) (*WorkerView, error)
	Statistics(ctx context.Context) (*FleetStatistics, error)
	// Available explains which worker the next session would get.
	Available(ctx context.Context) (chosen string, all []domain.Candidate, err error)
	// TestEndpoint, TestWorker and ProbeAll call health routes now, from this
	// replica. That one does not answer is a report, not an error.
	TestEndpoint(ctx context.Context, endpoint string) (*ProbeReport, error)
	TestWorker(ctx context.Context, id string) (*ProbeReport, error)
	ProbeAll(ctx context.Context) ([]ProbeReport, error)
	Monitor(ctx context.Context) MonitorStatus
	// SetMonitor starts or stops the probes on all replicas, within seconds.
	SetMonitor(ctx context.Context, running bool) (MonitorStatus, error)
}

// DrainProgress is how far a worker's sessions have moved elsewhere since its
// drain began.
type DrainProgress struct {
	BatchID   string // of the moves
	Total     int    // sessions to move; less if some were taken down meanwhile
	Remaining int    // sessions still there
	Moving    int    // on their way, whether or not they have left
	Moved     int
	Failed    int // did not come up again elsewhere
}

// WorkerLoad is how full a worker is, before and after a plan.
type WorkerLoad struct {
	WorkerID string
	Capacity int
	Before   int // sessions
	After    int
}

// Rebalance is a plan to even the load out, and what became of it.
type Rebalance struct {
	DryRun  bool
	BatchID string // of the moves; empty if none was begun
	Moves   []domain.PlannedMove
	Left    int          // further moves that the plan would need; they are left to the next one
	Workers []WorkerLoad // by id; those that the plan is about
}

// BulkLimit bounds how many sessions a bulk action, and how many moves a
// rebalance, may have.
const BulkLimit = 1000

// BulkAction is what can be done to many sessions at once.
type BulkAction string

// The bulk actions.
const (
	BulkRestart    BulkAction = "restart"
	BulkDisconnect BulkAction = "disconnect"
	BulkMigrate    BulkAction = "migrate"
	BulkDelete     BulkAction = "delete"
)

// Bulk is an action and the sessions that it is for: those listed or, if none
// is, those of the filter. There may be at most BulkLimit.
type Bulk struct {
	Action         BulkAction
	SessionIDs     []string
	Filter         SessionFilter // not the zero value, if it counts
	TargetWorkerID string        // of BulkMigrate; empty: anywhere
	Reason         string        // of BulkMigrate
}

// BulkResult says what became of one session of a bulk action.
type BulkResult struct {
	SessionID string
	Err       error // nil: it is recorded, and carried out in the background
}

// OperatorUseCases are what administrators do to sessions, whoever owns them.
type OperatorUseCases interface {
	// AllSessions lists sessions of all users, newest first.
	AllSessions(ctx context.Context, f SessionFilter, p Page) ([]*SessionView, int, error)
	// RemoveSession deletes a session as its owner would.
	RemoveSession(ctx context.Context, sessionID string) error
	// BulkSessions gives one result for each session, in the order of the list.
	BulkSessions(ctx context.Context, b Bulk) ([]BulkResult, error)
	// Migrate moves a session to another worker, to the target if one is named.
	// The migration returned may have to wait for its turn.
	Migrate(ctx context.Context, sessionID, targetWorkerID, reason string) (*domain.Migration, error)
	// Migrations lists moves and failovers, newest first.
	Migrations(ctx context.Context, f MigrationFilter, p Page) ([]*domain.Migration, int, error)
	// CancelMigrations cancels a migration, or all of a batch, as far as they have
	// not begun. It gives those that were cancelled, and how many are under way.
	CancelMigrations(ctx context.Context, id string) (cancelled []*domain.Migration, running int, err error)
	// Rebalance moves sessions so that workers are about equally full.
	Rebalance(ctx context.Context, dryRun bool) (*Rebalance, error)
}
