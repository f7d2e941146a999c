package conformance

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var sessionClauses = []clause{
	{"a session needs its user", sessionNeedsUser},
	{"Delete also deletes keys and messages", deleteCascades},
	{"Delete needs the present Rev", deleteStale},
	{"Delete keeps the generation", deleteKeepsGeneration},
	{"sessions are filtered", sessionsFiltered},
	{"sessions that wait for a scan are filtered", sessionsAwaitingScan},
	{"sessions are listed in pages", sessionsPaged},
	{"sessions are searched literally", sessionsSearched},
	{"ListByWorker", listByWorker},
	{"EachAssigned", eachAssigned},
	{"Due and NextDue", sessionsDue},
	{"ClaimedBy", claimedBy},
	{"CountByStatus", countByStatus},
}

func sessionNeedsUser(d *db) {
	s := session("s1", "u1")
	require.ErrorIs(d.T, d.tryPut(s), ports.ErrNotFound)
	d.requireGone(s)
	d.put(user("u1"), s)
}

func deleteCascades(d *db) {
	d.update(writeFixture)
	s := reload(d, &domain.Session{ID: "s1"})
	d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Sessions.Delete(ctx, "s1", s.Rev) })

	d.requireGone(s)
	for _, id := range []string{"k1", "k2"} {
		d.requireGone(apiKey(id, "s1", "u1"))
		missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.APIKey, error) {
			return tx.APIKeys.ByHash(ctx, hash(id))
		})
	}
	for _, id := range []string{"m1", "m2", "m3"} {
		d.requireGone(sent(id, "s1", "u1", 0))
	}
	missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.Message, error) {
		return tx.Messages.ByWhatsAppID(ctx, "s1", "x2")
	})
	after := d.dump()
	require.Empty(d.T, after["s1 messages"])
	require.Empty(d.T, after["due sessions"])
	require.Equal(d.T, []any{0, time.Time{}}, after["u1 messages"])
	require.Len(d.T, after["u1 keys"], 1, "messages of other sessions stay")
	require.Len(d.T, after["u1 sessions"], 1)
	require.Len(d.T, after["w1 sessions"], 1)
	require.Len(d.T, after["pending"], 1)
	require.Len(d.T, after["w1 cleanups"], 1)
	require.Len(d.T, after["events"], 2)

	// The id is free again. A new session has nothing of the former one.
	d.put(session("s1", "u2"), received("m2", "x2", "s1", "u2", 1), apiKey("k1", "s1", "u2"))
	require.ErrorIs(d.T, d.tryPut(s), ports.ErrConflict)
	require.Len(d.T, read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Message, error) {
		return tx.Messages.List(ctx, "s1", domain.MessageFilter{})
	}), 1)
}

func deleteStale(d *db) {
	s := session("s1", "u1")
	d.put(user("u1"), s)
	stale := s.Rev
	d.put(s)
	d.put(s)
	for _, rev := range []int64{0, stale, s.Rev - 1, s.Rev + 1} {
		d.refuse(ports.ErrConflict, func(ctx context.Context, tx *ports.Tx) error { return tx.Sessions.Delete(ctx, "s1", rev) })
	}
	requireSame(d.T, s, reload(d, s))
	d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Sessions.Delete(ctx, "s1", s.Rev) })
	d.refuse(ports.ErrNotFound, func(ctx context.Context, tx *ports.Tx) error { return tx.Sessions.Delete(ctx, "s1", s.Rev) })
}

func deleteKeepsGeneration(d *db) {
	lastGeneration := func() (generation int64, known bool) {
		generation = read(d, func(ctx context.Context, tx *ports.Tx) (n int64, err error) {
			n, known, err = tx.Sessions.LastGeneration(ctx, "s1")
			return n, err
		})
		return generation, known
	}
	requireLast := func(want int64, wantKnown bool) {
		d.Helper()
		generation, known := lastGeneration()
		require.Equal(d.T, want, generation)
		require.Equal(d.T, wantKnown, known)
	}
	remove := func(generation int64) {
		s := session("s1", "u1")
		s.Generation = generation
		d.put(s)
		d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Sessions.Delete(ctx, "s1", s.Rev) })
	}
	d.put(user("u1"))
	requireLast(0, false)
	remove(0)
	requireLast(0, false) // no worker was ever given it
	remove(7)
	requireLast(7, true)
	remove(9)
	requireLast(9, true)
	remove(3)
	requireLast(9, true) // generations never go back

	s := session("s1", "u1")
	s.Generation = 12
	d.put(s)
	require.ErrorIs(d.T, d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
		return firstError(tx.Sessions.Delete(ctx, "s1", s.Rev), errOurs)
	}), errOurs)
	requireLast(9, true) // the transaction was rolled back
}

