package conformance

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var outboxClauses = []clause{
	{"events are in the order of commits", eventOrder},
	{"After and Last", afterAndLast},
	{"After selects by user and session", eventsOf},
	{"DeleteBefore removes old events from the beginning", deleteBefore},
	{"a Seq is never reused", seqOnce},
}

var settingsClauses = []clause{
	{"Put replaces, PutIfAbsent does not", putIfAbsent},
	{"CompareAndSwap replaces the expected value", compareAndSwap},
	{"Delete removes a setting", deleteSetting},
	{"a setting keeps any text", settingTexts},
}

func (d *db) events(after int64) []domain.Event {
	d.Helper()
	return read(d, func(ctx context.Context, tx *ports.Tx) ([]domain.Event, error) {
		return tx.Outbox.After(ctx, ports.EventFilter{}, after, 1000)
	})
}

func (d *db) lastSeq() int64 {
	d.Helper()
	return read(d, func(ctx context.Context, tx *ports.Tx) (int64, error) { return tx.Outbox.Last(ctx) })
}

func reasons(events []domain.Event) (all []string) {
	for _, e := range events {
		all = append(all, e.Reason)
	}
	return all
}

func eventOrder(d *db) {
	d.update(func(ctx context.Context, tx *ports.Tx) error {
		return firstError(
			tx.Outbox.Append(ctx, *event("1", at(9)), *event("2", at(5))),
			tx.Outbox.Append(ctx),
			tx.Outbox.Append(ctx, *event("3", at(7))),
		)
	})
	d.refuse(errOurs, func(ctx context.Context, tx *ports.Tx) error {
		return firstError(tx.Outbox.Append(ctx, *event("lost", noon)), errOurs)
	})
	given := *event("4", at(1))
	given.Seq = 1 // the store sets Seq
	d.put(&given)
	require.EqualValues(d.T, 1, given.Seq)
	events := d.events(0)
	require.Equal(d.T, []string{"1", "2", "3", "4"}, reasons(events))
	for i := 1; i < len(events); i++ {
		require.Greater(d.T, events[i].Seq, events[i-1].Seq)
	}
	require.Positive(d.T, events[0].Seq)
}

func afterAndLast(d *db) {
	require.Zero(d.T, d.lastSeq())
	require.Empty(d.T, d.events(0))
	for i := range 5 {
		d.put(event(fmt.Sprint(i), at(i)))
	}
	events := d.events(0)
	require.Len(d.T, events, 5)
	require.Equal(d.T, events[4].Seq, d.lastSeq())
	require.Equal(d.T, events[2:], d.events(events[1].Seq))
	require.Empty(d.T, d.events(events[4].Seq))
	require.Empty(d.T, d.events(events[4].Seq+100))
	require.Equal(d.T, events, d.events(-1))
	require.Equal(d.T, events[1:3], read(d, func(ctx context.Context, tx *ports.Tx) ([]domain.Event, error) {
		return tx.Outbox.After(ctx, ports.EventFilter{}, events[0].Seq, 2)
	}))
}

// trim deletes events and returns how many.
func (d *db) deleteBefore(before time.Time, limit int) (n int) {
	d.Helper()
	d.update(func(ctx context.Context, tx *ports.Tx) (err error) {
		n, err = tx.Outbox.DeleteBefore(ctx, before, limit)
		return err
	})
	return n
}

func (d *db) lastDeleted() int64 {
	d.Helper()
	return read(d, func(ctx context.Context, tx *ports.Tx) (int64, error) { return tx.Outbox.LastDeleted(ctx) })
}

func deleteBefore(d *db) {
	require.Zero(d.T, d.lastDeleted())
	for _, minute := range []int{1, 2, 4, 3, 5} { // clocks differ
		d.put(event(fmt.Sprint(minute), at(minute)))
	}
	all := d.events(0)
	require.Zero(d.T, d.deleteBefore(at(1), 10), "the time itself does not count")
	require.Zero(d.T, d.deleteBefore(at(600), 0))
	require.Zero(d.T, d.lastDeleted())
	require.Equal(d.T, 2, d.deleteBefore(at(4), 10), "an event stays behind one that is not old")
	require.Equal(d.T, []string{"4", "3", "5"}, reasons(d.events(0)))
	require.Equal(d.T, all[1].Seq, d.lastDeleted())
	require.Equal(d.T, all[2:], d.events(all[0].Seq))
	require.Equal(d.T, 1, d.deleteBefore(at(600), 1))
	require.Equal(d.T, all[2].Seq, d.lastDeleted())
	require.Equal(d.T, 2, d.deleteBefore(at(600), 10))
	require.Zero(d.T, d.deleteBefore(at(600), 10))
	require.Equal(d.T, all[4].Seq, d.lastDeleted(), "nothing was removed")
	d.refuse(errOurs, func(ctx context.Context, tx *ports.Tx) error {
		_, err := tx.Outbox.DeleteBefore(ctx, at(600), 10)
		return firstError(tx.Outbox.Append(ctx, *event("lost", at(1))), err, errOurs)
	})
	d.put(event("6", at(6)))
	d.refuse(errOurs, func(ctx context.Context, tx *ports.Tx) error {
		_, err := tx.Outbox.DeleteBefore(ctx, at(600), 10)
		return firstError(err, errOurs)
	})
	require.Equal(d.T, []string{"6"}, reasons(d.events(0)), "a rollback brings it back")
	require.Equal(d.T, all[4].Seq, d.lastDeleted())
}

