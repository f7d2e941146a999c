package conformance

import (
	"context"
	"fmt"
	"math"
	"reflect"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var rowClauses = []clause{
	{"a row keeps all its fields", everyField},
	{"a Put replaces all fields", replaced},
	{"zero fields stay zero", zeroFields},
	{"the store copies what is put", copiesIn},
	{"the store returns copies", copiesOut},
	{"a present row is not inserted again", insertTwice},
	{"a Put needs the present Rev", staleRevs},
	{"a Put of a deleted row is refused", putGone},
	{"a refused Put changes nothing", refusedPut},
	{"a missing row is not found", notFound},
}

func everyField(d *db) {
	for _, row := range fullRows() {
		given := deepCopy(reflect.ValueOf(row)).Interface()
		requireFull(d.T, row, "Message.Rev", "Message.Upload", "Message.Schedule") // rows have messages without them
		d.put(row)
		got := d.get(row)
		requireSame(d.T, given, got)
		require.Equal(d.T, revOf(row), revOf(got))
		setRev(given, revOf(row))
		require.Equal(d.T, given, row, "a Put changes only the Rev of the given value")
	}
}

// replaced turns minimal rows into full ones and back.
func replaced(d *db) {
	rows := minimalRows()
	d.put(rows...)
	for _, next := range [][]any{fullRows(), minimalRows(), fullRows()} {
		for i, row := range next {
			if !isVersioned(row) {
				continue
			}
			setRev(row, revOf(rows[i]))
			d.put(row)
			requireSame(d.T, row, d.get(row))
			setRev(rows[i], revOf(row))
		}
	}
}

func zeroFields(d *db) {
	for _, row := range minimalRows() {
		d.put(row)
		requireSame(d.T, row, d.get(row))
	}
}

func copiesIn(d *db) {
	for _, row := range fullRows() {
		given := deepCopy(reflect.ValueOf(row)).Interface()
		var within any
		d.update(func(ctx context.Context, tx *ports.Tx) error {
			own := deepCopy(reflect.ValueOf(given)).Interface()
			if err := put(ctx, tx, own); err != nil {
				return err
			}
			scribble(own)
			if _, taken := own.(*domain.PasswordReset); taken {
				return nil // reading would consume the reset
			}
			var err error
			within, err = get(ctx, tx, given)
			return err
		})
		if within != nil {
			requireSame(d.T, given, within)
		}
		requireSame(d.T, given, d.get(given))
	}
}

func copiesOut(d *db) {
	s := assignedSession("s1", "u1", "w1")
	for _, row := range fullRows() {
		switch v := row.(type) {
		case *domain.Session:
			s = v
		case *domain.PasswordReset:
			continue
		}
		d.put(row)
	}
	// The ways list every look-up of a row. Each returns all rows that it finds.
	ways := map[string]func(ctx context.Context, tx *ports.Tx) ([]any, error){
		"Users.Get": one(func(ctx context.Context, tx *ports.Tx) (*domain.User, error) { return tx.Users.Get(ctx, "u1") }),
		"Users.ByEmail": one(func(ctx context.Context, tx *ports.Tx) (*domain.User, error) {
			return tx.Users.ByEmail(ctx, "ann@example.com")
		}),
		"RefreshTokenFamilies.Get": one(func(ctx context.Context, tx *ports.Tx) (*domain.RefreshTokenFamily, error) {
			return tx.RefreshTokenFamilies.Get(ctx, "f1")
		}),
		"APIKeys.Get": one(func(ctx context.Context, tx *ports.Tx) (*domain.APIKey, error) { return tx.APIKeys.Get(ctx, "k1") }),
		"APIKeys.ByHash": one(func(ctx context.Context, tx *ports.Tx) (*domain.APIKey, error) {
			return tx.APIKeys.ByHash(ctx, hash("key"))
		}),
		"APIKeys.ByUser": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.APIKey, error) { return tx.APIKeys.ByUser(ctx, "u1") }),
		"APIKeys.BySession": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.APIKey, error) {
			return tx.APIKeys.BySession(ctx, "s1")
		}),
		"Users.List": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.User, error) {
			all, _, err := tx.Users.List(ctx, ports.UserFilter{}, ports.Page{})
			return all, err
		}),
		"Sessions.Get": one(func(ctx context.Context, tx *ports.Tx) (*domain.Session, error) { return tx.Sessions.Get(ctx, "s1") }),
		"Sessions.List": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.Session, error) {
			all, _, err := tx.Sessions.List(ctx, ports.SessionFilter{}, ports.Page{})
			return all, err
		}),
		"Sessions.ListByWorker": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.Session, error) {
			return tx.Sessions.ListByWorker(ctx, "w1")
		}),
		"Sessions.Due": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.Session, error) {
			return tx.Sessions.Due(ctx, at(9999), 10)
		}),
		"Sessions.ClaimedBy": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.Session, error) {
			return tx.Sessions.ClaimedBy(ctx, "r1")
		}),
		"Sessions.EachAssigned": func(ctx context.Context, tx *ports.Tx) (all []any, err error) {
			err = tx.Sessions.EachAssigned(ctx, func(s *domain.Session) error {
				all = append(all, s)
				return nil
			})
			return all, err
		},
		"Workers.Get": one(func(ctx context.Context, tx *ports.Tx) (*domain.Worker, error) { return tx.Workers.Get(ctx, "w1") }),
		"Workers.ByEndpoint": one(func(ctx context.Context, tx *ports.Tx) (*domain.Worker, error) {
			return tx.Workers.ByEndpoint(ctx, "http://w1:8001/base")
		}),
		"Workers.List": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.Worker, error) {
			all, _, err := tx.Workers.List(ctx, ports.WorkerFilter{}, ports.Page{})
			return all, err
		}),
		"Cleanups.Due": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.Cleanup, error) {
			return tx.Cleanups.Due(ctx, at(9999), 10)
		}),
		"Cleanups.ByWorker": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.Cleanup, error) {
			return tx.Cleanups.ByWorker(ctx, "w1")
		}),
		"Cleanups.ByEndpoint": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.Cleanup, error) {
			return tx.Cleanups.ByEndpoint(ctx, "http://w1:8001/base")
		}),
		"Cleanups.WipesByGroup": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.Cleanup, error) {
			return tx.Cleanups.WipesByGroup(ctx, "it's shared")
		}),
		"Cleanups.BySession": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.Cleanup, error) {
			return tx.Cleanups.BySession(ctx, "s9")
		}),
		"Migrations.Get": one(func(ctx context.Context, tx *ports.Tx) (*domain.Migration, error) {
			return tx.Migrations.Get(ctx, "g1")
		}),
		"Migrations.List": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.Migration, error) {
			all, _, err := tx.Migrations.List(ctx, ports.MigrationFilter{}, ports.Page{})
			return all, err
		}),
		"Migrations.Open": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.Migration, error) { return tx.Migrations.Open(ctx) }),
		"Replicas.List":   several(func(ctx context.Context, tx *ports.Tx) ([]*domain.Replica, error) { return tx.Replicas.List(ctx) }),
		"Users.ListRange": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.User, error) {
			return tx.Users.ListRange(ctx, ports.Range{})
		}),
		"Sessions.ListRange": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.Session, error) {
			return tx.Sessions.ListRange(ctx, ports.Range{})
		}),
		"Messages.Get": one(func(ctx context.Context, tx *ports.Tx) (*domain.Message, error) {
			return tx.Messages.Get(ctx, "s1", "m1")
		}),
		"Messages.ByWhatsAppID": one(func(ctx context.Context, tx *ports.Tx) (*domain.Message, error) {
			return tx.Messages.ByWhatsAppID(ctx, "s1", "3EB0C431C26A1916E07A")
		}),
		"Messages.List": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.Message, error) {
			return tx.Messages.List(ctx, "s1", domain.MessageFilter{})
		}),
		"Webhooks.Get": one(func(ctx context.Context, tx *ports.Tx) (*domain.Webhook, error) { return tx.Webhooks.Get(ctx, "h1") }),
		"Webhooks.BySession": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.Webhook, error) {
			return tx.Webhooks.BySession(ctx, "s1")
		}),
		"Webhooks.Due": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.Webhook, error) {
			return tx.Webhooks.Due(ctx, at(9999), 10)
		}),
		"SendQueues.Get": one(func(ctx context.Context, tx *ports.Tx) (*domain.SendQueue, error) {
			return tx.SendQueues.Get(ctx, "s1")
		}),
		"SendQueues.Due": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.SendQueue, error) {
			return tx.SendQueues.Due(ctx, at(9999), 10)
		}),
		"QueuedMessages.Get": one(func(ctx context.Context, tx *ports.Tx) (*domain.QueuedMessage, error) {
			return tx.QueuedMessages.Get(ctx, "s1", "q1")
		}),
		"QueuedMessages.List": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.QueuedMessage, error) {
			return tx.QueuedMessages.List(ctx, "s1", domain.Cursor{}, 10)
		}),
		"QueuedMessages.Expired": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.QueuedMessage, error) {
			return tx.QueuedMessages.Expired(ctx, "s1", at(9999), 10)
		}),
		"Deliveries.Get": one(func(ctx context.Context, tx *ports.Tx) (*domain.Delivery, error) { return tx.Deliveries.Get(ctx, "d1") }),
		"Deliveries.List": several(func(ctx context.Context, tx *ports.Tx) ([]*domain.Delivery, error) {
			return tx.Deliveries.List(ctx, "h1", ports.DeliveryFilter{})
		}),
		"Outbox.After": func(ctx context.Context, tx *ports.Tx) ([]any, error) {
			events, err := tx.Outbox.After(ctx, ports.EventFilter{}, 0, 10)
			all := make([]any, len(events))
			for i := range events {
				all[i] = &events[i]
			}
			return all, err
		},
	}
	for name, way := range ways {
		look := func() []any {
			found := read(d, way)
			require.Len(d.T, found, 1, name)
			return found
		}
		first := look()
		want := stored(first[0])
		scribble(first[0])
		again := look()
		require.Equal(d.T, want, stored(again[0]), name)
		requireSame(d.T, again[0], again[0])
	}

	// The same holds within one transaction, where an adapter may cache rows.
	var got *domain.Session
	d.update(func(ctx context.Context, tx *ports.Tx) error {
		own, err := tx.Sessions.Get(ctx, "s1")
		if err != nil {
			return err
		}
		scribble(own)
		got, err = tx.Sessions.Get(ctx, "s1")
		return err
	})
	requireSame(d.T, s, got)
}

