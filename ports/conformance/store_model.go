package conformance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var modelClauses = []clause{{"random transactions equal a few maps", followsModel}}

// A model is a store made of maps. Rows are replaced and never changed, so a copy of the maps is a copy
// of the store.
type model struct {
	prefix   string // prefix of all ids, since all runs share one store
	users    map[string]domain.User
	usage    map[string]domain.UserUsage
	workers  map[string]domain.Worker // with Used
	sessions map[string]domain.Session
	keys     map[string]domain.APIKey
	messages map[string]domain.Message
	cleanups map[string]domain.Cleanup
	settings map[string]string
	replicas map[string]domain.Replica
	events   []string

	migrations map[string]domain.Migration
}

func newModel(prefix string) *model {
	return &model{
		prefix: prefix, users: map[string]domain.User{}, usage: map[string]domain.UserUsage{},
		workers: map[string]domain.Worker{}, sessions: map[string]domain.Session{}, keys: map[string]domain.APIKey{},
		messages: map[string]domain.Message{}, cleanups: map[string]domain.Cleanup{}, settings: map[string]string{},
		replicas: map[string]domain.Replica{}, migrations: map[string]domain.Migration{},
	}
}

func (m *model) clone() *model {
	return &model{
		prefix: m.prefix, users: maps.Clone(m.users), usage: maps.Clone(m.usage), workers: maps.Clone(m.workers),
		sessions: maps.Clone(m.sessions), keys: maps.Clone(m.keys), messages: maps.Clone(m.messages),
		cleanups: maps.Clone(m.cleanups), settings: maps.Clone(m.settings), events: slices.Clone(m.events),
		replicas: maps.Clone(m.replicas), migrations: maps.Clone(m.migrations),
	}
}

// A step is one call. Each call interprets the numbers in its own way.
type step struct{ Call, I, J, K, Rev int }

// A change is one transaction.
type change struct {
	Steps []step
	Fails bool
}

// drawChange returns a random transaction.
func drawChange(t *rapid.T) change {
	small := rapid.IntRange(0, 5)
	return change{
		Steps: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
			return step{
				Call: rapid.IntRange(0, len(calls)-1).Draw(t, "call"),
				I:    small.Draw(t, "i"), J: small.Draw(t, "j"), K: small.Draw(t, "k"),
				Rev: rapid.IntRange(0, 7).Draw(t, "rev"),
			}
		}), 1, 6).Draw(t, "steps"),
		Fails: rapid.IntRange(0, 3).Draw(t, "fails") == 0,
	}
}

// followsModel runs random transactions on the store and the model.
func followsModel(d *db) {
	run := 0
	rapid.Check(d.T, func(t *rapid.T) {
		run++
		m := newModel(fmt.Sprintf("p%d-", run))
		start := d.lastSeq()
		for _, c := range rapid.SliceOfN(rapid.Custom(drawChange), 1, 8).Draw(t, "changes") {
			var next *model
			var wrong error
			err := d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
				next, wrong = m.clone(), nil
				for _, s := range c.Steps {
					want, got := calls[s.Call](ctx, tx, next, s)
					if want == nil && got != nil || !errors.Is(got, want) {
						wrong = fmt.Errorf("%+v returned %s, not %s", s, fmt.Sprint(got), fmt.Sprint(want))
						return wrong
					}
				}
				if c.Fails {
					return errOurs
				}
				return nil
			})
			require.NoError(t, wrong)
			if c.Fails {
				require.ErrorIs(t, err, errOurs)
				continue
			}
			require.NoError(t, err)
			m = next
		}
		var wrong error
		require.NoError(t, d.store.View(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
			wrong = m.compare(ctx, tx, start)
			return nil
		}))
		require.NoError(t, wrong)
	})
}

// present returns the Rev for a Put and the expected error.
func (s step) present(there bool, rev int64) (int64, error) {
	switch {
	case s.Rev > 1 && there:
		return rev, nil
	case s.Rev > 1, s.Rev == 1 && !there:
		return 0, nil
	case s.Rev == 1:
		return rev + 1, ports.ErrConflict
	case there:
		return 0, ports.ErrExists
	}
	return 1, ports.ErrConflict
}