func (d *db) sessions(f ports.SessionFilter, p ports.Page) (ids []string, total int) {
	d.Helper()
	all := read(d, func(ctx context.Context, tx *ports.Tx) (sessions []*domain.Session, err error) {
		sessions, total, err = tx.Sessions.List(ctx, f, p)
		return sessions, err
	})
	return sessionIDs(all), total
}

func sessionIDs(all []*domain.Session) (ids []string) {
	for _, s := range all {
		ids = append(ids, s.ID)
	}
	return ids
}

func sessionsAwaitingScan(d *db) {
	d.put(user("u1"), user("u2"), worker("w1", 9))
	waiting := func(id, userID, from string, status domain.Status, expires time.Time) *domain.Session {
		s := assignedSession(id, userID, "w1")
		s.Intent, s.Status, s.CredentialsWorkerID, s.ConnectedFrom = domain.Up, status, "", from
		s.QR = domain.QR{Code: "2@", ExpiresAt: expires}
		return s
	}
	linked := waiting("linked", "u1", "192.0.2.1", domain.QRRequired, at(1))
	linked.CredentialsWorkerID, linked.PhoneNumber = "w1", "" // its worker reported no number
	down := waiting("down", "u1", "192.0.2.1", domain.QRRequired, at(1))
	down.Intent = domain.Down
	connected := waiting("connected", "u1", "192.0.2.1", domain.Connected, at(1))
	starting := waiting("starting", "u1", "192.0.2.1", domain.Init, time.Time{})
	starting.QR = domain.QR{}
	d.put(linked, down, connected, starting,
		waiting("one", "u1", "192.0.2.1", domain.QRRequired, at(10)), waiting("two", "u2", "192.0.2.1", domain.QRRequired, at(20)),
		waiting("far", "u2", "2001:db8::/64", domain.QRRequired, at(30)), waiting("unknown", "u2", "", domain.QRRequired, at(40)))
	for f, want := range map[ports.SessionFilter][]string{
		{AwaitsScan: true}:                                        {"far", "one", "starting", "two", "unknown"},
		{AwaitsScan: true, UserID: "u1"}:                          {"one", "starting"},
		{AwaitsScan: true, ConnectedFrom: "192.0.2.1"}:            {"one", "starting", "two"},
		{AwaitsScan: true, ConnectedFrom: "2001:db8::/64"}:        {"far"},
		{AwaitsScan: true, QRExpiredBefore: at(20)}:               {"one"},
		{AwaitsScan: true, QRExpiredBefore: at(21), UserID: "u2"}: {"two"},
		{AwaitsScan: true, ConnectedFrom: "192.0.2.9"}:            nil,
	} {
		got, total := d.sessions(f, ports.Page{})
		require.ElementsMatch(d.T, want, got, "%+v", f)
		require.Equal(d.T, len(want), total)
	}
}

func sessionsFiltered(d *db) {
	d.put(user("u1"), user("u2"), worker("w1", 9), worker("w2", 9))
	for i, s := range []*domain.Session{
		assignedSession("a", "u1", "w1"), session("c", "u1"), assignedSession("b", "u1", "w2"), assignedSession("d", "u2", "w1"),
	} {
		s.CreatedAt = at([]int{1, 3, 2, 4}[i])
		s.PhoneNumber = []string{"628111", "", "628222", "628111"}[i]
		d.put(s)
	}
	type filter = ports.SessionFilter
	check := func(want map[filter][]string) {
		d.Helper()
		for f, ids := range want {
			got, total := d.sessions(f, ports.Page{})
			require.Equal(d.T, ids, got, "%+v", f)
			require.Equal(d.T, len(ids), total, "%+v", f)
		}
	}
	check(map[filter][]string{
		{}:                                    {"d", "c", "b", "a"},
		{UserID: "u1"}:                        {"c", "b", "a"},
		{UserID: "none"}:                      nil,
		{WorkerID: "w1"}:                      {"d", "a"},
		{WorkerID: "none"}:                    nil,
		{Status: domain.Connected}:            {"d", "b", "a"},
		{Status: domain.Errored}:              nil,
		{Search: "8111"}:                      {"d", "a"},
		{Search: "SESSION C"}:                 {"c"},
		{UserID: "u1", Search: "628"}:         {"b", "a"},
		{UserID: "u1", WorkerID: "w1"}:        {"a"},
		{UserID: "u2", WorkerID: "w2"}:        nil,
		{WorkerID: "w1", Search: "session d"}: {"d"},
		{UserID: "u1", WorkerID: "w2", Status: domain.Connected, Search: "b"}: {"b"},
	})
	// A Put moves a session from one list to the other.
	s := reload(d, session("a", "u1"))
	s.WorkerID, s.Status, s.Name, s.PhoneNumber = "w2", domain.Reconnecting, "Elsewhere", "628333"
	d.put(s)
	check(map[filter][]string{
		{WorkerID: "w1"}: {"d"}, {WorkerID: "w2"}: {"b", "a"}, {Status: domain.Connected}: {"d", "b"},
		{Status: domain.Reconnecting}: {"a"}, {Search: "elsewhere"}: {"a"}, {Search: "session a"}: nil, {Search: "628333"}: {"a"},
	})
}

