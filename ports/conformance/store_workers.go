package conformance

import (
	"context"
	"errors"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var workerClauses = []clause{
	{"endpoints are unique", uniqueEndpoints},
	{"endpoints are unique in any spelling", uniqueSpellings},
	{"workers are filtered", workersFiltered},
	{"workers are listed in pages, by id", workersPaged},
	{"a Put does not write Used", putLeavesUsed},
	{"slots are reserved and released", slots},
	{"Reserve needs an online worker", reserveOnline},
	{"Reserve refuses a suspect worker", reserveSuspect},
	{"Delete refuses a worker with used slots", deleteUsed},
}

func (d *db) reserve(id string) error {
	return d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error { return tx.Workers.Reserve(ctx, id) })
}

func (d *db) release(id string) {
	d.Helper()
	d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Workers.Release(ctx, id) })
}

func uniqueEndpoints(d *db) {
	byEndpoint := func(endpoint string) string {
		return read(d, func(ctx context.Context, tx *ports.Tx) (*domain.Worker, error) {
			return tx.Workers.ByEndpoint(ctx, endpoint)
		}).ID
	}
	a, b := worker("w1", 1), worker("w2", 1)
	d.put(a, b)
	duplicate := worker("w3", 1)
	duplicate.Endpoint = a.Endpoint
	require.ErrorIs(d.T, d.tryPut(duplicate), ports.ErrExists)
	d.requireGone(duplicate)
	b.Endpoint = a.Endpoint
	require.ErrorIs(d.T, d.tryPut(b), ports.ErrExists)
	require.Equal(d.T, "http://w2:8001", reload(d, b).Endpoint)
	require.Equal(d.T, "w1", byEndpoint(a.Endpoint))

	a.Endpoint = "http://elsewhere"
	d.put(a)
	require.Equal(d.T, "w1", byEndpoint("http://elsewhere"))
	missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.Worker, error) {
		return tx.Workers.ByEndpoint(ctx, "http://w1:8001")
	})
	b.Endpoint = "http://w1:8001" // free again
	d.put(b)
	require.Equal(d.T, "w2", byEndpoint("http://w1:8001"))
	d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Workers.Delete(ctx, "w2") })
	duplicate.Endpoint = "http://w1:8001"
	d.put(duplicate)
	require.Equal(d.T, "w3", byEndpoint("http://w1:8001"))
}

func uniqueSpellings(d *db) {
	a, b := worker("w1", 1), worker("w2", 1)
	a.Endpoint = "http://localhost:9001"
	d.put(a, b)
	for _, endpoint := range []string{"http://localhost:9001", "http://127.0.0.1:9001", "http://[::1]:9001"} {
		other := worker("w3", 1)
		other.Endpoint = endpoint
		require.ErrorIs(d.T, d.tryPut(other), ports.ErrExists, "insert %s", endpoint)
		changed := b.Clone()
		changed.Endpoint = endpoint
		require.ErrorIs(d.T, d.tryPut(changed), ports.ErrExists, "update to %s", endpoint)
	}
	missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.Worker, error) {
		return tx.Workers.ByEndpoint(ctx, "http://127.0.0.1:9001")
	})

	a.Endpoint = "http://127.0.0.1:9001" // its own
	d.put(a)
	a.Endpoint = "http://w1"
	d.put(a)
	b.Endpoint = "http://[::1]:9001" // free again
	d.put(b)
	a.Endpoint = "http://0.0.0.0:9001"
	require.ErrorIs(d.T, d.tryPut(a), ports.ErrExists)
	d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Workers.Delete(ctx, "w2") })
	d.put(a)
}

func (d *db) workers(f ports.WorkerFilter, p ports.Page) (ids []string, total int) {
	d.Helper()
	all := read(d, func(ctx context.Context, tx *ports.Tx) (workers []*domain.Worker, err error) {
		workers, total, err = tx.Workers.List(ctx, f, p)
		return workers, err
	})
	for _, w := range all {
		ids = append(ids, w.ID)
	}
	return ids, total
}

func workersFiltered(d *db) {
	add := func(id string, online, draining bool, environment string) {
		w := worker(id, 1)
		w.Online, w.Draining, w.Environment = online, draining, environment
		d.put(w)
	}
	add("a", true, false, "production")
	add("b", true, true, "production")
	add("c", false, false, "staging")
	add("d", false, true, "")
	add("e", false, false, "Größe_1")
	f := worker("f", 1)
	f.Online, f.InMaintenance, f.StateGroup = true, true, "disk"
	d.put(f)
	for f, want := range map[ports.WorkerFilter][]string{
		{}:                                 {"a", "b", "c", "d", "e", "f"},
		{Status: domain.WorkerOnline}:      {"a"},
		{Status: domain.WorkerMaintenance}: {"b", "f"},
		{Status: domain.WorkerOffline}:     {"c", "d", "e"},
		{Environment: "production"}:        {"a", "b"},
		{Environment: "Production"}:        {"a", "b"},
		{Environment: "p%"}:                nil,
		{Environment: "GRÖßE_1"}:           {"e"},
		{Environment: "größe-1"}:           nil,
		{Environment: "prod"}:              nil,
		{Status: domain.WorkerOffline, Environment: "staging"}: {"c"},
		{StateGroup: "disk"}: {"f"},
		{StateGroup: "Disk"}: nil,
		{StateGroup: "disk", Status: domain.WorkerOffline}:    nil,
		{Status: domain.WorkerOnline, Environment: "staging"}: nil,
	} {
		ids, total := d.workers(f, ports.Page{})
		require.Equal(d.T, want, ids, "%+v", f)
		require.Equal(d.T, len(want), total, "%+v", f)
	}
}