// calls execute a step on a store and on the model. They return the error that the model expects and
// the actual one.
var calls = []func(ctx context.Context, tx *ports.Tx, m *model, s step) (want, got error){
	func(ctx context.Context, tx *ports.Tx, m *model, s step) (want, got error) { // put a user
		u := user(fmt.Sprint(m.prefix, "u", s.I%2))
		u.Name, u.CreatedAt = fmt.Sprint("Name ", s.K), at(s.J)
		old, there := m.users[u.ID]
		u.Rev, want = s.present(there, old.Rev)
		got = tx.Users.Put(ctx, u)
		if want == nil {
			m.users[u.ID] = *u
		}
		return want, got
	},
	func(ctx context.Context, tx *ports.Tx, m *model, s step) (want, got error) { // reserve usage of a user
		id := fmt.Sprint(m.prefix, "u", s.I%2)
		add := domain.UserUsage{Sessions: s.J - 2, ActiveSessions: s.K - 2}
		limit := domain.UserUsage{Sessions: 3, ActiveSessions: s.Rev}
		has := m.usage[id]
		sum := domain.UserUsage{Sessions: max(has.Sessions+add.Sessions, 0), ActiveSessions: max(has.ActiveSessions+add.ActiveSessions, 0)}
		if _, there := m.users[id]; !there {
			want = ports.ErrNotFound
		} else if add.Sessions > 0 && sum.Sessions > limit.Sessions || add.ActiveSessions > 0 && sum.ActiveSessions > limit.ActiveSessions {
			want = ports.ErrFull
		} else {
			m.usage[id] = sum
		}
		return want, tx.Users.Reserve(ctx, id, add, limit)
	},
	func(ctx context.Context, tx *ports.Tx, m *model, s step) (want, got error) { // put a worker
		w := worker(fmt.Sprint(m.prefix, "w", s.I%2), s.J)
		w.Online, w.Draining = s.K != 0, s.K == 1
		switch s.K {
		case 2:
			w.Suspect = "unwell"
		case 3:
			w.InMaintenance = true
		}
		old, there := m.workers[w.ID]
		w.Rev, want = s.present(there, old.Rev)
		got = tx.Workers.Put(ctx, w)
		if want == nil {
			w.Used = old.Used
			m.workers[w.ID] = *w
		}
		return want, got
	},
	func(ctx context.Context, tx *ports.Tx, m *model, s step) (want, got error) { // reserve a slot
		id := fmt.Sprint(m.prefix, "w", s.I%2)
		w, there := m.workers[id]
		if !there {
			return nil, nil
		}
		if w.Status() != domain.WorkerOnline || w.Suspect != "" || w.Used >= w.Capacity {
			want = ports.ErrFull
		} else {
			w.Used++
			m.workers[id] = w
		}
		return want, tx.Workers.Reserve(ctx, id)
	},
	func(ctx context.Context, tx *ports.Tx, m *model, s step) (want, got error) { // release a slot
		id := fmt.Sprint(m.prefix, "w", s.I%2)
		if w, there := m.workers[id]; there {
			w.Used = max(w.Used-1, 0)
			m.workers[id] = w
		}
		return nil, tx.Workers.Release(ctx, id)
	},
	func(ctx context.Context, tx *ports.Tx, m *model, s step) (want, got error) { // delete a worker
		id := fmt.Sprint(m.prefix, "w", s.I%2)
		switch w, there := m.workers[id]; {
		case !there:
			want = ports.ErrNotFound
		case w.Used > 0:
			want = ports.ErrConflict
		default:
			delete(m.workers, id)
		}
		return want, tx.Workers.Delete(ctx, id)
	},
	putSession, putSession,
	func(ctx context.Context, tx *ports.Tx, m *model, s step) (want, got error) { // delete a session
		id := fmt.Sprint(m.prefix, "s", s.I%3)
		old, there := m.sessions[id]
		switch {
		case !there:
			want = ports.ErrNotFound
		case s.Rev == 0:
			want = ports.ErrConflict
			old.Rev++
		default:
			delete(m.sessions, id)
			maps.DeleteFunc(m.keys, func(_ string, k domain.APIKey) bool { return k.SessionID == id })
			maps.DeleteFunc(m.messages, func(_ string, v domain.Message) bool { return v.SessionID == id })
		}
		return want, tx.Sessions.Delete(ctx, id, old.Rev)
	},
	func(ctx context.Context, tx *ports.Tx, m *model, s step) (want, got error) { // put an API key
		of := m.sessions[fmt.Sprint(m.prefix, "s", s.I%3)]
		if of.ID == "" {
			return nil, nil
		}
		k := apiKey(fmt.Sprint(m.prefix, "k", s.I), of.ID, of.UserID)
		k.CreatedAt, k.Name = at(s.J), fmt.Sprint("Key ", s.K)
		old, there := m.keys[k.ID]
		k.Rev, want = s.present(there, old.Rev)
		got = tx.APIKeys.Put(ctx, k)
		if want == nil {
			m.keys[k.ID] = *k
		}
		return want, got
	},
	func(ctx context.Context, tx *ports.Tx, m *model, s step) (want, got error) { // delete an API key
		id := fmt.Sprint(m.prefix, "k", s.I)
		if _, there := m.keys[id]; !there {
			want = ports.ErrNotFound
		}
		delete(m.keys, id)
		return want, tx.APIKeys.Delete(ctx, id)
	},
	putMessage, putMessage, putMessage,
	func(ctx context.Context, tx *ports.Tx, m *model, s step) (want, got error) { // put a cleanup
		c := cleanup(fmt.Sprint(m.prefix, "w", s.I%2), fmt.Sprint(m.prefix, "s", s.J%3), at(s.K))
		c.Attempts = s.Rev
		old, there := m.cleanups[c.WorkerID+c.SessionID]
		c.Rev, want = s.present(there, old.Rev)
		got = tx.Cleanups.Put(ctx, c)
		if want == nil {
			m.cleanups[c.WorkerID+c.SessionID] = *c
		}
		return want, got
	},
	func(ctx context.Context, tx *ports.Tx, m *model, s step) (want, got error) { // delete a cleanup
		c := cleanup(fmt.Sprint(m.prefix, "w", s.I%2), fmt.Sprint(m.prefix, "s", s.J%3), noon)
		old, there := m.cleanups[c.WorkerID+c.SessionID]
		c.Rev = old.Rev
		switch {
		case there && s.Rev == 0:
			want = ports.ErrConflict
			c.Rev++
		default:
			delete(m.cleanups, c.WorkerID+c.SessionID)
		}
		return want, tx.Cleanups.Delete(ctx, c)
	},
	func(ctx context.Context, tx *ports.Tx, m *model, s step) (want, got error) { // put a migration
		v := migration(fmt.Sprint(m.prefix, "g", s.I%3), fmt.Sprint(m.prefix, "s", s.J%3), s.K)
		v.Status = []domain.MigrationStatus{domain.MigrationPending, domain.MigrationRunning, domain.MigrationCompleted}[s.J%3]
		if v.Status.Ended() {
			v.CompletedAt = at(s.K + 1)
		}
		old, there := m.migrations[v.ID]
		v.Rev, want = s.present(there, old.Rev)
		got = tx.Migrations.Put(ctx, v)
		if want == nil {
			m.migrations[v.ID] = *v
		}
		return want, got
	},
	func(ctx context.Context, tx *ports.Tx, m *model, s step) (want, got error) { // delete old migrations
		maps.DeleteFunc(m.migrations, func(_ string, v domain.Migration) bool {
			return !v.CompletedAt.IsZero() && v.CompletedAt.Before(at(s.K))
		})
		return nil, tx.Migrations.DeleteBefore(ctx, at(s.K))
	},
	func(ctx context.Context, tx *ports.Tx, m *model, s step) (want, got error) { // put or delete a replica
		r := replica(fmt.Sprint(m.prefix, "r", s.I%2))
		r.SeenAt = at(s.K)
		if s.J == 0 {
			delete(m.replicas, r.ID)
			return nil, tx.Replicas.Delete(ctx, r.ID)
		}
		m.replicas[r.ID] = *r
		return nil, tx.Replicas.Put(ctx, r)
	},
	func(ctx context.Context, tx *ports.Tx, m *model, s step) (want, got error) { // append an event
		m.events = append(m.events, fmt.Sprint(s.I))
		return nil, tx.Outbox.Append(ctx, *event(fmt.Sprint(s.I), noon))
	},
	func(ctx context.Context, tx *ports.Tx, m *model, s step) (want, got error) { // write a setting
		name, value := fmt.Sprint(m.prefix, s.I%2), fmt.Sprint(s.K)
		if s.Rev == 1 {
			delete(m.settings, name)
			return nil, tx.Settings.Delete(ctx, name)
		}
		if s.Rev > 5 {
			old, there := m.settings[name]
			if s.J == 0 || !there && s.J > 2 {
				return ports.ErrConflict, tx.Settings.CompareAndSwap(ctx, name, "another", value)
			}
			m.settings[name] = value
			return nil, tx.Settings.CompareAndSwap(ctx, name, old, value)
		}
		if s.Rev > 3 {
			m.settings[name] = value
			return nil, tx.Settings.Put(ctx, name, value)
		}
		if old, there := m.settings[name]; there {
			value = old
		}
		m.settings[name] = value
		stands, err := tx.Settings.PutIfAbsent(ctx, name, fmt.Sprint(s.K))
		if err == nil && stands != value {
			err = fmt.Errorf("%q is set, not %q", stands, value)
		}
		return nil, err
	},
}

