package conformance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var sendQueueClauses = []clause{
	{"a queue is due by DueAt", queuesDue},
	{"Bytes is the sum of a user's queues", queueBytes},
	{"a queue ends with its session", queueEnds},
}

var queuedMessageClauses = []clause{
	{"List is ordered by SendAt and ID, and paged", queuedList},
	{"Expired is ordered by Deadline", queuedExpired},
	{"lists leave out media", queuedWithoutMedia},
	{"Delete needs the present Rev", queuedDelete},
	{"one of several owners takes a message into the history", queuedRace},
	{"a cancelled message is not forwarded", cancelRace},
	{"a message that was not sent waits again", queuedAgain},
}

func queuesDue(d *db) {
	due := func(minute, limit int) (ids []string) {
		for _, q := range read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.SendQueue, error) {
			return tx.SendQueues.Due(ctx, at(minute), limit)
		}) {
			ids = append(ids, q.SessionID)
		}
		return ids
	}
	next := func() time.Time {
		return read(d, func(ctx context.Context, tx *ports.Tx) (time.Time, error) { return tx.SendQueues.NextDue(ctx) })
	}
	require.True(d.T, next().IsZero())
	idle := sendQueue("s4", "u1", 0)
	idle.DueAt = time.Time{}
	d.put(user("u1"), session("s1", "u1"), session("s2", "u1"), session("s3", "u1"), session("s4", "u1"),
		sendQueue("s1", "u1", 3), sendQueue("s2", "u1", 1), sendQueue("s3", "u1", 2), idle)
	require.Equal(d.T, at(1), next())
	require.Empty(d.T, due(0, 10))
	require.Equal(d.T, []string{"s2", "s3"}, due(2, 10))
	require.Equal(d.T, []string{"s2", "s3", "s1"}, due(600, 10))
	require.Equal(d.T, []string{"s2"}, due(600, 1))
	q := reload(d, sendQueue("s2", "", 0))
	q.DueAt = time.Time{}
	d.put(q)
	require.Equal(d.T, []string{"s3", "s1"}, due(600, 10))
	require.Equal(d.T, at(2), next())
}

func (d *db) queueBytes(userID string) int64 {
	d.Helper()
	return read(d, func(ctx context.Context, tx *ports.Tx) (int64, error) { return tx.SendQueues.Bytes(ctx, userID) })
}

func queueBytes(d *db) {
	require.Zero(d.T, d.queueBytes("u1"))
	large := sendQueue("s2", "u1", 0)
	large.Bytes = 1 << 40
	d.put(user("u1"), user("u2"), session("s1", "u1"), session("s2", "u1"), session("s3", "u2"),
		sendQueue("s1", "u1", 0), large, sendQueue("s3", "u2", 0))
	require.Equal(d.T, int64(1<<40+7), d.queueBytes("u1"))
	require.Equal(d.T, int64(7), d.queueBytes("u2"))
	large.Bytes = 0
	d.put(large)
	require.Equal(d.T, int64(7), d.queueBytes("u1"))
}

func queueEnds(d *db) {
	s := session("s1", "u1")
	d.put(user("u1"), s, session("s2", "u1"), sendQueue("s1", "u1", 1), sendQueue("s2", "u1", 2), queued("a", "s1", 1), queued("a", "s2", 1))
	remove := func(ctx context.Context, tx *ports.Tx) error { return tx.Sessions.Delete(ctx, "s1", s.Rev) }
	d.refuse(errOurs, func(ctx context.Context, tx *ports.Tx) error { return firstError(remove(ctx, tx), errOurs) })
	require.Equal(d.T, []string{"a"}, d.queuedIDs("s1"), "a rollback brings it back")
	d.update(remove)
	d.requireGone(sendQueue("s1", "", 0))
	d.requireGone(queued("a", "s1", 0))
	require.Equal(d.T, int64(7), d.queueBytes("u1"))
	require.Equal(d.T, []string{"a"}, d.queuedIDs("s2"))
	d.put(session("s1", "u1"))
	require.Empty(d.T, d.queuedIDs("s1"), "another session with the id")
}

func (d *db) queuedPage(sessionID string, after domain.Cursor, limit int) []*domain.QueuedMessage {
	d.Helper()
	return read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.QueuedMessage, error) {
		return tx.QueuedMessages.List(ctx, sessionID, after, limit)
	})
}