func sessionsPaged(d *db) {
	d.put(user("u1"), user("u2"))
	for i := range 11 {
		s := session(string(rune('a'+i)), []string{"u1", "u1", "u2"}[i%3])
		s.WorkerID = []string{"w1", ""}[i%2]
		d.put(s) // all of the same age
	}
	for _, f := range []ports.SessionFilter{{}, {UserID: "u1"}, {WorkerID: "w1"}, {Search: "session"}, {Status: domain.Disconnected}} {
		whole, _ := d.sessions(f, ports.Page{})
		require.GreaterOrEqual(d.T, len(whole), 6)
		requirePages(d.T, whole, func(p ports.Page) ([]string, int) { return d.sessions(f, p) })
	}
}

func sessionsSearched(d *db) {
	d.put(user("u1"))
	for i, text := range texts {
		s := session(string(rune('a'+i)), "u1")
		s.Name = text
		d.put(s)
	}
	requireLiteral(d.T, func(text string) (names []string) {
		found := read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Session, error) {
			all, _, err := tx.Sessions.List(ctx, ports.SessionFilter{Search: text}, ports.Page{})
			return all, err
		})
		for _, s := range found {
			names = append(names, s.Name)
		}
		return names
	})
}

// listByWorker requires the order of the bytes of ids, whatever the language of a database.
func listByWorker(d *db) {
	d.put(user("u1"), worker("w1", 9))
	for _, id := range []string{"s-10", "s10", "s-2", "s1", "s-1"} {
		d.put(assignedSession(id, "u1", "w1"))
	}
	d.put(assignedSession("x", "u1", "w2"), session("y", "u1"))
	list := func(id string) []string {
		return sessionIDs(read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Session, error) {
			return tx.Sessions.ListByWorker(ctx, id)
		}))
	}
	require.Equal(d.T, []string{"s-1", "s-10", "s-2", "s1", "s10"}, list("w1"))
	require.Equal(d.T, []string{"x"}, list("w2"))
	require.Empty(d.T, list(""), "unassigned sessions belong to no worker")

	s := reload(d, session("s10", "u1"))
	s.WorkerID = ""
	d.put(s)
	s = reload(d, session("s1", "u1"))
	s.WorkerID = "w2"
	d.put(s)
	require.Equal(d.T, []string{"s-1", "s-10", "s-2"}, list("w1"))
	require.Equal(d.T, []string{"s1", "x"}, list("w2"))
}

func eachAssigned(d *db) {
	d.put(user("u1"))
	want := make(map[string]string)
	for i := range 30 {
		s := assignedSession(string(rune('A'+i)), "u1", []string{"w1", "w2", "w3", ""}[i%4])
		if s.WorkerID != "" {
			want[s.ID] = s.WorkerID
		}
		d.put(s)
	}
	var kept []*domain.Session
	require.NoError(d.T, d.store.View(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
		kept = nil
		return tx.Sessions.EachAssigned(ctx, func(s *domain.Session) error {
			kept = append(kept, s)
			return nil
		})
	}))
	got := make(map[string]string)
	for _, s := range kept {
		got[s.ID] = s.WorkerID
		requireSame(d.T, assignedSession(s.ID, "u1", s.WorkerID), s)
		require.NotZero(d.T, s.Rev)
	}
	require.Equal(d.T, want, got)
	require.Len(d.T, kept, len(want), "each session once")

	calls := 0
	err := d.store.View(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
		calls = 0
		return tx.Sessions.EachAssigned(ctx, func(*domain.Session) error {
			calls++
			if calls == 3 {
				return errOurs
			}
			return nil
		})
	})
	require.Same(d.T, errOurs, err)
	require.Equal(d.T, 3, calls)
	require.Len(d.T, d.dump()["w1 sessions"], 8, "the iteration may stop early")
}

