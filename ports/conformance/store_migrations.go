package conformance

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var migrationClauses = []clause{
	{"migrations are filtered", migrationsFiltered},
	{"migrations are listed in pages, newest first", migrationsPaged},
	{"Open returns pending and running migrations, oldest first", migrationsOpen},
	{"DeleteBefore removes migrations that ended before", migrationsDeletedBefore},
	{"a migration outlives its session", migrationsOutlive},
}

var replicaClauses = []clause{
	{"a replica replaces its row", replicaReplaced},
	{"replicas are listed by id", replicasListed},
}

func (d *db) migrations(f ports.MigrationFilter, p ports.Page) (ids []string, total int) {
	d.Helper()
	all := read(d, func(ctx context.Context, tx *ports.Tx) (all []*domain.Migration, err error) {
		all, total, err = tx.Migrations.List(ctx, f, p)
		return all, err
	})
	return migrationIDs(all), total
}

func (d *db) open() []string {
	d.Helper()
	return migrationIDs(read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Migration, error) {
		return tx.Migrations.Open(ctx)
	}))
}

func migrationIDs(all []*domain.Migration) (ids []string) {
	for _, m := range all {
		ids = append(ids, m.ID)
	}
	return ids
}

func migrationsFiltered(d *db) {
	for i, m := range []*domain.Migration{
		{SessionID: "s1", FromWorker: "w1", ToWorker: "w2", Kind: domain.MigrationByOperator, Status: domain.MigrationCompleted},
		{SessionID: "s1", FromWorker: "w2", ToWorker: "w3", Kind: domain.MigrationByDrain, BatchID: "b1", Status: domain.MigrationFailed},
		{SessionID: "s2", FromWorker: "w2", Kind: domain.MigrationByDrain, BatchID: "b1", Status: domain.MigrationPending},
		{SessionID: "s3", FromWorker: "w1", ToWorker: "w3", Kind: domain.MigrationByRebalance, BatchID: "b2", Status: domain.MigrationRunning},
		{SessionID: "s2", FromWorker: "w3", ToWorker: "w1", Kind: domain.MigrationByFailover, Status: domain.MigrationCancelled},
	} {
		m.ID, m.CreatedAt = string(rune('a'+i)), at(i)
		d.put(m)
	}
	type filter = ports.MigrationFilter
	check := func(want map[filter][]string) {
		d.Helper()
		for f, ids := range want {
			got, total := d.migrations(f, ports.Page{})
			require.Equal(d.T, ids, got, "%+v", f)
			require.Equal(d.T, len(ids), total, "%+v", f)
		}
	}
	check(map[filter][]string{
		{}:                                              {"e", "d", "c", "b", "a"},
		{SessionID: "s1"}:                               {"b", "a"},
		{SessionID: "s"}:                                nil,
		{WorkerID: "w1"}:                                {"e", "d", "a"},
		{WorkerID: "w2"}:                                {"c", "b", "a"},
		{WorkerID: "none"}:                              nil,
		{BatchID: "b1"}:                                 {"c", "b"},
		{Kind: domain.MigrationByDrain}:                 {"c", "b"},
		{Kind: domain.MigrationByFailover}:              {"e"},
		{Status: domain.MigrationRunning}:               {"d"},
		{Status: domain.MigrationCompleted}:             {"a"},
		{SessionID: "s2", WorkerID: "w1"}:               {"e"},
		{WorkerID: "w2", BatchID: "b2"}:                 nil,
		{WorkerID: "w3", Kind: domain.MigrationByDrain}: {"b"},
		{SessionID: "s1", WorkerID: "w2", BatchID: "b1", Kind: domain.MigrationByDrain, Status: domain.MigrationFailed}: {"b"},
	})
	// A Put moves a migration from one list to the other.
	m := reload(d, &domain.Migration{ID: "c"})
	m.ToWorker, m.Status, m.BatchID = "w9", domain.MigrationCompleted, ""
	d.put(m)
	check(map[filter][]string{
		{WorkerID: "w9"}: {"c"}, {WorkerID: "w2"}: {"c", "b", "a"}, {BatchID: "b1"}: {"b"},
		{Status: domain.MigrationPending}: nil, {Status: domain.MigrationCompleted}: {"c", "a"},
	})
}