// one adapts a look-up of one row.
func one[V any](fn func(ctx context.Context, tx *ports.Tx) (V, error)) func(ctx context.Context, tx *ports.Tx) ([]any, error) {
	return func(ctx context.Context, tx *ports.Tx) ([]any, error) {
		v, err := fn(ctx, tx)
		return []any{v}, err
	}
}

// several adapts a look-up of a list.
func several[V any](fn func(ctx context.Context, tx *ports.Tx) ([]V, error)) func(ctx context.Context, tx *ports.Tx) ([]any, error) {
	return func(ctx context.Context, tx *ports.Tx) ([]any, error) {
		found, err := fn(ctx, tx)
		all := make([]any, len(found))
		for i, v := range found {
			all[i] = v
		}
		return all, err
	}
}

// versioned returns the full rows that have a Rev.
func versioned() (rows []any) {
	for _, row := range fullRows() {
		if isVersioned(row) {
			rows = append(rows, row)
		}
	}
	return rows
}

// isVersioned reports whether the row has a Rev.
func isVersioned(row any) bool {
	return reflect.ValueOf(row).Elem().FieldByName("Rev").IsValid()
}

func insertTwice(d *db) {
	for _, row := range versioned() {
		require.Zero(d.T, revOf(row))
		d.put(row)
		require.NotZero(d.T, revOf(row))
	}
	for _, row := range versioned() {
		require.ErrorIs(d.T, d.tryPut(row), ports.ErrExists, "%T", row)
	}
}