// putSession puts a session.
func putSession(ctx context.Context, tx *ports.Tx, m *model, s step) (want, got error) {
	v := session(fmt.Sprint(m.prefix, "s", s.I%3), fmt.Sprint(m.prefix, "u", s.J%2))
	old, there := m.sessions[v.ID]
	if there {
		v.UserID = old.UserID
	}
	if _, owned := m.users[v.UserID]; !owned {
		return nil, nil
	}
	v.CreatedAt = at(s.K)
	if s.K%3 > 0 {
		v.WorkerID = fmt.Sprint(m.prefix, "w", s.K%2)
	}
	if s.J > 1 {
		v.DueAt = at(s.J)
		v.ClaimedBy = fmt.Sprint(m.prefix, "r", s.J%2)
	}
	v.Status = []domain.Status{domain.Init, domain.Connected, domain.Errored}[s.J%3]
	v.Rev, want = s.present(there, old.Rev)
	got = tx.Sessions.Put(ctx, v)
	if want == nil {
		m.sessions[v.ID] = *v
	}
	return want, got
}

// putMessage puts a message.
func putMessage(ctx context.Context, tx *ports.Tx, m *model, s step) (want, got error) {
	of := m.sessions[fmt.Sprint(m.prefix, "s", s.I%3)]
	if of.ID == "" {
		return nil, nil
	}
	v := sent(fmt.Sprint(m.prefix, "m", s.I), of.ID, of.UserID, s.K)
	v.WhatsAppID = []string{"", "", "X", "Y"}[s.J%4]
	v.Status = []domain.MessageStatus{domain.MessagePending, domain.MessageSent}[s.J%2]
	if s.K%2 == 0 {
		v.Direction = domain.Inbound
	}
	old, there := m.messages[v.ID]
	if there {
		v.Direction = old.Direction
		if v.Direction == domain.Inbound {
			v.WhatsAppID = old.WhatsAppID
		}
	}
	v.Rev, want = s.present(there, old.Rev)
	if !there && want == nil && v.Direction == domain.Inbound && v.WhatsAppID != "" {
		for _, other := range m.messages {
			if other.SessionID == v.SessionID && other.Direction == domain.Inbound && other.WhatsAppID == v.WhatsAppID {
				want = ports.ErrExists
			}
		}
	}
	got = tx.Messages.Put(ctx, v)
	if want == nil {
		m.messages[v.ID] = *v
	}
	return want, got
}