func migrationsPaged(d *db) {
	for i, minute := range []int{3, 1, 4, 1, 5, 9, 2, 6} {
		m := migration(string(rune('a'+i)), "s1", minute)
		if i%2 == 0 {
			m.SessionID = "s2"
		}
		d.put(m)
	}
	page := func(f ports.MigrationFilter) func(p ports.Page) ([]string, int) {
		return func(p ports.Page) ([]string, int) { return d.migrations(f, p) }
	}
	requirePages(d.T, []string{"f", "h", "e", "c", "a", "g", "d", "b"}, page(ports.MigrationFilter{}))
	requirePages(d.T, []string{"e", "c", "a", "g"}, page(ports.MigrationFilter{SessionID: "s2"}))
}

func migrationsOpen(d *db) {
	require.Empty(d.T, d.open())
	for i, status := range []domain.MigrationStatus{
		domain.MigrationRunning, domain.MigrationPending, domain.MigrationCompleted, domain.MigrationFailed,
		domain.MigrationCancelled, domain.MigrationPending,
	} {
		m := migration(string(rune('a'+i)), "s1", []int{3, 5, 1, 2, 4, 3}[i])
		m.Status = status
		d.put(m)
	}
	require.Equal(d.T, []string{"a", "f", "b"}, d.open(), "migrations of one time by id")
	m := reload(d, &domain.Migration{ID: "a"})
	m.Status, m.CompletedAt = domain.MigrationCompleted, at(9)
	next := reload(d, &domain.Migration{ID: "b"})
	next.Status, next.StartedAt, next.CreatedAt = domain.MigrationRunning, at(9), at(0)
	d.put(m, next)
	require.Equal(d.T, []string{"b", "f"}, d.open())
}

func migrationsDeletedBefore(d *db) {
	for i, ended := range []time.Time{at(5), {}, at(7), at(3), {}} {
		m := migration(string(rune('a'+i)), "s1", i)
		m.CompletedAt = ended
		if !ended.IsZero() {
			m.Status = domain.MigrationCompleted
		}
		d.put(m)
	}
	left := func(before time.Time) []string {
		d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Migrations.DeleteBefore(ctx, before) })
		ids, _ := d.migrations(ports.MigrationFilter{}, ports.Page{})
		return ids
	}
	require.Equal(d.T, []string{"e", "d", "c", "b", "a"}, left(at(3)), "the time itself does not count")
	require.Equal(d.T, []string{"e", "c", "b", "a"}, left(at(3).Add(time.Microsecond)))
	require.Equal(d.T, []string{"e", "c", "b"}, left(at(6)))
	require.Equal(d.T, []string{"e", "b"}, left(at(9999)), "open migrations stay")
	require.Equal(d.T, []string{"b", "e"}, d.open())
	d.requireGone(&domain.Migration{ID: "c"})
}

func migrationsOutlive(d *db) {
	s, m := session("s1", "u1"), migration("g1", "s1", 1)
	d.put(user("u1"), s, m)
	d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Sessions.Delete(ctx, "s1", s.Rev) })
	requireSame(d.T, m, reload(d, m))
	d.put(migration("g2", "never there", 2))
}

func (d *db) replicas() (all []*domain.Replica) {
	d.Helper()
	return read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Replica, error) { return tx.Replicas.List(ctx) })
}

func replicaReplaced(d *db) {
	r, other := replica("r1"), replica("r2")
	d.put(r, other)
	r.SeenAt, r.Version = at(1), "1.0.1"
	d.put(r)
	d.put(r)
	requireSame(d.T, r, reload(d, r))
	require.Equal(d.T, []*domain.Replica{r, other}, d.replicas())
	remove := func(ctx context.Context, tx *ports.Tx) error { return tx.Replicas.Delete(ctx, "r1") }
	d.update(remove)
	d.update(remove)
	require.Equal(d.T, []*domain.Replica{other}, d.replicas())
	d.put(r)
	requireSame(d.T, r, reload(d, r))
}

func replicasListed(d *db) {
	require.Empty(d.T, d.replicas())
	for _, id := range []string{"r-10", "r10", "r-2", "R1", "r1"} {
		d.put(replica(id))
	}
	var ids []string
	for _, r := range d.replicas() {
		ids = append(ids, r.ID)
	}
	require.Equal(d.T, []string{"R1", "r-10", "r-2", "r1", "r10"}, ids, "by the bytes of ids")
}
