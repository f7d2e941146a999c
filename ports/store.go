package ports

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

// The errors of a store. They may come wrapped.
var (
	// ErrNotFound: there is no such row.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the row has changed since it was read. Read again and retry.
	ErrConflict = errors.New("row has changed")
	// ErrExists: a row with the same id, email, endpoint or other unique value exists.
	ErrExists = errors.New("exists already")
	// ErrFull: a conditional reservation found no room.
	ErrFull = errors.New("no room")
	// ErrReadOnly: a write inside View.
	ErrReadOnly = errors.New("write in a read-only transaction")
	// ErrNested: a transaction begun inside another on the same store.
	ErrNested = errors.New("transaction inside a transaction")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
)

// Store is the durable truth: one small unit of work over all repositories.
//
// View and Update run fn once or several times with a transaction that is good
// only inside fn; fn therefore touches nothing outside the Tx that it does not
// set anew on each run. The context given to fn is the one to pass to the
// repositories; passing it to View or Update gives [ErrNested]. An Update is
// atomic: it reads its own writes, it is durable when Update returns nil, and
// it leaves no trace when fn returns an error, which Update returns unchanged,
// or panics, which Update passes on. After an error of the engine itself, such as
// a connection that broke during the commit, it may have taken place or not. Updates that run at the same time may see
// what each other writes, which then comes to stay with theirs or not at all. A
// View sees one consistent state. An expired context makes both return its error
// without effect.
//
// Every row that can change carries a Rev. Put inserts a row whose Rev is 0
// (ErrExists if it is there) and otherwise replaces the row of the same Rev
// (ErrConflict if that is not the present one, or the row is gone); it sets the
// Rev of the value given to the new one. Rows come and go as copies: nothing is shared
// between caller and store. Times keep microseconds and come back in UTC.
type Store interface {
	View(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error
	Update(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error
	// Close waits for what is running and releases everything.
	Close() error
}

// Tx gives a transaction's repositories.
type Tx struct {
	Users                Users
	RefreshTokenFamilies RefreshTokenFamilies
	PasswordResets       PasswordResets
	APIKeys              APIKeys
	Sessions             Sessions
	Workers              Workers
	Cleanups             Cleanups
	Migrations           Migrations
	Messages             Messages
	LoadSamples          LoadSamples
	Outbox               Outbox
	Settings             Settings
	Replicas             Replicas
}

// Page selects a part of a list.
type Page struct {
	Offset int
	Limit  int // 0: no limit
}

// Users keeps accounts.
type Users interface {
	Get(ctx context.Context, id string) (*domain.User, error)
	ByEmail(ctx context.Context, email string) (*domain.User, error)
	// List gives the users whose fields match, newest first unless sorted
	// otherwise, and how many match in all.
	List(ctx context.Context, f UserFilter, p Page) ([]*domain.User, int, error)
	Put(ctx context.Context, u *domain.User) error
	Usage(ctx context.Context, id string) (domain.UserUsage, error)
	// Reserve adds to what the user has if the sums stay within max in every
	// field that grows; otherwise it returns ErrFull and changes nothing.
	// Negative numbers give back. A missing user is ErrNotFound. It does not
	// change Rev.
	Reserve(ctx context.Context, id string, add, max domain.UserUsage) error
}

// UserFilter selects users. Zero fields do not restrict.
type UserFilter struct {
	Search string // part of name or email, any case
	Tier   domain.Tier
	Role   domain.Role
	Active *bool
	Sort   string // "createdAt", "name", "email", "lastLoginAt"; default createdAt
	Asc    bool
}

// RefreshTokenFamilies keeps refresh-token families.
type RefreshTokenFamilies interface {
	Get(ctx context.Context, id string) (*domain.RefreshTokenFamily, error)
	Put(ctx context.Context, f *domain.RefreshTokenFamily) error
	// RevokeAll revokes every family of the user that is not revoked yet,
	// except the one named (which may be empty).
	RevokeAll(ctx context.Context, userID, except string, at time.Time) error
	// DeleteExpired removes families that expired before the time.
	DeleteExpired(ctx context.Context, before time.Time) error
}

// PasswordResets keeps one-use password resets.
type PasswordResets interface {
	// Put adds a reset and removes every earlier one of the same user.
	Put(ctx context.Context, r *domain.PasswordReset) error
	// Consume removes the reset with the hash and returns it, or ErrNotFound.
	Consume(ctx context.Context, hash [32]byte) (*domain.PasswordReset, error)
}

// APIKeys keeps API keys.
type APIKeys interface {
	Get(ctx context.Context, id string) (*domain.APIKey, error)
	ByHash(ctx context.Context, hash [32]byte) (*domain.APIKey, error)
	// ByUser gives the user's keys, newest first.
	ByUser(ctx context.Context, userID string) ([]*domain.APIKey, error)
	BySession(ctx context.Context, sessionID string) ([]*domain.APIKey, error)
	Put(ctx context.Context, k *domain.APIKey) error
	Delete(ctx context.Context, id string) error
}

// SessionFilter selects sessions. Zero fields do not restrict.
type SessionFilter struct {
	UserID   string
	WorkerID string
	Status   domain.Status
	Search   string // part of name or phone number, any case
}

// Sessions keeps sessions.
type Sessions interface {
	Get(ctx context.Context, id string) (*domain.Session, error)
	// Put also needs the user to exist, or gives ErrNotFound.
	Put(ctx context.Context, s *domain.Session) error
	// Delete removes the session with its keys and messages; rev must be the
	// present one, or ErrConflict. A missing session is ErrNotFound.
	Delete(ctx context.Context, id string, rev int64) error
	// List gives matching sessions, newest first, and how many match in all.
	List(ctx context.Context, f SessionFilter, p Page) ([]*domain.Session, int, error)
	// ListByWorker gives the sessions that hold a slot on the worker, by id.
	ListByWorker(ctx context.Context, workerID string) ([]*domain.Session, error)
	// EachAssigned calls fn with every session that holds a slot anywhere, in
	// no order, without holding them all in memory. fn may keep the value. It
	// stops at the first error, which it returns.
	EachAssigned(ctx context.Context, fn func(*domain.Session) error) error
	// Due gives sessions whose DueAt is set and not after the time, by DueAt.
	Due(ctx context.Context, at time.Time, limit int) ([]*domain.Session, error)
	// NextDue gives the earliest DueAt that is set, or the zero time.
	NextDue(ctx context.Context) (time.Time, error)
	// ClaimedBy gives the sessions that a replica has claimed, by id.
	ClaimedBy(ctx context.Context, replicaID string) ([]*domain.Session, error)
	// CountByStatus counts all sessions.
	CountByStatus(ctx context.Context) (map[domain.Status]int, error)
}

// WorkerFilter selects workers. Zero fields do not restrict.
type WorkerFilter struct {
	Status      domain.WorkerStatus
	Environment string // in any case
}

// Workers keeps the fleet.
type Workers interface {
	Get(ctx context.Context, id string) (*domain.Worker, error)
	ByEndpoint(ctx context.Context, endpoint string) (*domain.Worker, error)
	// List gives matching workers by id, and how many match in all.
	List(ctx context.Context, f WorkerFilter, p Page) ([]*domain.Worker, int, error)
	// Put does not write Used.
	Put(ctx context.Context, w *domain.Worker) error
	// Delete refuses with ErrConflict while slots are used.
	Delete(ctx context.Context, id string) error
	// Reserve takes a slot if the worker is online, neither draining nor Suspect,
	// and has one free; otherwise ErrFull. It does not change Rev.
	Reserve(ctx context.Context, id string) error
	// Release gives a slot back. A missing worker is no error.
	Release(ctx context.Context, id string) error
}

// Cleanups keeps what is left to do on workers for sessions that are not
// theirs any more. There is at most one for a worker and session.
type Cleanups interface {
	Put(ctx context.Context, c *domain.Cleanup) error
	// Due gives those whose DueAt is set and not after the time, earliest first.
	Due(ctx context.Context, at time.Time, limit int) ([]*domain.Cleanup, error)
	NextDue(ctx context.Context) (time.Time, error)
	ByWorker(ctx context.Context, workerID string) ([]*domain.Cleanup, error)
	BySession(ctx context.Context, sessionID string) ([]*domain.Cleanup, error)
	// Delete removes the one of the same worker, session and Rev. A missing one is
	// no error; one of another Rev is ErrConflict.
	Delete(ctx context.Context, c *domain.Cleanup) error
}

// MigrationFilter selects migrations. Zero fields do not restrict.
type MigrationFilter struct {
	SessionID string
	WorkerID  string // it came from there or went there
	BatchID   string
	Kind      domain.MigrationKind
	Status    domain.MigrationStatus
}

// Migrations keeps the history of sessions' moves between workers, and those
// that are under way or wait.
type Migrations interface {
	Get(ctx context.Context, id string) (*domain.Migration, error)
	Put(ctx context.Context, m *domain.Migration) error
	// List gives matching ones, newest first by CreatedAt, and how many match in all.
	List(ctx context.Context, f MigrationFilter, p Page) ([]*domain.Migration, int, error)
	// Open gives those that are PENDING or RUNNING, oldest first.
	Open(ctx context.Context) ([]*domain.Migration, error)
	// DeleteBefore removes those that ended before the time.
	DeleteBefore(ctx context.Context, before time.Time) error
}

// Messages keeps the history.
type Messages interface {
	// Put inserts or replaces like every Put; ErrExists also if the session has
	// an inbound message of the same WhatsApp id.
	Put(ctx context.Context, m *domain.Message) error
	Get(ctx context.Context, sessionID, id string) (*domain.Message, error)
	ByWhatsAppID(ctx context.Context, sessionID, whatsAppID string) (*domain.Message, error)
	// List gives matching messages of the session, newest first.
	List(ctx context.Context, sessionID string, f domain.MessageFilter) ([]*domain.Message, error)
	// CountSince counts the user's outbound messages from a time on, and gives
	// the time of the first of them.
	CountSince(ctx context.Context, userID string, since time.Time) (n int, first time.Time, err error)
	// PendingBefore gives messages that are PENDING and older than the time.
	PendingBefore(ctx context.Context, before time.Time, limit int) ([]*domain.Message, error)
	// Usage counts the messages of the user (of one session, if named) from a
	// time on, by bucket of the given length (aligned to the Unix epoch), session,
	// type, direction and failure.
	Usage(ctx context.Context, userID, sessionID string, since time.Time, bucket time.Duration) ([]MessageUsage, error)
}

// MessageUsage is one cell of [Messages.Usage].
type MessageUsage struct {
	Bucket    time.Time // its start
	SessionID string
	Type      domain.MessageType
	Direction domain.Direction
	Failed    bool
	Count     int
}

// LoadSamples keeps the load of workers over time.
type LoadSamples interface {
	// Append records samples; one of the same worker and time as another is dropped.
	Append(ctx context.Context, samples ...domain.LoadSample) error
	// Since gives a worker's samples from a time on, the oldest first.
	Since(ctx context.Context, workerID string, since time.Time) ([]domain.LoadSample, error)
	// DeleteBefore removes samples older than the time.
	DeleteBefore(ctx context.Context, before time.Time) error
}

// Outbox keeps the events in the order in which their transactions committed.
type Outbox interface {
	// Append records events in the surrounding transaction.
	Append(ctx context.Context, events ...domain.Event) error
	// After gives events with a Seq above the one given, in order of Seq.
	After(ctx context.Context, seq int64, limit int) ([]domain.Event, error)
	// Last gives the highest Seq so far, or 0.
	Last(ctx context.Context) (int64, error)
	// DeleteBefore removes events older than the time.
	DeleteBefore(ctx context.Context, before time.Time) error
}

// Settings keeps a few named values, such as generated secrets.
type Settings interface {
	Get(ctx context.Context, name string) (string, error)
	// Put sets the value, replacing an earlier one.
	Put(ctx context.Context, name, value string) error
	// PutIfAbsent sets the value if there is none and returns the one that stands.
	PutIfAbsent(ctx context.Context, name, value string) (string, error)
	// CompareAndSwap sets the value if it is still the old one, or if there is none and old is
	// empty; otherwise it returns ErrConflict and changes nothing.
	CompareAndSwap(ctx context.Context, name, old, value string) error
}

// Replicas keeps the processes of the control plane that work on the store.
type Replicas interface {
	// Put adds or replaces the row; each replica writes its own alone.
	Put(ctx context.Context, r *domain.Replica) error
	// List gives all, by id.
	List(ctx context.Context) ([]*domain.Replica, error)
	// Delete of a missing one is no error.
	Delete(ctx context.Context, id string) error
}
