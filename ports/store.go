package ports

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

// The errors of a store. They may arrive wrapped.
var (
	// ErrNotFound reports that the row does not exist.
	ErrNotFound = errors.New("not found")
	// ErrConflict reports that the row has changed since it was read. Read it again and retry.
	ErrConflict = errors.New("row has changed")
	// ErrExists reports that a row with the same id, email, endpoint or other unique value exists.
	ErrExists = errors.New("exists already")
	// ErrFull reports that a conditional reservation found no free capacity.
	ErrFull = errors.New("no room")
	// ErrReadOnly reports a write inside View.
	ErrReadOnly = errors.New("write in a read-only transaction")
	// ErrNested reports a transaction that begins inside another one on the same store.
	ErrNested = errors.New("transaction inside a transaction")
	// ErrClosed reports that the store is closed.
	ErrClosed = errors.New("store is closed")
)

// Store is the durable truth: transactions over all repositories.
//
// View and Update run fn once or several times, with a Tx that is valid only inside fn. On each run fn
// must set anew everything that it changes outside the Tx. fn passes its own context to the
// repositories. A View or Update with that context returns [ErrNested].
//
// An Update reads its own writes and is durable when Update returns nil. If fn returns an error, the
// Update leaves no trace and returns the same error. If fn panics, the Update leaves no trace and the
// panic continues. After an error of the engine, such as a broken connection during the commit, the
// Update may or may not have taken place.
//
// Concurrent Updates may see each other's writes before the commit. Such Updates then commit together
// or not at all. A View sees one consistent state. An expired context ends View and Update with its
// error and without effect.
//
// A View that may read many rows has a context of [ForLongRead]. It does not delay other Views.
//
// Every row that can change carries a Rev. Put inserts a row whose Rev is 0, and returns [ErrExists] if
// the row is present. With another Rev, Put replaces the row of the same Rev, and returns [ErrConflict]
// if the present Rev differs or the row is gone. Put sets the Rev of the given value to the new one.
//
// Rows are copied in and out: caller and store share no memory. Times are kept to the microsecond and
// returned in UTC.
type Store interface {
	View(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error
	Update(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error
	// Close waits for running transactions and releases all resources.
	Close() error
}

// Tx holds the repositories of one transaction.
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
	IdempotencyKeys      IdempotencyKeys
	LoadSamples          LoadSamples
	Usage                Usage
	Analytics            Analytics
	Outbox               Outbox
	Settings             Settings
	Replicas             Replicas
	Audit                Audit
	Webhooks             Webhooks
	Deliveries           Deliveries
	SendQueues           SendQueues
	QueuedMessages       QueuedMessages
}

// Page selects a part of a list.
type Page struct {
	Offset int
	Limit  int // 0: no limit
}

// Range selects rows by CreatedAt and then ID, the latest first. Zero fields do not restrict.
type Range struct {
	Since, Until time.Time     // Until itself is not in the range
	After        domain.Cursor // only rows older than the cursor
	Limit        int
}

// Users stores accounts.
type Users interface {
	Get(ctx context.Context, id string) (*domain.User, error)
	ByEmail(ctx context.Context, email string) (*domain.User, error)
	// List returns the matching users, newest first unless sorted otherwise, and the number of matches
	// on all pages.
	List(ctx context.Context, f UserFilter, p Page) ([]*domain.User, int, error)
	// ListRange returns the users of a range.
	ListRange(ctx context.Context, r Range) ([]*domain.User, error)
	Put(ctx context.Context, u *domain.User) error
	// Usage returns the counts that Reserve maintains.
	Usage(ctx context.Context, id string) (domain.UserUsage, error)
	// Reserve adds to the usage of a user if every growing field stays within max. Otherwise it returns
	// [ErrFull] and changes nothing. Negative numbers release. A missing user is [ErrNotFound]. Rev
	// stays the same.
	Reserve(ctx context.Context, id string, add, max domain.UserUsage) error
	// UnscannedRuns returns the count that CountUnscannedRun maintains.
	UnscannedRuns(ctx context.Context, id string) (domain.UnscannedRuns, error)
	// CountUnscannedRun adds one run to the unscanned runs of a user, up to [domain.MaxUnscannedRuns], and
	// sets EndedAt to ended. A run that began before EndedAt changes nothing, and neither does a missing
	// user. Rev stays the same.
	CountUnscannedRun(ctx context.Context, id string, began, ended time.Time) error
	// ResetUnscannedRuns sets the unscanned runs of a user to the zero value. A missing user is no error.
	// Rev stays the same.
	ResetUnscannedRuns(ctx context.Context, id string) error
}

// UserFilter selects users. Zero fields do not restrict.
type UserFilter struct {
	Search string // part of name or email, in any case
	Tier   domain.Tier
	Role   domain.Role
	Active *bool
	Sort   string // "createdAt", "name", "email", "lastLoginAt"; default createdAt
	Asc    bool
}

// RefreshTokenFamilies stores the refresh-token families of logins.
type RefreshTokenFamilies interface {
	Get(ctx context.Context, id string) (*domain.RefreshTokenFamily, error)
	// ByUser returns the user's families, revoked ones too, by LastUsedAt and then ID, the latest first.
	ByUser(ctx context.Context, userID string) ([]*domain.RefreshTokenFamily, error)
	// Delete removes the family. A missing one is no error.
	Delete(ctx context.Context, id string) error
	Put(ctx context.Context, f *domain.RefreshTokenFamily) error
	// RevokeAll revokes every family of the user that is not revoked yet, except the named one. except
	// may be empty.
	RevokeAll(ctx context.Context, userID, except string, at time.Time) error
	// DeleteExpired removes the families that expired before the time.
	DeleteExpired(ctx context.Context, before time.Time) error
}

// PasswordResets stores password resets, each for one use.
type PasswordResets interface {
	// Put adds a reset, or replaces the reset with the same hash.
	Put(ctx context.Context, r *domain.PasswordReset) error
	// ByUser returns the resets of a user, the last to expire first.
	ByUser(ctx context.Context, userID string) ([]*domain.PasswordReset, error)
	// Get returns the reset with the hash, or [ErrNotFound].
	Get(ctx context.Context, hash [32]byte) (*domain.PasswordReset, error)
	// Consume removes the reset with the hash and returns it, or [ErrNotFound].
	Consume(ctx context.Context, hash [32]byte) (*domain.PasswordReset, error)
}

// APIKeys stores API keys.
type APIKeys interface {
	Get(ctx context.Context, id string) (*domain.APIKey, error)
	ByHash(ctx context.Context, hash [32]byte) (*domain.APIKey, error)
	// ByUser returns the user's keys, newest first.
	ByUser(ctx context.Context, userID string) ([]*domain.APIKey, error)
	BySession(ctx context.Context, sessionID string) ([]*domain.APIKey, error)
	Put(ctx context.Context, k *domain.APIKey) error
	Delete(ctx context.Context, id string) error
	// DeleteEnded removes the keys that expired or were revoked before the time.
	DeleteEnded(ctx context.Context, before time.Time) error
}

// SessionFilter selects sessions. Zero fields do not restrict.
type SessionFilter struct {
	UserID   string
	WorkerID string
	Status   domain.Status
	Search   string // part of name or phone number, in any case

	AwaitsScan      bool      // see domain.Session.AwaitsScan
	ConnectedFrom   string    // a client network
	QRExpiredBefore time.Time // selects sessions that have shown a QR code that expired before this time
}

// Sessions stores sessions.
type Sessions interface {
	Get(ctx context.Context, id string) (*domain.Session, error)
	// Put returns [ErrNotFound] if the user does not exist.
	Put(ctx context.Context, s *domain.Session) error
	// Delete removes the session with its API keys, messages, idempotency keys, webhooks and send queue, and keeps its generation as a
	// tombstone.
	// It returns [ErrConflict] if rev is not the present Rev, and [ErrNotFound] if the session is missing.
	Delete(ctx context.Context, id string, rev int64) error
	// LastGeneration returns the highest generation of the deleted sessions with the id. known is false
	// if none of them was ever assigned.
	LastGeneration(ctx context.Context, id string) (generation int64, known bool, err error)
	// List returns the matching sessions, newest first, and the number of matches on all pages.
	List(ctx context.Context, f SessionFilter, p Page) ([]*domain.Session, int, error)
	// ListRange returns the sessions of a range.
	ListRange(ctx context.Context, r Range) ([]*domain.Session, error)
	// ListByWorker returns the sessions that hold a slot on the worker, by id.
	ListByWorker(ctx context.Context, workerID string) ([]*domain.Session, error)
	// EachAssigned calls fn with every session that holds a slot, in no order. It does not load all of
	// them into memory at once. fn may keep the value. EachAssigned stops at the first error of fn and
	// returns it.
	EachAssigned(ctx context.Context, fn func(*domain.Session) error) error
	// Due returns sessions whose DueAt is set and not after the time, by DueAt.
	Due(ctx context.Context, at time.Time, limit int) ([]*domain.Session, error)
	// NextDue returns the earliest DueAt that is set, or the zero time.
	NextDue(ctx context.Context) (time.Time, error)
	// ClaimedBy returns the sessions that the replica has claimed, by id.
	ClaimedBy(ctx context.Context, replicaID string) ([]*domain.Session, error)
	// CountByStatus returns the number of sessions in each status.
	CountByStatus(ctx context.Context) (map[domain.Status]int, error)
}

// WorkerFilter selects workers. Zero fields do not restrict.
type WorkerFilter struct {
	Status      domain.WorkerStatus
	Environment string // in any case
	StateGroup  string
}

// Workers stores the fleet.
type Workers interface {
	Get(ctx context.Context, id string) (*domain.Worker, error)
	// ByEndpoint returns the worker with the endpoint in the same spelling.
	ByEndpoint(ctx context.Context, endpoint string) (*domain.Worker, error)
	// List returns the matching workers by id, and the number of matches on all pages.
	List(ctx context.Context, f WorkerFilter, p Page) ([]*domain.Worker, int, error)
	// Put stores every field but Used. It returns [ErrExists] if another worker has the endpoint in any
	// spelling, see [domain.EndpointKey].
	Put(ctx context.Context, w *domain.Worker) error
	// Delete removes the worker. It returns [ErrConflict] while slots are used.
	Delete(ctx context.Context, id string) error
	// Reserve adds a used slot if the worker is online, neither draining nor suspect, and has a free
	// slot. Otherwise it returns [ErrFull]. Rev stays the same.
	Reserve(ctx context.Context, id string) error
	// Release removes a used slot. A missing worker is no error.
	Release(ctx context.Context, id string) error
}

// Cleanups stores which workers were given which sessions, and the stops and wipes that are still due
// there. Each worker, session and state group has at most one row. The rows outlive worker and session.
type Cleanups interface {
	Put(ctx context.Context, c *domain.Cleanup) error
	// Due returns cleanups whose DueAt is set and not after the time, earliest first.
	Due(ctx context.Context, at time.Time, limit int) ([]*domain.Cleanup, error)
	// NextDue returns the earliest DueAt that is set, or the zero time.
	NextDue(ctx context.Context) (time.Time, error)
	ByWorker(ctx context.Context, workerID string) ([]*domain.Cleanup, error)
	BySession(ctx context.Context, sessionID string) ([]*domain.Cleanup, error)
	// ByEndpoint returns the cleanups of removed workers with the endpoint. The empty endpoint has none.
	ByEndpoint(ctx context.Context, endpoint string) ([]*domain.Cleanup, error)
	// WipesByGroup returns the wipes whose StateGroup is the group, by worker and session. The empty
	// group has none.
	WipesByGroup(ctx context.Context, group string) ([]*domain.Cleanup, error)
	// Delete removes the cleanup with the same worker, session, state group and Rev. A missing cleanup is no error.
	// A cleanup of another Rev is [ErrConflict].
	Delete(ctx context.Context, c *domain.Cleanup) error
}

// MigrationFilter selects migrations. Zero fields do not restrict.
type MigrationFilter struct {
	SessionID string
	WorkerID  string // the worker that the session left or went to
	BatchID   string
	Kind      domain.MigrationKind
	Status    domain.MigrationStatus
}

// Migrations stores the moves of sessions between workers: past, running and pending ones.
type Migrations interface {
	Get(ctx context.Context, id string) (*domain.Migration, error)
	Put(ctx context.Context, m *domain.Migration) error
	// List returns the matching migrations, newest first by CreatedAt, and the number of matches on all
	// pages.
	List(ctx context.Context, f MigrationFilter, p Page) ([]*domain.Migration, int, error)
	// Open returns the migrations that are PENDING or RUNNING, oldest first.
	Open(ctx context.Context) ([]*domain.Migration, error)
	// DeleteBefore removes the migrations that ended before the time.
	DeleteBefore(ctx context.Context, before time.Time) error
}

// Messages stores the history.
type Messages interface {
	// Put also returns [ErrExists] if the session has another inbound message with the same WhatsApp
	// id.
	Put(ctx context.Context, m *domain.Message) error
	Get(ctx context.Context, sessionID, id string) (*domain.Message, error)
	ByWhatsAppID(ctx context.Context, sessionID, whatsAppID string) (*domain.Message, error)
	// List returns the matching messages of the session, newest first. A search finds the messages in
	// whose content, caption or filename every word of the search begins a word. Words are runs of
	// letters and digits, in any case and without accents. In scripts without blanks they are the
	// pairs of neighbouring characters. A search without a word finds nothing.
	List(ctx context.Context, sessionID string, f domain.MessageFilter) ([]*domain.Message, error)
	// CountSince returns the number of the user's outbound messages since a time, and the time of the
	// first of them. It leaves out messages that are Unforwarded.
	CountSince(ctx context.Context, userID string, since time.Time) (n int, first time.Time, err error)
	// PendingBefore returns messages that are PENDING and older than the time.
	PendingBefore(ctx context.Context, before time.Time, limit int) ([]*domain.Message, error)
	// DeleteBefore removes messages of the session that are older than the time, oldest first and at
	// most limit of them. It returns how many it removed.
	DeleteBefore(ctx context.Context, sessionID string, before time.Time, limit int) (int, error)
	// Delete removes a message. It returns [ErrConflict] if rev is not the present Rev, or if the message
	// is missing.
	Delete(ctx context.Context, sessionID, id string, rev int64) error
}

// SendQueues stores the state of the queues in which messages of sessions wait. A session has at most one,
// which is deleted with it.
type SendQueues interface {
	Get(ctx context.Context, sessionID string) (*domain.SendQueue, error)
	// Put returns [ErrNotFound] if the session does not exist.
	Put(ctx context.Context, q *domain.SendQueue) error
	// Due returns queues whose DueAt is set and not after the time, by DueAt.
	Due(ctx context.Context, at time.Time, limit int) ([]*domain.SendQueue, error)
	// NextDue returns the earliest DueAt that is set, or the zero time.
	NextDue(ctx context.Context) (time.Time, error)
	// Bytes returns the sum of Bytes of the user's queues.
	Bytes(ctx context.Context, userID string) (int64, error)
}

// QueuedMessages stores the messages that wait. They are deleted with their session. All methods but Get
// return messages without Media and Upload.
type QueuedMessages interface {
	Get(ctx context.Context, sessionID, id string) (*domain.QueuedMessage, error)
	// Put returns [ErrNotFound] if the session does not exist.
	Put(ctx context.Context, m *domain.QueuedMessage) error
	// Delete removes a message. It returns [ErrConflict] if rev is not the present Rev, or if the message
	// is missing.
	Delete(ctx context.Context, sessionID, id string, rev int64) error
	// List returns messages of the session by SendAt and then ID, the earliest first. after is the last
	// message of the previous page, by its SendAt and ID. A limit of 0 stands for all.
	List(ctx context.Context, sessionID string, after domain.Cursor, limit int) ([]*domain.QueuedMessage, error)
	// Expired returns messages of the session whose Deadline is not after the time, by Deadline and then ID.
	Expired(ctx context.Context, sessionID string, at time.Time, limit int) ([]*domain.QueuedMessage, error)
	// NextDeadline returns the earliest Deadline of the session's messages, or the zero time.
	NextDeadline(ctx context.Context, sessionID string) (time.Time, error)
}

// IdempotencyKeys stores the keys of sends. A key is unique within its session and is deleted with it.
type IdempotencyKeys interface {
	// Put returns [ErrNotFound] if the session does not exist.
	Put(ctx context.Context, k *domain.IdempotencyKey) error
	Get(ctx context.Context, sessionID, key string) (*domain.IdempotencyKey, error)
	// DeleteBefore removes keys that are older than the time, oldest first and at most limit of them. It
	// returns how many it removed.
	DeleteBefore(ctx context.Context, before time.Time, limit int) (int, error)
}

// UsageFilter selects counters of messages. Zero fields do not restrict.
type UsageFilter struct {
	UserID    string
	SessionID string
	Since     time.Time
}

// Usage stores counters of messages by hour. They outlive their sessions.
type Usage interface {
	// Add adds to counters. A missing counter is 0.
	Add(ctx context.Context, counts ...domain.UsageCount) error
	// Counts returns sums by bucket, session, type and outcome, without those that are 0. Hour is the
	// begin of the bucket. Buckets have the given length, at least an hour, and are aligned to the Unix
	// epoch. Without a user, the sums are of all users, and name no user and no session.
	Counts(ctx context.Context, f UsageFilter, bucket time.Duration) ([]domain.UsageCount, error)
	// DeleteBefore removes the counters of the oldest hour that is before the time. It returns how many
	// it removed; 0 means that there is no such hour.
	DeleteBefore(ctx context.Context, before time.Time) (int, error)
}

// Analytics stores figures of all users together over time. Buckets have the given length, at least
// [domain.AnalyticsStep], and are aligned to the Unix epoch.
type Analytics interface {
	// AddMessages adds to counters. A missing counter is 0.
	AddMessages(ctx context.Context, counts ...domain.MessageTotal) error
	// Messages returns sums by bucket and outcome since a time, without those that are 0. At is the begin
	// of the bucket.
	Messages(ctx context.Context, since time.Time, bucket time.Duration) ([]domain.MessageTotal, error)
	// AppendSample records a sample. It ignores a sample whose time is present.
	AppendSample(ctx context.Context, s domain.FleetSample) error
	// Samples returns the last sample of each bucket since a time, oldest first.
	Samples(ctx context.Context, since time.Time, bucket time.Duration) ([]domain.FleetSample, error)
	// DeleteBefore removes counters and samples older than the time.
	DeleteBefore(ctx context.Context, before time.Time) error
}

// LoadSamples stores the load of workers over time.
type LoadSamples interface {
	// Append records samples. It ignores a sample whose worker and time are present.
	Append(ctx context.Context, samples ...domain.LoadSample) error
	// Since returns a worker's samples since a time, oldest first.
	Since(ctx context.Context, workerID string, since time.Time) ([]domain.LoadSample, error)
	// DeleteBefore removes samples older than the time.
	DeleteBefore(ctx context.Context, before time.Time) error
}

// EventFilter selects events. Zero fields do not restrict.
type EventFilter struct {
	UserID    string
	SessionID string
}

// Outbox stores events in the order in which their transactions committed: the event log.
type Outbox interface {
	// Append records events in the surrounding transaction.
	Append(ctx context.Context, events ...domain.Event) error
	// After returns the matching events with a higher Seq than the given one, in order of Seq.
	After(ctx context.Context, f EventFilter, seq int64, limit int) ([]domain.Event, error)
	// Last returns the highest Seq so far, or 0.
	Last(ctx context.Context) (int64, error)
	// LastDeleted returns the highest Seq that DeleteBefore has removed, or 0.
	LastDeleted(ctx context.Context) (int64, error)
	// DeleteBefore removes events in order of Seq, as long as they are older than the time, and at most
	// limit of them. It returns how many it removed.
	DeleteBefore(ctx context.Context, before time.Time, limit int) (int, error)
}

// Settings stores a few named values. It is no place for secrets: a durable store holds none in clear.
type Settings interface {
	Get(ctx context.Context, name string) (string, error)
	// Put sets the value and replaces an earlier one.
	Put(ctx context.Context, name, value string) error
	// PutIfAbsent sets the value if there is none, and returns the present value.
	PutIfAbsent(ctx context.Context, name, value string) (string, error)
	// CompareAndSwap sets the value if the present one equals old. An empty old also stands for a
	// missing value. Otherwise it returns [ErrConflict] and changes nothing.
	CompareAndSwap(ctx context.Context, name, old, value string) error
	// Delete removes the value. A missing value is no error.
	Delete(ctx context.Context, name string) error
}

// Replicas stores the processes of the control plane that work on the store.
type Replicas interface {
	// Put adds or replaces the row. Each replica writes only its own row.
	Put(ctx context.Context, r *domain.Replica) error
	// List returns all replicas, by id.
	List(ctx context.Context) ([]*domain.Replica, error)
	// Delete removes the row. A missing row is no error.
	Delete(ctx context.Context, id string) error
}

// AuditFilter selects entries of the audit trail. Zero fields do not restrict.
type AuditFilter struct {
	Actor  string             // id, email or kind of the actor
	Action domain.AuditAction // an action, or the part before its dot
	Object string             // kind:id, or a kind alone
	Since  time.Time
	Until  time.Time     // exclusive
	After  domain.Cursor // the last entry of the previous page
	Limit  int           // 0: no limit
}

// Audit stores the audit trail.
type Audit interface {
	// Append adds an entry. If an entry with the id exists, Append only adds to its Count.
	Append(ctx context.Context, e domain.AuditEntry) error
	// List returns the matching entries, newest first by At and ID.
	List(ctx context.Context, f AuditFilter) ([]domain.AuditEntry, error)
	// DeleteBefore removes the entries from before the time.
	DeleteBefore(ctx context.Context, before time.Time) error
}

// Webhooks stores the webhooks of sessions.
type Webhooks interface {
	Get(ctx context.Context, id string) (*domain.Webhook, error)
	// BySession returns the webhooks of the session, by Slot.
	BySession(ctx context.Context, sessionID string) ([]*domain.Webhook, error)
	// Put returns [ErrNotFound] if the session does not exist, and [ErrExists] if another webhook of the
	// session has the slot.
	Put(ctx context.Context, w *domain.Webhook) error
	// Delete removes the webhook with its deliveries.
	Delete(ctx context.Context, id string) error
	// Due returns webhooks whose DueAt is set and not after the time, by DueAt.
	Due(ctx context.Context, at time.Time, limit int) ([]*domain.Webhook, error)
	// NextDue returns the earliest DueAt that is set, or the zero time.
	NextDue(ctx context.Context) (time.Time, error)
	// Sessions returns the ids of the sessions that have a webhook, each once and in no order.
	Sessions(ctx context.Context) ([]string, error)
}

// DeliveryFilter selects deliveries. Zero fields do not restrict.
type DeliveryFilter struct {
	Status domain.DeliveryStatus
	Before int64 // selects deliveries of events before this position
	Limit  int   // 0: no limit
}

// EndedDeliveries selects the deliveries of a webhook that ended at or before a time.
type EndedDeliveries struct {
	WebhookID string
	EndedBy   time.Time
	Since     time.Time // selects deliveries that were created at or after this time
	Before    time.Time // selects deliveries that were created before this time; zero: any
}

// Deliveries stores the deliveries of webhooks.
type Deliveries interface {
	Get(ctx context.Context, id string) (*domain.Delivery, error)
	// Put returns [ErrNotFound] if the webhook does not exist, and [ErrExists] if the webhook has another
	// delivery of the event.
	Put(ctx context.Context, d *domain.Delivery) error
	// NextPending returns the PENDING delivery of the webhook with the lowest Position, or [ErrNotFound].
	NextPending(ctx context.Context, webhookID string) (*domain.Delivery, error)
	// List returns the matching deliveries of the webhook, the highest Position first.
	List(ctx context.Context, webhookID string, f DeliveryFilter) ([]*domain.Delivery, error)
	// Requeue does what [domain.Delivery.Requeue] does to at most limit of the selected deliveries, by
	// CreatedAt and then Position. It returns their number.
	Requeue(ctx context.Context, e EndedDeliveries, now time.Time, limit int) (int, error)
	// CreatedAfter skips n of the selected deliveries in the order of Requeue. It returns the CreatedAt of the
	// next one, or the zero time if there is none.
	CreatedAfter(ctx context.Context, e EndedDeliveries, n int) (time.Time, error)
	// DeleteOf removes deliveries of the webhook, at most limit of them, the lowest Position first. It returns
	// how many.
	DeleteOf(ctx context.Context, webhookID string, limit int) (int, error)
	// DeleteEnded removes deliveries of a status whose EndedAt is before the time, at most limit of them. It
	// returns how many.
	DeleteEnded(ctx context.Context, s domain.DeliveryStatus, before time.Time, limit int) (int, error)
}
