package conformance

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var cleanupClauses = []clause{
	{"a worker, session and state group have at most one", oneCleanup},
	{"a worker and session have one for each state group", cleanupsOfGroups},
	{"Delete needs the present Rev", deleteStaleCleanup},
	{"a race of Delete and Put has one winner", cleanupRace},
	{"cleanups by worker and by session", cleanupLists},
	{"cleanups by endpoint", cleanupsByEndpoint},
	{"wipes by state group", wipesByGroup},
	{"cleanups outlive worker and session", cleanupsStay},
	{"Due and NextDue", cleanupsDue},
}

func (d *db) finish(c *domain.Cleanup) error {
	return d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error { return tx.Cleanups.Delete(ctx, c) })
}

func oneCleanup(d *db) {
	first, other := cleanup("w1", "s1", at(5)), cleanup("w1", "s2", at(6))
	d.put(worker("w1", 1), first, other, cleanup("w2", "s1", at(5)))
	next := cleanup("w1", "s1", at(7))
	next.Command, next.Generation, next.Attempts, next.CreatedAt = domain.CommandDelete, 9, 3, at(1)
	require.ErrorIs(d.T, d.tryPut(next), ports.ErrExists)
	requireSame(d.T, first, reload(d, next))
	next.Rev = other.Rev + 1_000_000
	require.ErrorIs(d.T, d.tryPut(next), ports.ErrConflict)
	next.Rev = first.Rev
	d.put(next)
	requireSame(d.T, next, reload(d, next))
	require.ErrorIs(d.T, d.tryPut(first), ports.ErrConflict, "the row was replaced")
	require.Len(d.T, read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Cleanup, error) {
		return tx.Cleanups.ByWorker(ctx, "w1")
	}), 2)
	requireSame(d.T, other, reload(d, other))
	requireSame(d.T, cleanup("w2", "s1", at(5)), reload(d, cleanup("w2", "s1", noon)))
}

// cleanupsOfGroups keeps the rows of a worker that has changed its state group apart.
func cleanupsOfGroups(d *db) {
	of := func(group string, minutes int) *domain.Cleanup {
		c := cleanup("w1", "s1", at(minutes))
		c.StateGroup = group
		return c
	}
	a, b, none := of("a", 1), of("b", 2), of("", 3)
	d.put(b, a, none)
	require.ErrorIs(d.T, d.tryPut(of("a", 4)), ports.ErrExists)
	for _, c := range []*domain.Cleanup{a, b, none} {
		requireSame(d.T, c, reload(d, c))
	}
	groups := func(fn func(ctx context.Context, tx *ports.Tx) ([]*domain.Cleanup, error)) (list []string) {
		for _, c := range read(d, fn) {
			list = append(list, c.StateGroup)
		}
		return list
	}
	require.Equal(d.T, []string{"", "a", "b"}, groups(func(ctx context.Context, tx *ports.Tx) ([]*domain.Cleanup, error) {
		return tx.Cleanups.ByWorker(ctx, "w1")
	}))
	require.Equal(d.T, []string{"", "a", "b"}, groups(func(ctx context.Context, tx *ports.Tx) ([]*domain.Cleanup, error) {
		return tx.Cleanups.BySession(ctx, "s1")
	}))
	require.NoError(d.T, d.finish(a))
	d.requireGone(a)
	requireSame(d.T, b, reload(d, b))
	requireSame(d.T, none, reload(d, none))
}

func deleteStaleCleanup(d *db) {
	c, other := cleanup("w1", "s1", at(5)), cleanup("w1", "s2", at(6))
	d.put(c, other)
	stale := c.Rev
	d.put(c)
	d.put(c)
	for _, rev := range []int64{0, stale, c.Rev - 1, c.Rev + 1} {
		old := *c
		old.Rev = rev
		require.ErrorIs(d.T, d.finish(&old), ports.ErrConflict)
	}
	requireSame(d.T, c, reload(d, c))
	require.NoError(d.T, d.finish(&domain.Cleanup{WorkerID: "w1", SessionID: "s1", StateGroup: c.StateGroup, Rev: c.Rev}), "the Rev identifies the cleanup")
	d.requireGone(c)
	require.NoError(d.T, d.finish(c), "the cleanup is deleted already")
	require.ErrorIs(d.T, d.tryPut(c), ports.ErrConflict)

	again := cleanup("w1", "s1", at(9))
	d.put(again)
	require.ErrorIs(d.T, d.finish(c), ports.ErrConflict, "a cleanup inserted again is another one")
	requireSame(d.T, again, reload(d, c))
	requireSame(d.T, other, reload(d, other))
}

// cleanupRace deletes and postpones a cleanup at the same time. If a Put wins, the postponed cleanup
// remains. Otherwise none remains.
func cleanupRace(d *db) {
	for range 5 {
		c := cleanup("w1", "s1", at(5))
		d.put(c)
		var deleted, postponed [racers]bool
		t := compete(func(i int) error {
			own := *c
			if i%2 == 0 {
				err := d.finish(&own)
				deleted[i] = err == nil
				return err
			}
			own.DueAt, own.Attempts = at(6), i
			err := d.tryPut(&own)
			postponed[i] = err == nil
			return err
		}, ports.ErrConflict)
		require.NoError(d.T, t.failure)
		for i, won := range postponed {
			if !won {
				continue
			}
			require.NotContains(d.T, deleted, true)
			require.Equal(d.T, 1, t.wins)
			remaining := reload(d, c)
			require.Equal(d.T, i, remaining.Attempts)
			require.NoError(d.T, d.finish(remaining))
		}
		d.requireGone(c)
	}
}