func eventsOf(d *db) {
	for i, of := range []struct{ user, session string }{{"u1", "s1"}, {"u1", "s2"}, {"u2", "s3"}, {"", ""}, {"u1", "s1"}, {"u1", "s1"}} {
		e := event(fmt.Sprint(i), at(i))
		e.UserID, e.SessionID = of.user, of.session
		d.put(e)
	}
	all := d.events(0)
	for _, c := range []struct {
		f     ports.EventFilter
		after int
		want  []string
	}{
		{ports.EventFilter{UserID: "u1"}, -1, []string{"0", "1", "4", "5"}},
		{ports.EventFilter{UserID: "u1"}, 1, []string{"4", "5"}},
		{ports.EventFilter{SessionID: "s1"}, -1, []string{"0", "4", "5"}},
		{ports.EventFilter{SessionID: "s1", UserID: "u1"}, 0, []string{"4", "5"}},
		{ports.EventFilter{SessionID: "s1", UserID: "u2"}, -1, nil},
		{ports.EventFilter{SessionID: "s9"}, -1, nil},
		{ports.EventFilter{SessionID: "s1"}, 5, nil},
	} {
		seq := int64(0)
		if c.after >= 0 {
			seq = all[c.after].Seq
		}
		for limit := range 4 {
			got := read(d, func(ctx context.Context, tx *ports.Tx) ([]domain.Event, error) {
				return tx.Outbox.After(ctx, c.f, seq, limit)
			})
			want := c.want
			if limit > 0 && len(want) > limit {
				want = want[:limit]
			}
			require.Equal(d.T, want, reasons(got), "%+v after %d, limit %d", c.f, c.after, limit)
		}
	}
}

func seqOnce(d *db) {
	d.put(event("1", at(1)))
	d.put(event("2", at(2)))
	last := d.lastSeq()
	d.deleteBefore(at(600), 10)
	require.Empty(d.T, d.events(0))
	require.Equal(d.T, last, d.lastSeq(), "the highest Seq so far, although the event is deleted")
	d.put(event("3", at(3)))
	events := d.events(last)
	require.Equal(d.T, []string{"3"}, reasons(events))
	require.Equal(d.T, events[0].Seq, d.lastSeq())
	d.deleteBefore(at(600), 10)
	d.deleteBefore(at(600), 10)
	d.put(event("4", at(4)))
	require.Equal(d.T, []string{"4"}, reasons(d.events(events[0].Seq)))
}

func putIfAbsent(d *db) {
	set := func(name, value string) (stands string) {
		d.update(func(ctx context.Context, tx *ports.Tx) (err error) {
			stands, err = tx.Settings.PutIfAbsent(ctx, name, value)
			return err
		})
		return stands
	}
	require.Equal(d.T, "1", set("a", "1"))
	require.Equal(d.T, "1", set("a", "2"))
	require.Equal(d.T, "3", set("b", "3"))
	d.update(func(ctx context.Context, tx *ports.Tx) error {
		return firstError(tx.Settings.Put(ctx, "a", "4"), tx.Settings.Put(ctx, "c", ""))
	})
	require.Equal(d.T, "4", set("a", "5"))
	require.Equal(d.T, "", set("c", "6"), "an empty value is a value")
	require.Equal(d.T, "4", d.setting("a"))
	require.Equal(d.T, "3", d.setting("b"))
	missing(d, func(ctx context.Context, tx *ports.Tx) (string, error) { return tx.Settings.Get(ctx, "A") })
}

func compareAndSwap(d *db) {
	set := func(name, old, value string) work {
		return func(ctx context.Context, tx *ports.Tx) error {
			return tx.Settings.CompareAndSwap(ctx, name, old, value)
		}
	}
	d.refuse(ports.ErrConflict, set("a", "0", "1"))
	missing(d, func(ctx context.Context, tx *ports.Tx) (string, error) { return tx.Settings.Get(ctx, "a") })
	d.update(set("a", "", "1"))
	d.refuse(ports.ErrConflict, set("a", "", "2"))
	d.refuse(ports.ErrConflict, set("a", "0", "2"))
	require.Equal(d.T, "1", d.setting("a"))
	d.update(set("a", "1", ""))
	d.refuse(ports.ErrConflict, set("a", "", "2")) // an empty value is a value
	require.Equal(d.T, "", d.setting("a"))
}

func deleteSetting(d *db) {
	remove := func(name string) work {
		return func(ctx context.Context, tx *ports.Tx) error { return tx.Settings.Delete(ctx, name) }
	}
	get := func(ctx context.Context, tx *ports.Tx) (string, error) { return tx.Settings.Get(ctx, "a") }
	d.update(func(ctx context.Context, tx *ports.Tx) error {
		return firstError(tx.Settings.Put(ctx, "a", "1"), tx.Settings.Put(ctx, "b", "2"))
	})
	d.update(remove("a"))
	missing(d, get)
	d.update(remove("a"))
	d.update(remove("c"))
	require.Equal(d.T, "2", d.setting("b"))
	d.update(func(ctx context.Context, tx *ports.Tx) error {
		_, err := tx.Settings.PutIfAbsent(ctx, "a", "3")
		return err
	})
	require.Equal(d.T, "3", d.setting("a"))
	d.refuse(errOurs, func(ctx context.Context, tx *ports.Tx) error {
		return firstError(tx.Settings.Delete(ctx, "a"), errOurs)
	})
	require.Equal(d.T, "3", d.setting("a"), "a rollback brings it back")
}

func settingTexts(d *db) {
	for i, text := range append(texts, "two\nlines\t", strings.Repeat("long", 4096), `{"a":1}`) {
		name := fmt.Sprint("name.", i)
		d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Settings.Put(ctx, name, text) })
		require.Equal(d.T, text, d.setting(name))
	}
}