// compare returns the differences between a View and the model.
func (m *model) compare(ctx context.Context, tx *ports.Tx, start int64) error {
	var wrong []error
	expect := func(what string, want, got any, err error) {
		w, g := fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", got)
		if err != nil {
			g = err.Error()
		}
		if w != g {
			wrong = append(wrong, fmt.Errorf("%s: %s, not %s", what, g, w))
		}
	}
	ours := func(id string) bool { return len(id) > len(m.prefix) && id[:len(m.prefix)] == m.prefix }
	for id, u := range m.users {
		got, err := tx.Users.ByEmail(ctx, u.Email)
		expect("user", &u, got, err)
		usage, err := tx.Users.Usage(ctx, id)
		expect("usage", m.usage[id], usage, err)
		var since []time.Time
		for _, v := range m.messages {
			if v.UserID == id && v.Direction == domain.Outbound && !v.CreatedAt.Before(at(2)) {
				since = append(since, v.CreatedAt)
			}
		}
		var first time.Time
		if len(since) > 0 {
			first = slices.MinFunc(since, time.Time.Compare)
		}
		n, from, err := tx.Messages.CountSince(ctx, id, at(2))
		expect("messages sent by "+id, []any{len(since), first}, []any{n, from}, err)
		sessions, total, err := tx.Sessions.List(ctx, ports.SessionFilter{UserID: id}, ports.Page{})
		expect("sessions of "+id, m.sessionIDs(func(s domain.Session) bool { return s.UserID == id }), sorted(sessionIDs(sessions)), err)
		expect("their number", len(sessions), total, nil)
		keys, err := tx.APIKeys.ByUser(ctx, id)
		count := 0
		for _, k := range m.keys {
			if k.UserID == id {
				count++
			}
		}
		expect("keys of "+id, count, len(keys), err)
	}
	for i := range 2 {
		id := fmt.Sprint(m.prefix, "w", i)
		w, there := m.workers[id]
		got, err := tx.Workers.ByEndpoint(ctx, "http://"+id+":8001")
		if there {
			expect("worker", &w, got, err)
		} else {
			expect("worker", ports.ErrNotFound, err, err)
		}
		sessions, err := tx.Sessions.ListByWorker(ctx, id)
		expect("sessions of "+id, m.sessionIDs(func(s domain.Session) bool { return s.WorkerID == id }), sessionIDs(sessions), err)
		cleanups, err := tx.Cleanups.ByWorker(ctx, id)
		for _, c := range cleanups {
			expect("cleanup", m.cleanups[c.WorkerID+c.SessionID], *c, err)
		}
	}
	due, err := tx.Sessions.Due(ctx, at(600), 1<<20)
	due = slices.DeleteFunc(due, func(s *domain.Session) bool { return !ours(s.ID) })
	expect("due", m.sessionIDs(func(s domain.Session) bool { return !s.DueAt.IsZero() }), sorted(sessionIDs(due)), err)
	expect("due in order", true, slices.IsSortedFunc(due, func(a, b *domain.Session) int { return a.DueAt.Compare(b.DueAt) }), nil)
	cleanups, err := tx.Cleanups.Due(ctx, at(600), 1<<20)
	cleanups = slices.DeleteFunc(cleanups, func(c *domain.Cleanup) bool { return !ours(c.SessionID) })
	expect("cleanups", len(m.cleanups), len(cleanups), err)
	m.compareReplicas(ctx, tx, ours, expect)
	pending, err := tx.Messages.PendingBefore(ctx, at(600), 1<<20)
	pending = slices.DeleteFunc(pending, func(v *domain.Message) bool { return !ours(v.ID) })
	expect("pending", m.messageIDs(func(v domain.Message) bool { return v.Status == domain.MessagePending }), sorted(messageIDs(pending)), err)
	for i := range 3 {
		id := fmt.Sprint(m.prefix, "s", i)
		s, there := m.sessions[id]
		got, err := tx.Sessions.Get(ctx, id)
		if there {
			expect("session", &s, got, err)
		} else {
			expect("session", ports.ErrNotFound, err, err)
		}
		m.compareHistory(ctx, tx, id, expect)
	}
	for name, value := range m.settings {
		got, err := tx.Settings.Get(ctx, name)
		expect("setting", value, got, err)
	}
	events, err := tx.Outbox.After(ctx, ports.EventFilter{}, start, 1<<20)
	expect("events", m.events, reasons(events), err)
	return errors.Join(wrong...)
}

