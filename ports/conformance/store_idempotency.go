package conformance

import (
	"context"
	"errors"
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var idempotencyClauses = []clause{
	{"a key is unique within its session", keysPerSession},
	{"a key needs its session", keyOfMissingSession},
	{"a refused key leaves its transaction usable", keyRefusedWithin},
	{"a key and its message are recorded together", keyWithMessage},
	{"one of several senders binds a key", oneSenderBinds},
	{"one of several senders renews an expired key", oneSenderRenews},
	{"keys go with their session", keysGoWithSession},
	{"DeleteBefore removes old keys, oldest first, up to the limit", keysDeletedBefore},
}

// keys returns which of the keys of a session are stored.
func (d *db) keys(sessionID string, names ...string) (present []string) {
	d.Helper()
	return read(d, func(ctx context.Context, tx *ports.Tx) (present []string, err error) {
		for _, name := range names {
			_, err := tx.IdempotencyKeys.Get(ctx, sessionID, name)
			switch {
			case err == nil:
				present = append(present, name)
			case !errors.Is(err, ports.ErrNotFound):
				return nil, err
			}
		}
		return present, nil
	})
}

func keysPerSession(d *db) {
	d.put(user("u1"), session("s1", "u1"), session("s2", "u1"), idempotencyKey("k", "s1", 1))
	require.ErrorIs(d.T, d.tryPut(idempotencyKey("k", "s1", 2)), ports.ErrExists)
	d.put(idempotencyKey("k", "s2", 2), idempotencyKey("K", "s1", 2))
	require.Equal(d.T, at(1), reload(d, idempotencyKey("k", "s1", 0)).CreatedAt)
	require.Equal(d.T, at(2), reload(d, idempotencyKey("k", "s2", 0)).CreatedAt)
	missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.IdempotencyKey, error) {
		return tx.IdempotencyKeys.Get(ctx, "s1", "other")
	})
}

func keyOfMissingSession(d *db) {
	require.ErrorIs(d.T, d.tryPut(idempotencyKey("k", "s1", 1)), ports.ErrNotFound)
}

// keyRefusedWithin reads the key that is present after its own Put was refused.
func keyRefusedWithin(d *db) {
	d.put(user("u1"), session("s1", "u1"), idempotencyKey("k", "s1", 1))
	d.update(func(ctx context.Context, tx *ports.Tx) error {
		if err := tx.IdempotencyKeys.Put(ctx, idempotencyKey("k", "s1", 2)); !errors.Is(err, ports.ErrExists) {
			return fmt.Errorf("put: %w", err)
		}
		found, err := tx.IdempotencyKeys.Get(ctx, "s1", "k")
		if err == nil && !found.CreatedAt.Equal(at(1)) {
			return fmt.Errorf("created at %v", found.CreatedAt)
		}
		return err
	})
}

func keyWithMessage(d *db) {
	d.put(user("u1"), session("s1", "u1"), idempotencyKey("k", "s1", 1))
	m := sent("m1", "s1", "u1", 1)
	require.ErrorIs(d.T, d.tryPut(m, idempotencyKey("k", "s1", 2)), ports.ErrExists)
	d.requireGone(m)
	d.put(m, idempotencyKey("other", "s1", 2))
	require.Equal(d.T, []string{"k", "other"}, d.keys("s1", "k", "other"))
}

func oneSenderBinds(d *db) {
	d.put(user("u1"), session("s1", "u1"))
	for n := range 10 {
		name := fmt.Sprint("k", n)
		outcome := compete(func(i int) error {
			k := idempotencyKey(name, "s1", n)
			k.MessageID = fmt.Sprint("m", n, "-", i)
			return d.tryPut(sent(k.MessageID, "s1", "u1", n), k)
		}, ports.ErrExists)
		require.NoError(d.T, outcome.failure)
		require.Equal(d.T, 1, outcome.wins)
		bound := reload(d, idempotencyKey(name, "s1", n))
		require.NotNil(d.T, d.get(sent(bound.MessageID, "s1", "u1", n)))
	}
	require.Len(d.T, read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Message, error) {
		return tx.Messages.List(ctx, "s1", domain.MessageFilter{})
	}), 10, "the losers left no message")
}

// oneSenderRenews replaces an expired key by the Rev that each sender has read.
func oneSenderRenews(d *db) {
	d.put(user("u1"), session("s1", "u1"))
	for n := range 10 {
		name := fmt.Sprint("k", n)
		d.put(idempotencyKey(name, "s1", 1))
		outcome := compete(func(int) error {
			return d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
				found, err := tx.IdempotencyKeys.Get(ctx, "s1", name)
				if err != nil || !found.CreatedAt.Equal(at(1)) {
					return firstError(err, ports.ErrExists)
				}
				renewed := idempotencyKey(name, "s1", 2)
				renewed.Rev = found.Rev
				return tx.IdempotencyKeys.Put(ctx, renewed)
			})
		}, ports.ErrExists, ports.ErrConflict)
		require.NoError(d.T, outcome.failure)
		require.Equal(d.T, 1, outcome.wins)
		require.Equal(d.T, at(2), reload(d, idempotencyKey(name, "s1", 0)).CreatedAt)
	}
}

func keysGoWithSession(d *db) {
	s := session("s1", "u1")
	d.put(user("u1"), s, session("s2", "u1"), idempotencyKey("a", "s1", 1), idempotencyKey("b", "s1", 2), idempotencyKey("a", "s2", 1))
	d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Sessions.Delete(ctx, "s1", s.Rev) })
	require.Empty(d.T, d.keys("s1", "a", "b"))
	require.Equal(d.T, []string{"a"}, d.keys("s2", "a"))
	d.put(session("s1", "u1"), idempotencyKey("a", "s1", 3))
	require.Equal(d.T, []string{"a"}, d.keys("s1", "a", "b"))
}

func keysDeletedBefore(d *db) {
	d.put(user("u1"), session("s1", "u1"))
	for i, name := range []string{"c", "a", "d", "b"} {
		d.put(idempotencyKey(name, "s1", i))
	}
	deleted := func(minute, limit int) (n int) {
		d.update(func(ctx context.Context, tx *ports.Tx) (err error) {
			n, err = tx.IdempotencyKeys.DeleteBefore(ctx, at(minute), limit)
			return err
		})
		return n
	}
	require.Zero(d.T, deleted(0, 10))
	require.Zero(d.T, deleted(9, 0))
	require.Equal(d.T, 2, deleted(3, 2))
	require.Equal(d.T, []string{"b", "d"}, d.keys("s1", "a", "b", "c", "d"))
	require.Equal(d.T, 1, deleted(3, 2))
	require.Equal(d.T, []string{"b"}, d.keys("s1", "a", "b", "c", "d"))
}