func staleRevs(d *db) {
	for _, row := range versioned() {
		d.put(row)
		revs := []int64{revOf(row)}
		for range 12 { // through 9, 10 and 11, whose order as text differs
			d.put(row)
			require.Greater(d.T, revOf(row), revs[len(revs)-1], "%T", row)
			require.Equal(d.T, revOf(row), revOf(d.get(row)), "%T", row)
			revs = append(revs, revOf(row))
		}
		present := revs[len(revs)-1]
		for _, rev := range append(revs[:len(revs)-1], present+1, -1, math.MaxInt64) {
			setRev(row, rev)
			require.ErrorIs(d.T, d.tryPut(row), ports.ErrConflict, "%T of Rev %d of %d", row, rev, present)
		}
		setRev(row, 0)
		require.ErrorIs(d.T, d.tryPut(row), ports.ErrExists, "%T", row)
		setRev(row, present)
		d.put(row)
	}
}

func putGone(d *db) {
	for _, row := range versioned() {
		setRev(row, 1)
		require.ErrorIs(d.T, d.tryPut(row), ports.ErrConflict, "%T that was never stored", row)
		setRev(row, 0)
		d.put(row)
	}
	s := reload(d, &domain.Session{ID: "s1"})
	k := reload(d, &domain.APIKey{ID: "k1"})
	m := reload(d, &domain.Message{SessionID: "s1", ID: "m1"})
	w := reload(d, &domain.Worker{ID: "w1"})
	c := reload(d, &domain.Cleanup{WorkerID: "w1", SessionID: "s9", StateGroup: "it's shared"})
	g := reload(d, &domain.Migration{ID: "g1"})
	h := reload(d, &domain.Webhook{ID: "h1"})
	v := reload(d, &domain.Delivery{ID: "d1"})
	q, waiting := reload(d, &domain.SendQueue{SessionID: "s1"}), reload(d, &domain.QueuedMessage{ID: "q1", SessionID: "s1"})
	d.update(func(ctx context.Context, tx *ports.Tx) error {
		return firstError(tx.Sessions.Delete(ctx, "s1", s.Rev), tx.Workers.Delete(ctx, "w1"),
			tx.Cleanups.Delete(ctx, c), tx.Migrations.DeleteBefore(ctx, at(9999)))
	})
	for _, row := range []any{s, k, m, w, c, g, h, v, q, waiting} {
		require.ErrorIs(d.T, d.tryPut(row), ports.ErrConflict, "%T that was deleted", row)
		d.requireGone(row)
	}
}