// compareReplicas compares replicas, the sessions that they claimed, and migrations.
func (m *model) compareReplicas(
	ctx context.Context, tx *ports.Tx, ours func(id string) bool, expect func(what string, want, got any, err error),
) {
	replicas, err := tx.Replicas.List(ctx)
	replicas = slices.DeleteFunc(replicas, func(r *domain.Replica) bool { return !ours(r.ID) })
	expect("replicas", len(m.replicas), len(replicas), err)
	for _, r := range replicas {
		expect("replica", m.replicas[r.ID], *r, nil)
	}
	for i := range 2 {
		id := fmt.Sprint(m.prefix, "r", i)
		claimed, err := tx.Sessions.ClaimedBy(ctx, id)
		expect("claimed by "+id, m.sessionIDs(func(s domain.Session) bool { return s.ClaimedBy == id }), sessionIDs(claimed), err)
	}
	age := func(a, b domain.Migration) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	}
	values := func(all []*domain.Migration) (list []domain.Migration) {
		for _, v := range all {
			if ours(v.ID) {
				list = append(list, *v)
			}
		}
		return list
	}
	want := slices.SortedFunc(maps.Values(m.migrations), age)
	open, err := tx.Migrations.Open(ctx)
	expect("open migrations",
		slices.DeleteFunc(slices.Clone(want), func(v domain.Migration) bool { return v.Status.Ended() }), values(open), err)
	all, _, err := tx.Migrations.List(ctx, ports.MigrationFilter{}, ports.Page{})
	slices.Reverse(want)
	expect("migrations", want, values(all), err)
}

