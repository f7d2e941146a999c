package conformance

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var messageClauses = []clause{
	{"a message belongs to its session", messageOfSession},
	{"by WhatsApp id", byWhatsAppID},
	{"inbound messages are stored once", inboundOnce},
	{"outbound messages are counted", countSince},
	{"PendingBefore", pendingBefore},
	{"a failure without a report", unreportedFailure},
	{"DeleteBefore removes old messages of a session", messagesDeletedBefore},
}

func (d *db) byWhatsAppID(sessionID, id string) string {
	d.Helper()
	return read(d, func(ctx context.Context, tx *ports.Tx) (*domain.Message, error) {
		return tx.Messages.ByWhatsAppID(ctx, sessionID, id)
	}).ID
}

func messageOfSession(d *db) {
	d.put(user("u1"), session("s1", "u1"), session("s2", "u1"), sent("m1", "s1", "u1", 1))
	missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.Message, error) {
		return tx.Messages.Get(ctx, "s2", "m1")
	})
	require.Empty(d.T, d.history("s2", domain.MessageFilter{}))
	require.ErrorIs(d.T, d.tryPut(sent("m2", "none", "u1", 1)), ports.ErrNotFound, "a message without a session")
}

func byWhatsAppID(d *db) {
	d.put(user("u1"), session("s1", "u1"), session("s2", "u1"))
	a, b := sent("a", "s1", "u1", 1), sent("b", "s1", "u1", 2)
	b.WhatsAppID = "X"
	other := received("c", "X", "s2", "u1", 3)
	d.put(a, b, other)
	require.Equal(d.T, "b", d.byWhatsAppID("s1", "X"))
	require.Equal(d.T, "c", d.byWhatsAppID("s2", "X"))
	missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.Message, error) {
		return tx.Messages.ByWhatsAppID(ctx, "s1", "x")
	})

	a.WhatsAppID = "Y" // known after the worker's response
	d.put(a)
	require.Equal(d.T, "a", d.byWhatsAppID("s1", "Y"))
	d.put(sent("m", "s1", "u1", 4))
	m := reload(d, sent("m", "s1", "u1", 4))
	m.WhatsAppID, m.Status = "M", domain.MessageDelivered // a receipt was the first to tell the id
	d.put(m)
	require.Equal(d.T, "m", d.byWhatsAppID("s1", "M"))

	a.WhatsAppID = "Z"
	d.put(a)
	require.Equal(d.T, "a", d.byWhatsAppID("s1", "Z"))
	missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.Message, error) {
		return tx.Messages.ByWhatsAppID(ctx, "s1", "Y")
	})
}

func inboundOnce(d *db) {
	d.put(user("u1"), session("s1", "u1"), session("s2", "u1"), received("a", "X", "s1", "u1", 1))
	duplicate := received("b", "X", "s1", "u1", 2)
	require.ErrorIs(d.T, d.tryPut(duplicate), ports.ErrExists)
	d.requireGone(duplicate)
	require.Equal(d.T, []string{"a"}, d.history("s1", domain.MessageFilter{}))

	// The same WhatsApp id in another session, or in the other direction, is another message.
	own := sent("c", "s1", "u1", 3)
	own.WhatsAppID = "X"
	d.put(received("d", "X", "s2", "u1", 3), own)
	require.Len(d.T, d.history("s1", domain.MessageFilter{}), 2)
	require.Contains(d.T, []string{"a", "c"}, d.byWhatsAppID("s1", "X"))

	// Messages without a WhatsApp id are never duplicates.
	d.put(received("e", "", "s1", "u1", 4), received("f", "", "s1", "u1", 4))
	a := reload(d, received("a", "X", "s1", "u1", 1))
	a.Status = domain.MessageRead
	d.put(a)
}

func countSince(d *db) {
	d.put(user("u1"), user("u2"), session("s1", "u1"), session("s2", "u1"), session("s3", "u2"))
	d.put(
		sent("a", "s1", "u1", 3), sent("b", "s2", "u1", 1), sent("c", "s1", "u1", 2), sent("d", "s3", "u2", 0),
		received("e", "X", "s1", "u1", 1), received("f", "Y", "s1", "u1", 9),
	)
	failed := sent("g", "s2", "u1", 5)
	failed.Status = domain.MessageFailed
	d.put(failed)
	for i := range 3 {
		unforwarded := sent(fmt.Sprint("h", i), "s1", "u1", 4*i)
		unforwarded.Status, unforwarded.Unforwarded = domain.MessageFailed, true
		d.put(unforwarded)
	}
	type counted struct {
		n     int
		first time.Time
	}
	count := func(userID string, since time.Time) counted {
		return read(d, func(ctx context.Context, tx *ports.Tx) (c counted, err error) {
			c.n, c.first, err = tx.Messages.CountSince(ctx, userID, since)
			return c, err
		})
	}
	require.Equal(d.T, counted{4, at(1)}, count("u1", time.Time{}))
	require.Equal(d.T, counted{4, at(1)}, count("u1", at(1)), "the time itself counts")
	require.Equal(d.T, counted{3, at(2)}, count("u1", at(1).Add(time.Microsecond)))
	require.Equal(d.T, counted{1, at(5)}, count("u1", at(4)))
	require.Equal(d.T, counted{}, count("u1", at(6)))
	require.Equal(d.T, counted{1, at(0)}, count("u2", time.Time{}))
	require.Equal(d.T, counted{}, count("none", time.Time{}))
}

