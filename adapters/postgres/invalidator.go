package postgres

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/switchyard-wa/switchyard/adapters/internal/sqlstore"
	"github.com/switchyard-wa/switchyard/ports"
)

const (
	// publishInterval separates two transactions that notify. Each of them holds a lock that all such transactions in the
	// database want. It is also the first delay after a failure.
	publishInterval = 10 * time.Millisecond
	// maxNotificationSize bounds the bytes of ids in a notification. PostgreSQL takes less than 8000 bytes in all.
	maxNotificationSize = 7500
	// maxPendingChanges bounds the changes that wait. With more, one change says that anything may have changed.
	maxPendingChanges = 50_000
)

// channel is an SQL expression for the name of the channel, which belongs to the schema.
const channel = "'switchyard_' || quote_ident(current_schema())::regnamespace::oid"

var notify = &sqlstore.Statement{SQL: "SELECT pg_notify(" + channel + ", $1)"}

// invalidator implements [ports.Invalidator] with LISTEN and NOTIFY. Its goroutines start with the first use.
type invalidator struct {
	store *Store
	id    string // of this invalidator, in its notifications

	ctx     context.Context // ends with close
	cancel  context.CancelFunc
	running sync.WaitGroup
	wake    chan struct{} // receives when changes are pending

	mu                    sync.Mutex
	publishing, listening bool // the goroutine has been started
	pending               map[change]struct{}
	subscribers           []*subscriber
}

// change names a row that has changed. The zero value says that anything may have changed.
type change struct {
	kind changeKind
	id   string
}

type changeKind byte

const (
	sessionChanged changeKind = iota + 1
	workerChanged
	userChanged
	eventsRecorded // without an id
)

type subscriber struct {
	fn       func(ports.Invalidation)
	canceled atomic.Bool
}

func newInvalidator(s *Store) *invalidator {
	i := &invalidator{store: s, id: rand.Text(), wake: make(chan struct{}, 1), pending: make(map[change]struct{})}
	i.ctx, i.cancel = context.WithCancel(context.Background())
	return i
}

// Invalidator returns the invalidator for the processes whose stores have the same database and schema. It publishes a
// change within milliseconds, together with the changes since. Subscribers are told of a gap within seconds. Close of the
// store ends it.
func (s *Store) Invalidator() ports.Invalidator { return s.invalidator }

// Publish implements [ports.Invalidator].
func (i *invalidator) Publish(invalidation ports.Invalidation) {
	i.mu.Lock()
	defer i.mu.Unlock()
	add := func(kind changeKind, ids []string) {
		for _, id := range ids {
			i.pending[change{kind, id}] = struct{}{}
		}
	}
	add(sessionChanged, invalidation.Sessions)
	add(workerChanged, invalidation.Workers)
	add(userChanged, invalidation.Users)
	if invalidation.Events {
		i.pending[change{kind: eventsRecorded}] = struct{}{}
	}
	if invalidation.All || len(i.pending) > maxPendingChanges {
		clear(i.pending)
		i.pending[change{}] = struct{}{}
	}
	if len(i.pending) == 0 || i.ctx.Err() != nil {
		return
	}
	if !i.publishing {
		i.publishing = true
		i.running.Go(i.publishPending)
	}
	i.wakePublisher()
}

func (i *invalidator) wakePublisher() {
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// publishPending publishes pending changes until the store is closed, and then once more.
func (i *invalidator) publishPending() {
	delays := newBackOff(publishInterval)
	for {
		select {
		case <-i.wake:
		case <-i.ctx.Done():
		}
		ctx := i.ctx
		if ctx.Err() != nil {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(context.Background(), time.Second)
			defer cancel()
		}
		changes := i.takePending()
		err := i.send(ctx, changes)
		switch {
		case i.ctx.Err() != nil:
			return
		case err == nil:
			delays.Reset()
			sleep(i.ctx, publishInterval)
		default:
			sleep(i.ctx, delays.NextBackOff())
			i.requeue(changes)
		}
	}
}

// takePending removes and returns all pending changes.
func (i *invalidator) takePending() map[change]struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	changes := i.pending
	i.pending = make(map[change]struct{})
	return changes
}

// requeue makes changes pending again, because they may not have been published.
func (i *invalidator) requeue(changes map[change]struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	maps.Copy(i.pending, changes)
	i.wakePublisher()
}

// notification is the payload of a notification.
type notification struct {
	From     string   `json:"from"`
	Sessions []string `json:"sessions,omitempty"`
	Workers  []string `json:"workers,omitempty"`
	Users    []string `json:"users,omitempty"`
	Events   bool     `json:"events,omitempty"`
	All      bool     `json:"all,omitempty"`
}