func sessionsDue(d *db) {
	d.put(user("u1"))
	next := func() time.Time {
		return read(d, func(ctx context.Context, tx *ports.Tx) (time.Time, error) { return tx.Sessions.NextDue(ctx) })
	}
	due := func(at time.Time, limit int) []string {
		return sessionIDs(read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Session, error) {
			return tx.Sessions.Due(ctx, at, limit)
		}))
	}
	require.True(d.T, next().IsZero())
	require.Empty(d.T, due(at(600), 10))
	for i, minute := range []int{5, 3, 9, 1, 7, 0, 8, 2, 6, 4} {
		s := session(string(rune('a'+i)), "u1")
		s.DueAt = at(minute)
		if minute == 0 {
			s.DueAt = time.Time{}
		}
		d.put(s)
	}
	require.Equal(d.T, at(1), next())
	require.Empty(d.T, due(at(0), 10))
	require.Equal(d.T, []string{"d"}, due(at(1), 10), "the time itself counts")
	require.Empty(d.T, due(at(1).Add(-time.Microsecond), 10))
	require.Equal(d.T, []string{"d", "h", "b", "j", "a"}, due(at(5), 10))
	require.Equal(d.T, []string{"d", "h", "b"}, due(at(5), 3))
	require.Equal(d.T, []string{"d", "h", "b", "j", "a", "i", "e", "g", "c"}, due(at(600), 100))

	for id, minute := range map[string]int{"d": 20, "h": 0, "c": 2} {
		s := reload(d, session(id, "u1"))
		s.DueAt = at(minute)
		if minute == 0 {
			s.DueAt = time.Time{}
		}
		d.put(s)
	}
	s := reload(d, session("b", "u1"))
	d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Sessions.Delete(ctx, "b", s.Rev) })
	require.Equal(d.T, at(2), next())
	require.Equal(d.T, []string{"c", "j", "a", "i", "e", "g", "d"}, due(at(600), 100))
}

func claimedBy(d *db) {
	d.put(user("u1"))
	for id, replica := range map[string]string{"s10": "r1", "s-2": "r1", "s1": "r2", "s2": "", "s-10": "r1"} {
		s := session(id, "u1")
		s.ClaimedBy = replica
		if replica != "" {
			s.ClaimedUntil = at(1)
		}
		d.put(s)
	}
	list := func(id string) []string {
		return sessionIDs(read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Session, error) {
			return tx.Sessions.ClaimedBy(ctx, id)
		}))
	}
	require.Equal(d.T, []string{"s-10", "s-2", "s10"}, list("r1"), "by the bytes of ids")
	require.Equal(d.T, []string{"s1"}, list("r2"))
	require.Empty(d.T, list(""), "unclaimed sessions belong to no replica")
	require.Empty(d.T, list("r"))

	for id, replica := range map[string]string{"s-2": "", "s2": "r2"} {
		s := reload(d, session(id, "u1"))
		s.ClaimedBy = replica
		d.put(s)
	}
	s := reload(d, session("s10", "u1"))
	d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Sessions.Delete(ctx, "s10", s.Rev) })
	require.Equal(d.T, []string{"s-10"}, list("r1"))
	require.Equal(d.T, []string{"s1", "s2"}, list("r2"))
}

func countByStatus(d *db) {
	count := func() map[domain.Status]int {
		counts := read(d, func(ctx context.Context, tx *ports.Tx) (map[domain.Status]int, error) {
			return tx.Sessions.CountByStatus(ctx)
		})
		for status, n := range counts {
			if n == 0 {
				delete(counts, status)
			}
		}
		return counts
	}
	require.Empty(d.T, count())
	d.put(user("u1"), session("a", "u1"), session("b", "u1"), assignedSession("c", "u1", "w1"))
	require.Equal(d.T, map[domain.Status]int{domain.Disconnected: 2, domain.Connected: 1}, count())
	s := reload(d, session("a", "u1"))
	s.Status = domain.Errored
	d.put(s)
	s = reload(d, session("c", "u1"))
	d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Sessions.Delete(ctx, "c", s.Rev) })
	require.Equal(d.T, map[domain.Status]int{domain.Disconnected: 1, domain.Errored: 1}, count())
}
