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
	// publishPause lies between two transactions that tell invalidations: each holds a lock
	// that every such transaction in the database wants.
	publishPause = 10 * time.Millisecond
	// maxNotificationSize is how many bytes of ids a notification has at most; PostgreSQL
	// takes less than 8000 in all.
	maxNotificationSize = 7500
	// maxWaitingIDs is how many ids wait at most. Of more it is said that anything
	// may have changed.
	maxWaitingIDs = 50_000
)

// The channel belongs to the schema.
const channel = "'switchyard_' || quote_ident(current_schema())::regnamespace::oid"

var notify = &sqlstore.Statement{SQL: "SELECT pg_notify(" + channel + ", $1)"}

// invalidator implements [ports.Invalidator] by LISTEN and NOTIFY.
type invalidator struct {
	store *Store
	self  string // tells what we have told from what others have

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	wake    chan struct{} // receives when there is something to tell

	mu                    sync.Mutex
	publishing, listening bool // its goroutine has been started
	waiting               map[change]struct{}
	listeners             []*listener
}

// change names what has changed. The zero value is for anything.
type change struct{ kind, id string }

const (
	aSession = "s"
	aWorker  = "w"
	aUser    = "u"
)

type listener struct {
	fn   func(ports.Invalidation)
	gone atomic.Bool
}