func refusedPut(d *db) {
	for _, row := range versioned() {
		d.put(row)
		d.put(row)
	}
	for _, row := range versioned() {
		before := d.get(row)
		for _, rev := range []int64{0, revOf(before) - 1, revOf(before) + 1} {
			if rev == 0 && revOf(before) == 1 {
				continue
			}
			var refused error
			var after int64
			d.update(func(ctx context.Context, tx *ports.Tx) error {
				own := deepCopy(reflect.ValueOf(row)).Interface()
				if !rename(own) {
					return fmt.Errorf("%T has no text to change", own)
				}
				setRev(own, rev)
				refused = put(ctx, tx, own)
				after = revOf(own)
				return nil
			})
			require.Error(d.T, refused, "%T", row)
			require.Equal(d.T, rev, after, "a refused Put keeps the Rev")
			require.Equal(d.T, before, d.get(row))
		}
	}
}

// rename changes a text of the row that nothing depends on.
func rename(row any) bool {
	for _, name := range []string{"Name", "PasswordHash", "Description", "Caption", "TokenHash", "Reason", "ClaimedBy", "Fingerprint", "UploadType"} {
		if f := reflect.ValueOf(row).Elem().FieldByName(name); f.IsValid() {
			if f.Kind() == reflect.String {
				f.SetString("renamed")
			} else {
				f.Set(reflect.ValueOf(hash("renamed")))
			}
			return true
		}
	}
	return false
}

