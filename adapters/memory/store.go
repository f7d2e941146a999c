package memory

import (
	"context"
	"errors"
	"sync"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// errOver is the answer of a transaction whose function has returned.
var errOver = errors.New("memory: the transaction is over")

// Store implements [ports.Store]. Any number of Views run at a time, or one
// Update; each function runs exactly once. An Update changes rows in place and
// notes how to undo it, so its cost depends on what it touches alone.
//
// Revs are drawn from one counter, so a row that is deleted and made anew
// under the same id never repeats one.
type Store struct {
	mu     sync.RWMutex
	closed bool
	rev    int64 // the highest given to any row

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
	assigned     map[string]*list[*sessionRow] // by worker; those of one by id
	claimed      map[string]*list[*sessionRow] // by replica; those of one by id
	due          queue[*sessionRow]
	statuses     map[domain.Status]int

	workers     map[string]*workerRow
	endpoints   map[string]*workerRow
	workerOrder list[*workerRow] // by id

	cleanups   map[cleanupKey]*cleanupRow
	byWorker   map[string]*list[*cleanupRow] // those of one by session
	bySession  map[string]*list[*cleanupRow] // those of one by worker
	cleanupDue queue[*cleanupRow]

	moves     map[string]*migrationRow
	moveOrder list[*migrationRow] // by age
	movesOpen list[*migrationRow] // by age

	messages map[string]*message
	whatsApp map[whatsAppKey]*message   // one of the messages with that id
	repeats  map[whatsAppKey][]*message // the others
	pending  queue[*message]

	events []domain.Event                 // by Seq
	loads  map[string][]domain.LoadSample // by worker, in order of time
	seq    int64

	settings map[string]string
	replicas map[string]domain.Replica

	undos []undo    // of the Update that runs, oldest first
	was   []message // the former values that undos refer to, oldest first
}

var _ ports.Store = (*Store)(nil)

// undo is one step back.
type undo struct {
	fn      func()
	message *message // if there is no fn: inserted, or changed
	changed bool     // its former value is the last of was
}

// NewStore returns an empty store.
func NewStore() *Store {
	return &Store{
		users:     make(map[string]*userRow),
		emails:    make(map[string]*userRow),
		families:  make(map[string]*familyRow),
		resets:    make(map[[32]byte]*domain.PasswordReset),
		keys:      make(map[string]*apiKeyRow),
		hashes:    make(map[[32]byte]*apiKeyRow),
		sessions:  make(map[string]*sessionRow),
		assigned:  make(map[string]*list[*sessionRow]),
		claimed:   make(map[string]*list[*sessionRow]),
		statuses:  make(map[domain.Status]int),
		workers:   make(map[string]*workerRow),
		endpoints: make(map[string]*workerRow),
		cleanups:  make(map[cleanupKey]*cleanupRow),
		byWorker:  make(map[string]*list[*cleanupRow]),
		bySession: make(map[string]*list[*cleanupRow]),
		moves:     make(map[string]*migrationRow),
		messages:  make(map[string]*message),
		whatsApp:  make(map[whatsAppKey]*message),
		repeats:   make(map[whatsAppKey][]*message),
		settings:  make(map[string]string),
		replicas:  make(map[string]domain.Replica),
		loads:     make(map[string][]domain.LoadSample),
	}
}

// View implements [ports.Store].
func (s *Store) View(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.run(ctx, fn, false)
}

// Update implements [ports.Store].
func (s *Store) Update(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	committed := false
	defer func() { // also if fn panics, or ends its goroutine
		if !committed {
			s.rollback()
		}
		s.mu.Unlock()
	}()
	if err := s.run(ctx, fn, true); err != nil {
		return err
	}
	committed = true
	s.forget()
	return nil
}

// Close implements [ports.Store]. Closing twice does no harm.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// enter refuses what need not wait for the lock.
func (s *Store) enter(ctx context.Context) error {
	if ctx.Value(txnKey{s}) != nil {
		return ports.ErrNested
	}
	return ctx.Err()
}

// run calls fn with a transaction. It needs the lock.
func (s *Store) run(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error, write bool) error {
	if s.closed {
		return ports.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	t := &txn{Context: ctx, s: s, write: write}
	defer func() { t.over = true }()
	t.tx = ports.Tx{
		Users: users{t}, RefreshTokenFamilies: refreshTokenFamilies{t}, PasswordResets: passwordResets{t}, APIKeys: apiKeys{t}, Sessions: sessions{t},
		Workers: workers{t}, Cleanups: cleanups{t}, Migrations: migrations{t}, Messages: messages{t}, LoadSamples: loadSamples{t},
		Outbox: outbox{t}, Settings: settings{t}, Replicas: replicas{t},
	}
	if err := fn(t, &t.tx); err != nil {
		return err
	}
	return ctx.Err()
}

func (s *Store) rollback() {
	for i := len(s.undos) - 1; i >= 0; i-- {
		switch u := s.undos[i]; {
		case u.fn != nil:
			u.fn()
		case u.changed:
			last := len(s.was) - 1
			s.change(u.message, s.was[last])
			s.was[last] = message{}
			s.was = s.was[:last]
		default:
			s.unlink(u.message)
		}
	}
	s.forget()
}

// forget drops the notes of an Update, and keeps a little room for the next.
func (s *Store) forget() {
	const keep = 64
	if clear(s.undos); cap(s.undos) > keep {
		s.undos = nil
	}
	if clear(s.was); cap(s.was) > keep {
		s.was = nil
	}
	s.undos, s.was = s.undos[:0], s.was[:0]
}

// txnKey finds the transaction of a store in a context.
type txnKey struct{ s *Store }

// txn is one transaction, and the context that its function gets. Each
// repository is a txn under another name, which needs no memory of its own.
type txn struct {
	context.Context
	s     *Store
	tx    ports.Tx
	write bool
	over  bool
}

// Value lets the store recognise the context of its own transaction.
func (t *txn) Value(key any) any {
	if k, ok := key.(txnKey); ok && k.s == t.s {
		return t
	}
	return t.Context.Value(key)
}

// readable returns the error of a read, if it is not allowed.
func (t *txn) readable() error {
	if t.over {
		return errOver
	}
	return nil
}

// writable returns the error of a write, if it is not allowed.
func (t *txn) writable() error {
	switch {
	case t.over:
		return errOver
	case !t.write:
		return ports.ErrReadOnly
	}
	return nil
}

// find looks up one row and returns a copy of what it holds.
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

// undo notes how to take back what was just done.
func (t *txn) undo(fn func()) { t.s.undos = append(t.s.undos, undo{fn: fn}) }

// nextRev returns a Rev that no row ever had.
func (s *Store) nextRev() int64 {
	s.rev++
	return s.rev
}

// swap checks a Put against the row that is there: whether there is one and
// its Rev, and the Rev of the value to be put.
func swap(there bool, present, given int64) error {
	switch {
	case given == 0 && there:
		return ports.ErrExists
	case given != 0 && (!there || present != given):
		return ports.ErrConflict
	}
	return nil
}