func pendingBefore(d *db) {
	d.put(user("u1"), session("s1", "u1"), session("s2", "u1"))
	for i, id := range []string{"a", "b", "c", "d", "e"} {
		d.put(sent(id, []string{"s1", "s2"}[i%2], "u1", []int{4, 1, 3, 2, 5}[i]))
	}
	d.put(received("f", "X", "s1", "u1", 0))
	pending := func(before time.Time, limit int) []string {
		ids := messageIDs(read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Message, error) {
			return tx.Messages.PendingBefore(ctx, before, limit)
		}))
		slices.Sort(ids)
		return ids
	}
	require.Equal(d.T, []string{"a", "b", "c", "d", "e"}, pending(at(600), 10))
	require.Equal(d.T, []string{"b", "c", "d"}, pending(at(4), 10), "the time itself does not count")
	require.Len(d.T, pending(at(4), 2), 2)
	for id, status := range map[string]domain.MessageStatus{"b": domain.MessageSent, "c": domain.MessageFailed} {
		m := reload(d, sent(id, map[string]string{"b": "s2", "c": "s1"}[id], "u1", 0))
		m.Status = status
		d.put(m)
	}
	require.Equal(d.T, []string{"a", "d", "e"}, pending(at(600), 10))
	require.Empty(d.T, pending(at(1), 10))
}

func unreportedFailure(d *db) {
	d.put(user("u1"), session("s1", "u1"), sent("a", "s1", "u1", 1), sent("b", "s1", "u1", 1))
	a := reload(d, sent("a", "s1", "u1", 1))
	require.True(d.T, a.FailUnreported(noon))
	d.put(a)
	b := reload(d, sent("b", "s1", "u1", 1))
	require.True(d.T, b.TransitionTo(domain.MessageFailed, noon, "refused"))
	d.put(b)
	a, b = reload(d, a), reload(d, b)
	require.True(d.T, a.Unreported)
	require.False(d.T, b.Unreported)
	require.False(d.T, b.TransitionTo(domain.MessageDelivered, noon, ""))
	require.True(d.T, a.TransitionTo(domain.MessageDelivered, noon, ""))
	d.put(a)
	a = reload(d, a)
	require.Equal(d.T, domain.MessageDelivered, a.Status)
	require.False(d.T, a.Unreported)
	require.Empty(d.T, a.Error)
}

func messagesDeletedBefore(d *db) {
	d.put(user("u1"), session("s1", "u1"), session("s2", "u1"))
	for minute := range 5 {
		d.put(sent(fmt.Sprint("m", minute), "s1", "u1", minute), received(fmt.Sprint("r", minute), fmt.Sprint("W", minute), "s2", "u1", minute))
	}
	trim := func(sessionID string, before time.Time, limit int) (n int) {
		d.update(func(ctx context.Context, tx *ports.Tx) (err error) {
			n, err = tx.Messages.DeleteBefore(ctx, sessionID, before, limit)
			return err
		})
		return n
	}
	require.Zero(d.T, trim("none", at(9), 9))
	require.Zero(d.T, trim("s1", at(0), 9), "the time itself does not count")
	require.Equal(d.T, 2, trim("s1", at(3), 2), "oldest first")
	require.Equal(d.T, []string{"m4", "m3", "m2"}, d.history("s1", domain.MessageFilter{}))
	require.Equal(d.T, 1, trim("s1", at(3), 2))
	require.Equal(d.T, []string{"m4", "m3"}, d.history("s1", domain.MessageFilter{}))
	require.Len(d.T, d.history("s2", domain.MessageFilter{}), 5, "another session")
	require.Equal(d.T, 1, trim("s2", at(1), 9))
	missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.Message, error) {
		return tx.Messages.ByWhatsAppID(ctx, "s2", "W0")
	})

	d.refuse(errOurs, func(ctx context.Context, tx *ports.Tx) error {
		_, err := tx.Messages.DeleteBefore(ctx, "s2", at(9), 9)
		return firstError(err, errOurs)
	})
	require.Len(d.T, d.history("s2", domain.MessageFilter{}), 4, "rolled back")
	require.Equal(d.T, "r3", d.byWhatsAppID("s2", "W3"))
	require.ErrorIs(d.T, d.store.View(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
		_, err := tx.Messages.DeleteBefore(ctx, "s2", at(9), 9)
		return err
	}), ports.ErrReadOnly)
}