func newInvalidator(s *Store) *invalidator {
	h := &invalidator{store: s, self: rand.Text(), wake: make(chan struct{}, 1), waiting: make(map[change]struct{})}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

// Invalidator tells the other processes whose stores have the same database and
// schema what has changed. They are told some milliseconds later, of everything
// since together, and hear of a gap within seconds. The store ends it with
// Close.
func (s *Store) Invalidator() ports.Invalidator { return s.invalidator }

// Publish implements [ports.Invalidator].
func (h *invalidator) Publish(invalidation ports.Invalidation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	add := func(kind string, ids []string) {
		for _, id := range ids {
			h.waiting[change{kind, id}] = struct{}{}
		}
	}
	add(aSession, invalidation.Sessions)
	add(aWorker, invalidation.Workers)
	add(aUser, invalidation.Users)
	if invalidation.All || len(h.waiting) > maxWaitingIDs {
		clear(h.waiting)
		h.waiting[change{}] = struct{}{}
	}
	if len(h.waiting) == 0 || h.ctx.Err() != nil {
		return
	}
	if !h.publishing {
		h.publishing = true
		h.running.Go(h.publishWaiting)
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// publishWaiting passes on what waits, until the store is closed.
func (h *invalidator) publishWaiting() {
	pause := newBackoff(publishPause)
	for {
		select {
		case <-h.wake:
		case <-h.ctx.Done():
		}
		ctx := h.ctx
		if ctx.Err() != nil { // one last time
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(context.Background(), time.Second)
			defer cancel()
		}
		h.mu.Lock()
		waiting := h.waiting
		h.waiting = make(map[change]struct{})
		h.mu.Unlock()
		err := h.send(ctx, waiting)
		switch {
		case h.ctx.Err() != nil:
			return
		case err == nil:
			pause.Reset()
			h.sleep(publishPause)
		default:
			h.sleep(pause.NextBackOff())
			h.publishAgain(waiting)
		}
	}
}

// publishAgain publishes changes again that may not have been published.
func (h *invalidator) publishAgain(untold map[change]struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.Copy(h.waiting, untold)
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *invalidator) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-h.ctx.Done():
	}
}

// notification is the payload of one.
type notification struct {
	From     string   `json:"from"`
	Sessions []string `json:"sessions,omitempty"`
	Workers  []string `json:"workers,omitempty"`
	Users    []string `json:"users,omitempty"`
	All      bool     `json:"all,omitempty"`
}

// send tells everything in one transaction.
func (h *invalidator) send(ctx context.Context, what map[change]struct{}) error {
	if len(what) == 0 {
		return nil
	}
	pooled, err := h.store.acquire(ctx)
	if err != nil {
		return err
	}
	c := wrapConn(pooled)
	defer c.back(pooled)
	var batch pgconn.Batch
	for _, n := range h.notifications(what) {
		payload, err := json.Marshal(n)
		if err == nil {
			err = c.params.set([]any{string(payload)})
		}
		if err == nil {
			err = c.add(ctx, &batch, notify, &c.params)
		}
		if err != nil {
			return err
		}
	}
	c.setReadDeadline()
	return c.pg.ExecBatch(ctx, &batch).Close()
}

// notifications are small enough, each.
func (h *invalidator) notifications(what map[change]struct{}) (all []notification) {
	n, size := notification{From: h.self}, 0
	for a := range what {
		quoted, _ := json.Marshal(a.id) // a string has no error
		if size+len(quoted) >= maxNotificationSize && size > 0 {
			all = append(all, n)
			n, size = notification{From: h.self}, 0
		}
		switch {
		case a == change{}, len(quoted) >= maxNotificationSize:
			n.All = true
			continue
		case a.kind == aSession:
			n.Sessions = append(n.Sessions, a.id)
		case a.kind == aWorker:
			n.Workers = append(n.Workers, a.id)
		default:
			n.Users = append(n.Users, a.id)
		}
		size += len(quoted) + len(",")
	}
	return append(all, n)
}

// Subscribe implements [ports.Invalidator]. What fn is given it shares with other
// listeners. cancel does not wait for a call of fn that has begun, so fn may
// call it too.
func (h *invalidator) Subscribe(fn func(ports.Invalidation)) (cancel func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := &listener{fn: fn}
	h.listeners = append(h.listeners, l)
	if !h.listening && h.ctx.Err() == nil {
		h.listening = true
		h.running.Go(h.listen)
	}
	return func() {
		l.gone.Store(true)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.listeners = slices.DeleteFunc(slices.Clone(h.listeners), func(o *listener) bool { return o == l })
	}
}

// listen passes on what others tell, over a connection of its own, until the
// store is closed.
func (h *invalidator) listen() {
	for pause := newBackoff(publishPause); h.ctx.Err() == nil; h.sleep(pause.NextBackOff()) {
		h.hear(pause.Reset)
	}
}

// hear listens as long as the connection lasts.
func (h *invalidator) hear(connected func()) {
	config := h.store.config.ConnConfig.Copy().Config
	var heard []string
	config.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { heard = append(heard, n.Payload) }
	pg, err := pgconn.ConnectConfig(h.ctx, &config)
	if err != nil {
		return
	}
	c := newConn(pg, h.store.timeout)
	defer c.close()
	name, err := pg.Exec(h.ctx, "SELECT "+channel).ReadAll()
	if err != nil {
		return
	}
	if err := pg.Exec(h.ctx, "LISTEN "+string(name[0].Rows[0][0])).Close(); err != nil {
		return
	}
	connected()
	h.deliver(ports.Invalidation{All: true})
	// A connection that is cut off looks like one on which nothing is said.
	quiet := h.store.timeout / 4
	for {
		waited, cancel := context.WithTimeout(h.ctx, quiet)
		err := pg.WaitForNotification(waited)
		if cancel(); err != nil {
			asked, cancel := context.WithTimeout(h.ctx, quiet)
			err = pg.Ping(asked)
			cancel()
		}
		for _, payload := range heard {
			h.pass(payload)
		}
		heard = heard[:0]
		if err != nil {
			return
		}
	}
}

// pass delivers a notification, unless it is our own.
func (h *invalidator) pass(payload string) {
	var n notification
	if err := json.Unmarshal([]byte(payload), &n); err != nil {
		n.All = true // a version of this program that says more
	}
	if n.From != h.self {
		h.deliver(ports.Invalidation{Sessions: n.Sessions, Workers: n.Workers, Users: n.Users, All: n.All})
	}
}

// deliver calls the listeners, one after the other.
func (h *invalidator) deliver(invalidation ports.Invalidation) {
	h.mu.Lock()
	listeners := h.listeners
	h.mu.Unlock()
	for _, l := range listeners {
		if !l.gone.Load() {
			l.fn(invalidation)
		}
	}
}

// close ends everything, and waits for it.
func (h *invalidator) close() {
	h.mu.Lock()
	h.cancel()
	h.mu.Unlock()
	h.running.Wait()
}