// compareHistory compares the messages of a session.
func (m *model) compareHistory(ctx context.Context, tx *ports.Tx, id string, expect func(what string, want, got any, err error)) {
	var want []domain.Message
	for _, v := range m.messages {
		if v.SessionID == id {
			want = append(want, v)
		}
	}
	slices.SortFunc(want, func(a, b domain.Message) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.ID, a.ID))
	})
	var got []domain.Message
	messages, err := tx.Messages.List(ctx, id, domain.MessageFilter{})
	for _, v := range messages {
		got = append(got, *v)
	}
	expect("history of "+id, want, got, err)
	for _, v := range want {
		if v.WhatsAppID == "" {
			continue
		}
		found, err := tx.Messages.ByWhatsAppID(ctx, id, v.WhatsAppID)
		if err == nil {
			expect("by WhatsApp id", v.WhatsAppID, found.WhatsAppID, nil)
		} else {
			expect("by WhatsApp id", nil, nil, err)
		}
	}
}

// sessionIDs returns the sorted ids of the matching sessions.
func (m *model) sessionIDs(match func(domain.Session) bool) (ids []string) {
	for id, s := range m.sessions {
		if match(s) {
			ids = append(ids, id)
		}
	}
	return sorted(ids)
}

// messageIDs returns the sorted ids of the matching messages.
func (m *model) messageIDs(match func(domain.Message) bool) (ids []string) {
	for id, v := range m.messages {
		if match(v) {
			ids = append(ids, id)
		}
	}
	return sorted(ids)
}

func sorted(ids []string) []string {
	slices.Sort(ids)
	return ids
}