// send notifies of changes in one transaction.
func (i *invalidator) send(ctx context.Context, changes map[change]struct{}) error {
	if len(changes) == 0 {
		return nil
	}
	pooled, err := i.store.acquire(ctx)
	if err != nil {
		return err
	}
	c := connOf(pooled)
	defer c.release(pooled)
	var batch pgconn.Batch
	for _, n := range i.notifications(changes) {
		payload, err := json.Marshal(n)
		if err == nil {
			err = c.params.set([]any{string(payload)})
		}
		if err == nil {
			err = c.appendTo(ctx, &batch, notify, &c.params)
		}
		if err != nil {
			return err
		}
	}
	c.setDeadline()
	return c.pg.ExecBatch(ctx, &batch).Close()
}

// notifications spreads changes over notifications, each within PostgreSQL's limit.
func (i *invalidator) notifications(changes map[change]struct{}) (all []notification) {
	n, size := notification{From: i.id}, 0
	for c := range changes {
		quoted, _ := json.Marshal(c.id) // a string has no error
		if size+len(quoted) >= maxNotificationSize && size > 0 {
			all = append(all, n)
			n, size = notification{From: i.id}, 0
		}
		switch {
		case c == change{}, len(quoted) >= maxNotificationSize:
			n.All = true
			continue
		case c.kind == eventsRecorded:
			n.Events = true
			continue
		case c.kind == sessionChanged:
			n.Sessions = append(n.Sessions, c.id)
		case c.kind == workerChanged:
			n.Workers = append(n.Workers, c.id)
		default:
			n.Users = append(n.Users, c.id)
		}
		size += len(quoted) + len(",")
	}
	return append(all, n)
}

// Subscribe implements [ports.Invalidator]. All subscribers share the slices of an invalidation. cancel does not wait for a
// call of fn that has begun, so fn may call cancel.
func (i *invalidator) Subscribe(fn func(ports.Invalidation)) (cancel func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := &subscriber{fn: fn}
	i.subscribers = append(i.subscribers, s)
	if !i.listening && i.ctx.Err() == nil {
		i.listening = true
		i.running.Go(i.listen)
	}
	return func() {
		s.canceled.Store(true)
		i.mu.Lock()
		defer i.mu.Unlock()
		i.subscribers = slices.DeleteFunc(slices.Clone(i.subscribers), func(o *subscriber) bool { return o == s })
	}
}

// listen receives notifications over its own connection until the store is closed. It reconnects when the connection is
// lost.
func (i *invalidator) listen() {
	for delays := newBackOff(publishInterval); i.ctx.Err() == nil; sleep(i.ctx, delays.NextBackOff()) {
		i.listenOnce(delays.Reset)
	}
}

// listenOnce receives notifications until the connection is lost. It calls connected once it listens.
func (i *invalidator) listenOnce(connected func()) {
	config := i.store.config.ConnConfig.Copy().Config
	var payloads []string
	config.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { payloads = append(payloads, n.Payload) }
	pg, err := pgconn.ConnectConfig(i.ctx, &config)
	if err != nil {
		return
	}
	c := newConn(pg, i.store.timeout)
	defer c.close()
	name, err := pg.Exec(i.ctx, "SELECT "+channel).ReadAll()
	if err != nil {
		return
	}
	if err := pg.Exec(i.ctx, "LISTEN "+string(name[0].Rows[0][0])).Close(); err != nil {
		return
	}
	connected()
	i.deliver(ports.Invalidation{All: true})
	for err == nil {
		err = i.awaitNotification(pg)
		for _, payload := range payloads {
			i.receive(payload)
		}
		payloads = payloads[:0]
	}
}

// awaitNotification waits for notifications for a quarter of the timeout, and then for the answer to a ping: a connection
// that is cut off looks like a connection without notifications.
func (i *invalidator) awaitNotification(pg *pgconn.PgConn) error {
	wait := i.store.timeout / 4
	ctx, cancel := context.WithTimeout(i.ctx, wait)
	defer cancel()
	if pg.WaitForNotification(ctx) == nil {
		return nil
	}
	pingCtx, cancelPing := context.WithTimeout(i.ctx, wait)
	defer cancelPing()
	return pg.Ping(pingCtx)
}

// receive delivers a notification, unless this invalidator has published it.
func (i *invalidator) receive(payload string) {
	var n notification
	if err := json.Unmarshal([]byte(payload), &n); err != nil {
		n.All = true // it comes from a newer version of this program
	}
	if n.From != i.id {
		i.deliver(ports.Invalidation{Sessions: n.Sessions, Workers: n.Workers, Users: n.Users, Events: n.Events, All: n.All})
	}
}

// deliver calls the subscribers, one after the other.
func (i *invalidator) deliver(invalidation ports.Invalidation) {
	i.mu.Lock()
	subscribers := i.subscribers
	i.mu.Unlock()
	for _, s := range subscribers {
		if !s.canceled.Load() {
			s.fn(invalidation)
		}
	}
}

// close ends the goroutines and waits for them.
func (i *invalidator) close() {
	i.mu.Lock()
	i.cancel()
	i.mu.Unlock()
	i.running.Wait()
}