func idsOfQueued(list []*domain.QueuedMessage) (ids []string) {
	for _, m := range list {
		ids = append(ids, m.ID)
	}
	return ids
}

func (d *db) queuedIDs(sessionID string) []string {
	d.Helper()
	return idsOfQueued(d.queuedPage(sessionID, domain.Cursor{}, 0))
}

func queuedList(d *db) {
	require.Empty(d.T, d.queuedIDs("none"))
	d.put(user("u1"), session("s1", "u1"), session("s2", "u1"), queued("b", "s1", 2), queued("a", "s1", 2), queued("d", "s1", 1), queued("c", "s1", 3), queued("a", "s2", 0))
	require.Equal(d.T, []string{"d", "a", "b", "c"}, d.queuedIDs("s1"))
	require.Equal(d.T, []string{"a"}, d.queuedIDs("s2"))
	var ids []string
	after := domain.Cursor{}
	for {
		page := d.queuedPage("s1", after, 2)
		if len(page) == 0 {
			break
		}
		last := page[len(page)-1]
		ids, after = append(ids, idsOfQueued(page)...), domain.Cursor{At: last.SendAt, ID: last.ID}
	}
	require.Equal(d.T, []string{"d", "a", "b", "c"}, ids)
	later := reload(d, queued("d", "s1", 0))
	later.SendAt = at(5)
	d.put(later)
	require.Equal(d.T, []string{"a", "b", "c", "d"}, d.queuedIDs("s1"))
}

func queuedExpired(d *db) {
	expired := func(minute, limit int) []string {
		return idsOfQueued(read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.QueuedMessage, error) {
			return tx.QueuedMessages.Expired(ctx, "s1", at(minute), limit)
		}))
	}
	next := func(id string) time.Time {
		return read(d, func(ctx context.Context, tx *ports.Tx) (time.Time, error) {
			return tx.QueuedMessages.NextDeadline(ctx, id)
		})
	}
	require.Empty(d.T, expired(600, 10))
	require.True(d.T, next("s1").IsZero())
	patient := queued("a", "s1", 1)
	patient.Deadline = at(60)
	d.put(user("u1"), session("s1", "u1"), patient, queued("c", "s1", 3), queued("b", "s1", 2))
	require.Equal(d.T, at(12), next("s1"))
	require.True(d.T, next("none").IsZero())
	require.Empty(d.T, expired(11, 10))
	require.Equal(d.T, []string{"b"}, expired(12, 10))
	require.Equal(d.T, []string{"b", "c", "a"}, expired(60, 10))
	require.Equal(d.T, []string{"b", "c"}, expired(60, 2))
}

func queuedWithoutMedia(d *db) {
	d.put(user("u1"), session("s1", "u1"), queued("a", "s1", 1))
	full := reload(d, queued("a", "s1", 1))
	require.Equal(d.T, "aGVsbG8=", full.Message.Media)
	require.Equal(d.T, []byte("a"), full.Upload)
	full.Message.Media, full.Upload = "", nil
	require.Equal(d.T, []*domain.QueuedMessage{full}, d.queuedPage("s1", domain.Cursor{}, 0))
	require.Equal(d.T, []*domain.QueuedMessage{full}, read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.QueuedMessage, error) {
		return tx.QueuedMessages.Expired(ctx, "s1", at(600), 1)
	}))
}

func queuedDelete(d *db) {
	m := queued("a", "s1", 1)
	d.put(user("u1"), session("s1", "u1"), session("s2", "u1"), m)
	former := m.Rev
	d.put(m)
	for name, remove := range map[string]work{
		"a former Rev":    func(ctx context.Context, tx *ports.Tx) error { return tx.QueuedMessages.Delete(ctx, "s1", "a", former) },
		"another session": func(ctx context.Context, tx *ports.Tx) error { return tx.QueuedMessages.Delete(ctx, "s2", "a", m.Rev) },
		"no message":      func(ctx context.Context, tx *ports.Tx) error { return tx.QueuedMessages.Delete(ctx, "s1", "b", 0) },
	} {
		require.ErrorIs(d.T, d.store.Update(d.ctx, remove), ports.ErrConflict, name)
	}
	remove := func(ctx context.Context, tx *ports.Tx) error { return tx.QueuedMessages.Delete(ctx, "s1", "a", m.Rev) }
	d.refuse(errOurs, func(ctx context.Context, tx *ports.Tx) error { return firstError(remove(ctx, tx), errOurs) })
	require.Equal(d.T, []string{"a"}, d.queuedIDs("s1"))
	d.update(remove)
	d.requireGone(m)
	require.Empty(d.T, d.queuedIDs("s1"))
}