func workersPaged(d *db) {
	for i, id := range []string{"worker-2", "worker1", "worker-10", "a-b", "worker-1", "ab", "a1", "z"} {
		w := worker(id, 1)
		w.CreatedAt = at(i)
		d.put(w)
	}
	whole, _ := d.workers(ports.WorkerFilter{}, ports.Page{})
	require.Equal(d.T, []string{"a-b", "a1", "ab", "worker-1", "worker-10", "worker-2", "worker1", "z"}, whole, "by the bytes of ids")
	requirePages(d.T, whole, func(p ports.Page) ([]string, int) { return d.workers(ports.WorkerFilter{}, p) })
	online := ports.WorkerFilter{Status: domain.WorkerOnline}
	requirePages(d.T, whole, func(p ports.Page) ([]string, int) { return d.workers(online, p) })
}

func putLeavesUsed(d *db) {
	w := worker("w1", 3)
	w.Used = 2
	d.put(w)
	require.Zero(d.T, reload(d, w).Used)
	stale := w.Clone()
	require.NoError(d.T, d.reserve("w1"))
	require.NoError(d.T, d.reserve("w1"))
	require.Equal(d.T, stale.Rev, reload(d, w).Rev, "Reserve does not change Rev")
	stale.Used, stale.Capacity = 0, 5
	d.put(stale)
	got := reload(d, w)
	require.Equal(d.T, 2, got.Used)
	require.Equal(d.T, 5, got.Capacity)
	list := read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Worker, error) {
		all, _, err := tx.Workers.List(ctx, ports.WorkerFilter{}, ports.Page{})
		return all, err
	})
	require.Equal(d.T, 2, list[0].Used)
	require.Equal(d.T, 2, read(d, func(ctx context.Context, tx *ports.Tx) (*domain.Worker, error) {
		return tx.Workers.ByEndpoint(ctx, w.Endpoint)
	}).Used)
}

func slots(d *db) {
	w := worker("w1", 2)
	d.put(w, worker("w2", 0))
	used := func() int { return reload(d, w).Used }
	require.ErrorIs(d.T, d.reserve("w2"), ports.ErrFull)
	require.NoError(d.T, d.reserve("w1"))
	require.NoError(d.T, d.reserve("w1"))
	require.ErrorIs(d.T, d.reserve("w1"), ports.ErrFull)
	require.Equal(d.T, 2, used())
	d.release("w1")
	require.Equal(d.T, 1, used())
	require.NoError(d.T, d.reserve("w1"))

	w.Capacity = 1 // below the used slots: no new reservation
	d.put(w)
	require.Equal(d.T, 2, used())
	require.ErrorIs(d.T, d.reserve("w1"), ports.ErrFull)
	d.release("w1")
	require.ErrorIs(d.T, d.reserve("w1"), ports.ErrFull)
	d.release("w1")
	d.release("w1")
	d.release("w1")
	require.Zero(d.T, used(), "a release without a reservation changes nothing")
	require.NoError(d.T, d.reserve("w1"))
	require.ErrorIs(d.T, d.reserve("w1"), ports.ErrFull)
}

func reserveOnline(d *db) {
	for i, w := range []*domain.Worker{
		{Online: false}, {Online: true, Draining: true}, {Online: false, Draining: true}, {Online: true, InMaintenance: true},
	} {
		w.ID, w.Capacity = string(rune('a'+i))+"-worker", 5
		w.Endpoint = "http://" + w.ID
		d.put(w)
		require.ErrorIs(d.T, d.reserve(w.ID), ports.ErrFull)
		w.Online, w.Draining, w.InMaintenance = true, false, false
		d.put(w)
		require.NoError(d.T, d.reserve(w.ID))
		w.Online = false
		d.put(w)
		require.ErrorIs(d.T, d.reserve(w.ID), ports.ErrFull)
		d.release(w.ID)
		require.Zero(d.T, reload(d, w).Used, "slots of a lost worker are released")
	}
	err := d.reserve("none")
	require.True(d.T, errors.Is(err, ports.ErrFull) || errors.Is(err, ports.ErrNotFound), "a worker that is gone: %v", err)
}

func reserveSuspect(d *db) {
	w := worker("w1", 3)
	w.Suspect = "it lost many sessions"
	d.put(w)
	require.ErrorIs(d.T, d.reserve("w1"), ports.ErrFull)
	w.Suspect = ""
	d.put(w)
	require.NoError(d.T, d.reserve("w1"))
	w.Suspect = "again"
	d.put(w)
	require.ErrorIs(d.T, d.reserve("w1"), ports.ErrFull)
	ids, _ := d.workers(ports.WorkerFilter{Status: domain.WorkerOnline}, ports.Page{})
	require.Equal(d.T, []string{"w1"}, ids, "the worker stays online")
	d.release("w1")
	require.Zero(d.T, reload(d, w).Used, "its slots can be released")
}

func deleteUsed(d *db) {
	w := worker("w1", 2)
	d.put(w)
	require.NoError(d.T, d.reserve("w1"))
	remove := func(ctx context.Context, tx *ports.Tx) error { return tx.Workers.Delete(ctx, "w1") }
	d.refuse(ports.ErrConflict, remove)
	require.Equal(d.T, 1, reload(d, w).Used)
	d.release("w1")
	d.update(remove)
	d.requireGone(w)
	d.refuse(ports.ErrNotFound, remove)
	w.Rev = 0
	d.put(w)
	require.Zero(d.T, reload(d, w).Used)
}
