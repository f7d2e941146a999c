package memory

import (
	"context"
	"errors"
	"sync"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// errTxDone is the error of a transaction whose function has returned.
var errTxDone = errors.New("memory: the transaction is over")

// Store implements [ports.Store]. Either any number of Views run at a time, or one Update. Each function runs exactly
// once. An Update changes rows in place and records how to undo each change.
//
// All Revs come from one counter, so a row that is deleted and inserted again under the same id never repeats a Rev.
type Store struct {
	mu     sync.RWMutex
	closed bool
	rev    int64 // the highest Rev of any row

	users     map[string]*userRow
	emails    map[string]*userRow
	userOrder list[*userRow] // by age

	families map[string]*familyRow
	expiring queue[*familyRow]
	resets   map[[32]byte]*domain.PasswordReset

	keys   map[string]*apiKeyRow
	hashes map[[32]byte]*apiKeyRow

	sessions     map[string]*sessionRow
	sessionOrder list[*sessionRow]             // by age
	assigned     map[string]*list[*sessionRow] // by worker; each list by id
	claimed      map[string]*list[*sessionRow] // by replica; each list by id
	due          queue[*sessionRow]
	statuses     map[domain.Status]int
	tombstones   map[string]int64 // last generations of deleted sessions

	workers     map[string]*workerRow
	endpoints   map[string]*workerRow // by domain.EndpointKey
	workerOrder list[*workerRow]      // by id

	cleanups     map[cleanupKey]*cleanupRow
	byWorker     map[string]*list[*cleanupRow] // each list by session
	bySession    map[string]*list[*cleanupRow] // each list by worker
	byEndpoint   map[string]*list[*cleanupRow] // of removed workers; each list by worker and session
	wipesByGroup map[string]*list[*cleanupRow] // each list by worker and session
	cleanupDue   queue[*cleanupRow]

	migrations     map[string]*migrationRow
	migrationOrder list[*migrationRow] // by age
	openMigrations list[*migrationRow] // by age

	messages   map[string]*message
	whatsApp   map[whatsAppKey]*message   // the first message with a WhatsApp id
	duplicates map[whatsAppKey][]*message // further messages with the same WhatsApp id
	pending    queue[*message]

	idempotencyKeys map[idempotencyKeyName]*idempotencyKeyRow
	idempotencyAge  queue[*idempotencyKeyRow] // by age

	events      []domain.Event                 // by Seq
	loads       map[string][]domain.LoadSample // by worker, in order of time
	seq         int64
	lastDeleted int64 // see ports.Outbox.LastDeleted

	usage    map[usageKey]int     // never 0
	totals   map[totalKey]int     // never 0
	samples  []domain.FleetSample // in order of time
	settings map[string]string
	replicas map[string]domain.Replica

	audit      map[string]*auditRow
	auditOrder list[*auditRow] // by age

	webhooks        map[string]*webhookRow
	webhookDue      queue[*webhookRow]
	deliveries      map[string]*deliveryRow
	endedDeliveries map[domain.DeliveryStatus]*list[*deliveryRow] // each list by EndedAt

	sendQueueDue queue[*sendQueueRow]
	sendQueuesOf map[string]map[*sendQueueRow]struct{} // by user

	undoLog        []undoEntry // of the running Update, oldest entry first
	formerMessages []message   // the values that entries of undoLog restore, oldest first
}

var (
	_ ports.Store         = (*Store)(nil)
	_ ports.HealthChecker = (*Store)(nil)
)

// CheckHealth implements [ports.HealthChecker].
func (s *Store) CheckHealth(ctx context.Context) error {
	return s.Update(ctx, func(context.Context, *ports.Tx) error { return nil })
}

// CheckPresence implements [ports.HealthChecker].
func (s *Store) CheckPresence() error { return nil }

// undoEntry undoes one change. Changes of messages are by far the most frequent, so they need no closure.
type undoEntry struct {
	fn      func()   // nil: the change is an insert or an update of message
	message *message // the row that was inserted or updated
	updated bool     // message was updated; its former value is the last of formerMessages
}

// NewStore returns an empty store.
func NewStore() *Store {
	return &Store{
		users:           make(map[string]*userRow),
		emails:          make(map[string]*userRow),
		families:        make(map[string]*familyRow),
		resets:          make(map[[32]byte]*domain.PasswordReset),
		keys:            make(map[string]*apiKeyRow),
		hashes:          make(map[[32]byte]*apiKeyRow),
		sessions:        make(map[string]*sessionRow),
		assigned:        make(map[string]*list[*sessionRow]),
		claimed:         make(map[string]*list[*sessionRow]),
		statuses:        make(map[domain.Status]int),
		tombstones:      make(map[string]int64),
		workers:         make(map[string]*workerRow),
		endpoints:       make(map[string]*workerRow),
		cleanups:        make(map[cleanupKey]*cleanupRow),
		byWorker:        make(map[string]*list[*cleanupRow]),
		bySession:       make(map[string]*list[*cleanupRow]),
		byEndpoint:      make(map[string]*list[*cleanupRow]),
		wipesByGroup:    make(map[string]*list[*cleanupRow]),
		migrations:      make(map[string]*migrationRow),
		messages:        make(map[string]*message),
		whatsApp:        make(map[whatsAppKey]*message),
		duplicates:      make(map[whatsAppKey][]*message),
		idempotencyKeys: make(map[idempotencyKeyName]*idempotencyKeyRow),
		settings:        make(map[string]string), usage: make(map[usageKey]int), totals: make(map[totalKey]int),
		replicas:   make(map[string]domain.Replica),
		loads:      make(map[string][]domain.LoadSample),
		audit:      make(map[string]*auditRow),
		webhooks:   make(map[string]*webhookRow),
		deliveries: make(map[string]*deliveryRow),

		sendQueuesOf: make(map[string]map[*sendQueueRow]struct{}),

		endedDeliveries: make(map[domain.DeliveryStatus]*list[*deliveryRow]),
	}
}

// View implements [ports.Store].
func (s *Store) View(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.run(ctx, fn, readOnly)
}

// Update implements [ports.Store].
func (s *Store) Update(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	committed := false
	defer func() { // runs even if fn panics or ends its goroutine
		if !committed {
			s.rollback()
		}
		s.mu.Unlock()
	}()
	if err := s.run(ctx, fn, readWrite); err != nil {
		return err
	}
	committed = true
	s.clearUndoLog()
	return nil
}

// Close implements [ports.Store]. A second call does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// enter returns the errors that need no lock: a nested transaction and an ended context.
func (s *Store) enter(ctx context.Context) error {
	if ctx.Value(txnKey{s}) != nil {
		return ports.ErrNested
	}
	return ctx.Err()
}

// run calls fn with a transaction. The caller holds the lock.
func (s *Store) run(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error, m mode) error {
	if s.closed {
		return ports.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	t := &txn{Context: ctx, s: s, mode: m}
	defer func() { t.done = true }()
	t.tx = ports.Tx{
		Users: users{t}, RefreshTokenFamilies: refreshTokenFamilies{t}, PasswordResets: passwordResets{t}, APIKeys: apiKeys{t}, Sessions: sessions{t},
		Workers: workers{t}, Cleanups: cleanups{t}, Migrations: migrations{t}, Messages: messages{t}, IdempotencyKeys: idempotencyKeys{t},
		LoadSamples: loadSamples{t}, Usage: usage{t}, Analytics: analytics{t}, Outbox: outbox{t}, Settings: settings{t}, Replicas: replicas{t}, Audit: audit{t},
		Webhooks: webhooks{t}, Deliveries: deliveries{t}, SendQueues: sendQueues{t}, QueuedMessages: queuedMessages{t},
	}
	if err := fn(t, &t.tx); err != nil {
		return err
	}
	return ctx.Err()
}

// rollback undoes the changes of the running Update, latest first.
func (s *Store) rollback() {
	for i := len(s.undoLog) - 1; i >= 0; i-- {
		u := s.undoLog[i]
		switch {
		case u.fn != nil:
			u.fn()
		case u.updated:
			last := len(s.formerMessages) - 1
			s.replaceMessage(u.message, s.formerMessages[last])
			s.formerMessages[last] = message{}
			s.formerMessages = s.formerMessages[:last]
		default:
			s.unlink(u.message)
		}
	}
	s.clearUndoLog()
}

// clearUndoLog empties the undo log. It keeps the memory of a short log for the next Update.
func (s *Store) clearUndoLog() {
	s.undoLog, s.formerMessages = emptied(s.undoLog), emptied(s.formerMessages)
}

// emptied returns an empty slice, with the memory of s unless that is large.
func emptied[E any](s []E) []E {
	const maxKept = 64
	if cap(s) > maxKept {
		return nil
	}
	clear(s)
	return s[:0]
}

// txnKey finds the transaction of a store in a context.
type txnKey struct{ s *Store }

// mode is the kind of a transaction.
type mode uint8

const (
	readOnly mode = iota
	readWrite
)

// txn is one transaction, and the context that its function receives. Each repository is a txn under another type name, so
// that it needs no memory of its own.
type txn struct {
	context.Context
	s    *Store
	tx   ports.Tx
	mode mode
	done bool // the function has returned
}

// Value returns the transaction itself for the key of its store.
func (t *txn) Value(key any) any {
	if k, ok := key.(txnKey); ok && k.s == t.s {
		return t
	}
	return t.Context.Value(key)
}

// readable returns an error if the transaction cannot read.
func (t *txn) readable() error {
	if t.done {
		return errTxDone
	}
	return nil
}

// writable returns an error if the transaction cannot write.
func (t *txn) writable() error {
	switch {
	case t.done:
		return errTxDone
	case t.mode == readOnly:
		return ports.ErrReadOnly
	}
	return nil
}

// find returns a copy of the value of one row, or [ports.ErrNotFound].
func find[K, R comparable, V any](t *txn, rows map[K]R, key K, clone func(R) V) (v V, err error) {
	if err := t.readable(); err != nil {
		return v, err
	}
	r, found := rows[key]
	if !found {
		return v, ports.ErrNotFound
	}
	return clone(r), nil
}

// onRollback records how to undo the change that was just made.
func (t *txn) onRollback(fn func()) { t.s.undoLog = append(t.s.undoLog, undoEntry{fn: fn}) }

// nextRev returns a Rev that no row has had.
func (s *Store) nextRev() int64 {
	s.rev++
	return s.rev
}

// revisioned is a row, or a nil row, with a Rev.
type revisioned interface {
	// rev returns the row's Rev, or 0 if there is no row.
	rev() int64
}

// checkRev compares the Rev of a value to be put with the row that exists, as [ports.Store] demands.
func checkRev(existing revisioned, given int64) error {
	rev := existing.rev()
	switch {
	case given == 0 && rev != 0:
		return ports.ErrExists
	case given != 0 && rev != given:
		return ports.ErrConflict
	}
	return nil
}