// queuedRace lets several owners forward the same message: each deletes it and records it in one transaction.
func queuedRace(d *db) {
	d.put(user("u1"), session("s1", "u1"))
	for n := range 10 {
		id := fmt.Sprint("m", n)
		d.put(queued(id, "s1", n))
		outcome := compete(func(int) error { return d.forward(id) }, ports.ErrConflict, ports.ErrNotFound, ports.ErrExists)
		require.NoError(d.T, outcome.failure)
		require.Equal(d.T, 1, outcome.wins)
		require.NotNil(d.T, d.get(sent(id, "s1", "u1", n)))
	}
	require.Empty(d.T, d.queuedIDs("s1"))
}

// forward moves a message from the queue into the history.
func (d *db) forward(id string) error {
	return d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
		m, err := tx.QueuedMessages.Get(ctx, "s1", id)
		if err != nil {
			return err
		}
		if err := tx.QueuedMessages.Delete(ctx, "s1", id, m.Rev); err != nil {
			return err
		}
		return tx.Messages.Put(ctx, sent(id, "s1", "u1", 1))
	})
}

func cancelRace(d *db) {
	d.put(user("u1"), session("s1", "u1"))
	for n := range 10 {
		id := fmt.Sprint("m", n)
		m := queued(id, "s1", n)
		d.put(m)
		var forwarded, cancelled error
		race(2, func(i int) {
			if i == 0 {
				forwarded = d.forward(id)
				return
			}
			cancelled = d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
				return tx.QueuedMessages.Delete(ctx, "s1", id, m.Rev)
			})
		})
		require.NotEqual(d.T, forwarded == nil, cancelled == nil, "exactly one: %v, %v", forwarded, cancelled)
		err := d.store.View(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
			_, err := tx.Messages.Get(ctx, "s1", id)
			return err
		})
		require.Equal(d.T, cancelled == nil, errors.Is(err, ports.ErrNotFound), "%v", err)
	}
}

func queuedAgain(d *db) {
	d.put(user("u1"), session("s1", "u1"), queued("m1", "s1", 1))
	require.NoError(d.T, d.forward("m1"))
	recorded := reload(d, sent("m1", "s1", "u1", 1))
	again := queued("m1", "s1", 1)
	again.Attempts = 1
	restore := func(ctx context.Context, tx *ports.Tx) error {
		again.Rev = 0
		return firstError(tx.Messages.Delete(ctx, "s1", "m1", recorded.Rev), tx.QueuedMessages.Put(ctx, again))
	}
	d.refuse(errOurs, func(ctx context.Context, tx *ports.Tx) error { return firstError(restore(ctx, tx), errOurs) })
	require.NotNil(d.T, d.get(recorded))
	d.update(restore)
	d.requireGone(recorded)
	require.Equal(d.T, []string{"m1"}, d.queuedIDs("s1"))
	require.Zero(d.T, read(d, func(ctx context.Context, tx *ports.Tx) (int, error) {
		n, _, err := tx.Messages.CountSince(ctx, "u1", at(-600))
		return n, err
	}))
	require.Empty(d.T, read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Message, error) {
		return tx.Messages.PendingBefore(ctx, at(600), 10)
	}))
	require.NoError(d.T, d.forward("m1"), "the id is free again")
	current := reload(d, recorded)
	for name, remove := range map[string]work{
		"a former Rev": func(ctx context.Context, tx *ports.Tx) error {
			return tx.Messages.Delete(ctx, "s1", "m1", recorded.Rev)
		},
		"another session": func(ctx context.Context, tx *ports.Tx) error { return tx.Messages.Delete(ctx, "s2", "m1", current.Rev) },
		"no message":      func(ctx context.Context, tx *ports.Tx) error { return tx.Messages.Delete(ctx, "s1", "m2", 1) },
	} {
		require.ErrorIs(d.T, d.store.Update(d.ctx, remove), ports.ErrConflict, name)
	}
}