func cleanupNames(all []*domain.Cleanup) (names []string) {
	for _, c := range all {
		names = append(names, c.WorkerID+"/"+c.SessionID)
	}
	return names
}

func cleanupLists(d *db) {
	d.put(cleanup("w1", "s1", at(1)), cleanup("w1", "s2", at(2)), cleanup("w2", "s1", at(3)))
	list := func(fn func(ctx context.Context, tx *ports.Tx) ([]*domain.Cleanup, error)) []string {
		return cleanupNames(read(d, fn))
	}
	require.ElementsMatch(d.T, []string{"w1/s1", "w1/s2"},
		list(func(ctx context.Context, tx *ports.Tx) ([]*domain.Cleanup, error) {
			return tx.Cleanups.ByWorker(ctx, "w1")
		}))
	require.ElementsMatch(d.T, []string{"w1/s1", "w2/s1"},
		list(func(ctx context.Context, tx *ports.Tx) ([]*domain.Cleanup, error) {
			return tx.Cleanups.BySession(ctx, "s1")
		}))
	require.Empty(d.T,
		list(func(ctx context.Context, tx *ports.Tx) ([]*domain.Cleanup, error) {
			return tx.Cleanups.ByWorker(ctx, "s1")
		}))
	require.Empty(d.T,
		list(func(ctx context.Context, tx *ports.Tx) ([]*domain.Cleanup, error) {
			return tx.Cleanups.BySession(ctx, "w1")
		}))
}

func cleanupsByEndpoint(d *db) {
	list := func(endpoint string) []string {
		return cleanupNames(read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Cleanup, error) {
			return tx.Cleanups.ByEndpoint(ctx, endpoint)
		}))
	}
	a, b, other := cleanup("w1", "s1", at(1)), cleanup("w2", "s1", at(2)), cleanup("w1", "s2", at(3))
	a.Endpoint, b.Endpoint = "http://one:8001", "http://one:8001"
	d.put(a, b, other)
	require.ElementsMatch(d.T, []string{"w1/s1", "w2/s1"}, list("http://one:8001"))
	require.Empty(d.T, list(""), "a worker that is known")
	require.Empty(d.T, list("http://two:8001"))
	a.Endpoint = ""
	d.put(a)
	require.NoError(d.T, d.finish(b))
	require.Empty(d.T, list("http://one:8001"))
}

func wipesByGroup(d *db) {
	list := func(group string) []string {
		return cleanupNames(read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Cleanup, error) {
			return tx.Cleanups.WipesByGroup(ctx, group)
		}))
	}
	of := func(worker, session, group string, command domain.Command) *domain.Cleanup {
		c := cleanup(worker, session, at(1))
		c.StateGroup, c.Command = group, command
		return c
	}
	logout, wipe := of("w2", "s1", "disk", domain.CommandLogout), of("w1", "s2", "disk", domain.CommandDelete)
	d.put(logout, wipe, of("w1", "s1", "disk", domain.CommandDisconnect), of("w1", "s3", "disk", domain.CommandNone),
		of("w1", "s4", "disk", domain.CommandWiped), of("w3", "s1", "other", domain.CommandDelete), of("w4", "s1", "", domain.CommandDelete))
	require.Equal(d.T, []string{"w1/s2", "w2/s1"}, list("disk"))
	require.Equal(d.T, []string{"w3/s1"}, list("other"))
	require.Empty(d.T, list(""), "the empty group is none")
	require.Empty(d.T, list("Disk"), "groups are compared exactly")
	logout.Command = domain.CommandNone
	d.put(logout)
	require.NoError(d.T, d.finish(wipe))
	require.Empty(d.T, list("disk"))
}

func cleanupsStay(d *db) {
	s := session("s1", "u1")
	d.put(user("u1"), worker("w1", 1), s, cleanup("w1", "s1", at(1)))
	d.update(func(ctx context.Context, tx *ports.Tx) error {
		return firstError(tx.Sessions.Delete(ctx, "s1", s.Rev), tx.Workers.Delete(ctx, "w1"))
	})
	requireSame(d.T, cleanup("w1", "s1", at(1)), reload(d, cleanup("w1", "s1", noon)))
}

func cleanupsDue(d *db) {
	next := func() time.Time {
		return read(d, func(ctx context.Context, tx *ports.Tx) (time.Time, error) { return tx.Cleanups.NextDue(ctx) })
	}
	due := func(at time.Time, limit int) []string {
		return cleanupNames(read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Cleanup, error) {
			return tx.Cleanups.Due(ctx, at, limit)
		}))
	}
	require.True(d.T, next().IsZero())
	require.Empty(d.T, due(at(600), 10))
	d.put(
		cleanup("w1", "s3", at(3)), cleanup("w1", "s1", at(1)), cleanup("w2", "s4", at(4)), cleanup("w2", "s2", at(2)),
		cleanup("w1", "s0", time.Time{}),
	)
	require.Equal(d.T, at(1), next())
	require.Empty(d.T, due(at(0), 10))
	require.Equal(d.T, []string{"w1/s1", "w2/s2", "w1/s3"}, due(at(3), 10))
	require.Equal(d.T, []string{"w1/s1", "w2/s2"}, due(at(3), 2))
	later, never := reload(d, cleanup("w1", "s1", noon)), reload(d, cleanup("w2", "s4", noon))
	later.DueAt, never.DueAt = at(9), time.Time{}
	d.put(later, never)
	gone := reload(d, cleanup("w2", "s2", noon))
	d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Cleanups.Delete(ctx, gone) })
	require.Equal(d.T, at(3), next())
	require.Equal(d.T, []string{"w1/s3", "w1/s1"}, due(at(600), 10))
}