func notFound(d *db) {
	look := func() {
		missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.User, error) { return tx.Users.Get(ctx, "none") })
		missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.User, error) { return tx.Users.Get(ctx, "") })
		missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.User, error) { return tx.Users.ByEmail(ctx, "none") })
		missing(d, func(ctx context.Context, tx *ports.Tx) (domain.UserUsage, error) { return tx.Users.Usage(ctx, "none") })
		missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.RefreshTokenFamily, error) {
			return tx.RefreshTokenFamilies.Get(ctx, "none")
		})
		missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.APIKey, error) { return tx.APIKeys.Get(ctx, "none") })
		missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.APIKey, error) {
			return tx.APIKeys.ByHash(ctx, hash("none"))
		})
		missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.Session, error) { return tx.Sessions.Get(ctx, "none") })
		missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.Worker, error) { return tx.Workers.Get(ctx, "none") })
		missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.Worker, error) {
			return tx.Workers.ByEndpoint(ctx, "none")
		})
		missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.Migration, error) {
			return tx.Migrations.Get(ctx, "none")
		})
		missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.Message, error) {
			return tx.Messages.Get(ctx, "s1", "none")
		})
		missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.Message, error) {
			return tx.Messages.Get(ctx, "none", "m1")
		})
		missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.Message, error) {
			return tx.Messages.ByWhatsAppID(ctx, "s1", "none")
		})
		missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.Message, error) {
			return tx.Messages.ByWhatsAppID(ctx, "s1", "")
		})
		missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.Message, error) {
			return tx.Messages.ByWhatsAppID(ctx, "none", "x2")
		})
		missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.PasswordReset, error) {
			return tx.PasswordResets.Get(ctx, hash("none"))
		})
		missing(d, func(ctx context.Context, tx *ports.Tx) (string, error) { return tx.Settings.Get(ctx, "none") })
		missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.Webhook, error) { return tx.Webhooks.Get(ctx, "none") })
		missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.SendQueue, error) {
			return tx.SendQueues.Get(ctx, "none")
		})
		for _, session := range []string{"s1", "none"} {
			missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.QueuedMessage, error) {
				return tx.QueuedMessages.Get(ctx, session, "none")
			})
		}
		missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.Delivery, error) {
			return tx.Deliveries.Get(ctx, "none")
		})
		missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.Delivery, error) {
			return tx.Deliveries.NextPending(ctx, "none")
		})
		for name, write := range map[string]work{
			"Users.Reserve": func(ctx context.Context, tx *ports.Tx) error {
				return tx.Users.Reserve(ctx, "none", domain.UserUsage{ActiveSessions: 1}, domain.UserUsage{ActiveSessions: 1})
			},
			"PasswordResets.Consume": func(ctx context.Context, tx *ports.Tx) error {
				_, err := tx.PasswordResets.Consume(ctx, hash("none"))
				return err
			},
			"APIKeys.Delete":  func(ctx context.Context, tx *ports.Tx) error { return tx.APIKeys.Delete(ctx, "none") },
			"Sessions.Delete": func(ctx context.Context, tx *ports.Tx) error { return tx.Sessions.Delete(ctx, "none", 1) },
			"Sessions.Put of no user": func(ctx context.Context, tx *ports.Tx) error {
				return tx.Sessions.Put(ctx, session("s9", "none"))
			},
			"Workers.Delete":  func(ctx context.Context, tx *ports.Tx) error { return tx.Workers.Delete(ctx, "none") },
			"Webhooks.Delete": func(ctx context.Context, tx *ports.Tx) error { return tx.Webhooks.Delete(ctx, "none") },
			"Webhooks.Put of no session": func(ctx context.Context, tx *ports.Tx) error {
				return tx.Webhooks.Put(ctx, webhook("h9", "none", 1))
			},
			"SendQueues.Put of no session": func(ctx context.Context, tx *ports.Tx) error {
				return tx.SendQueues.Put(ctx, sendQueue("none", "u1", 1))
			},
			"QueuedMessages.Put of no session": func(ctx context.Context, tx *ports.Tx) error {
				return tx.QueuedMessages.Put(ctx, queued("q9", "none", 1))
			},
			"Deliveries.Put of no webhook": func(ctx context.Context, tx *ports.Tx) error {
				return tx.Deliveries.Put(ctx, delivery("d9", "none", 1, 1))
			},
		} {
			require.ErrorIs(d.T, d.store.Update(d.ctx, write), ports.ErrNotFound, name)
		}
		d.update(func(ctx context.Context, tx *ports.Tx) error {
			return firstError(
				tx.Cleanups.Delete(ctx, cleanup("none", "none", noon)), tx.Workers.Release(ctx, "none"),
				tx.Replicas.Delete(ctx, "none"), tx.Migrations.DeleteBefore(ctx, at(-600)),
				tx.RefreshTokenFamilies.RevokeAll(ctx, "none", "", noon), tx.RefreshTokenFamilies.DeleteExpired(ctx, at(-600)),
				second(tx.Outbox.DeleteBefore(ctx, at(-600), 10)),
			)
		})
		require.Empty(d.T, read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Message, error) {
			return tx.Messages.List(ctx, "none", domain.MessageFilter{})
		}))
		require.Empty(d.T, read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.APIKey, error) {
			return tx.APIKeys.ByUser(ctx, "none")
		}))
		require.Empty(d.T, read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Session, error) {
			return tx.Sessions.ListByWorker(ctx, "none")
		}))
		require.Empty(d.T, read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Session, error) {
			return tx.Sessions.ClaimedBy(ctx, "none")
		}))
	}
	look() // in an empty store
	d.update(writeFixture)
	look()
}
