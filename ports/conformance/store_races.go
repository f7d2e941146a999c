package conformance

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var raceClauses = []clause{
	{"one of several Puts of a Rev wins", onePutWins},
	{"one of several inserts of a row wins", oneInsertWins},
	{"one of several rows with a unique value wins", oneValueWins},
	{"one of several consumers of a reset wins", oneConsumerWins},
	{"one of several new settings stays", oneSettingStays},
	{"no CompareAndSwap is lost", swapsAdd},
	{"users stay within their limit", usersWithinLimit},
	{"workers stay within their capacity", workersWithinCapacity},
	{"a worker with a reservation is not deleted", deleteOrReserve},
	{"a deleted session leaves nothing behind", deleteOrPut},
	{"readers of the outbox miss nothing", outboxReaders},
}

const racers = 8

// A raceResult counts the outcomes of racers that do the same: success, an allowed error, or a failure.
type raceResult struct {
	wins, losses int
	failure      error
}

// compete runs try in several goroutines and counts the outcomes.
func compete(try func(i int) error, allowed ...error) (t raceResult) {
	var mu sync.Mutex
	race(racers, func(i int) {
		err := try(i)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			t.wins++
			return
		}
		for _, want := range allowed {
			if errors.Is(err, want) {
				t.losses++
				return
			}
		}
		t.failure = err
	})
	return t
}

// oneWins requires exactly one success.
func (d *db) oneWins(t raceResult) {
	d.Helper()
	require.NoError(d.T, t.failure)
	require.Equal(d.T, 1, t.wins)
}

func onePutWins(d *db) {
	for _, row := range versioned() {
		d.put(row)
		for range 3 {
			present := d.get(row)
			rows := make([]any, racers)
			for i := range rows {
				rows[i] = deepCopy(reflect.ValueOf(present)).Interface()
			}
			d.oneWins(compete(func(i int) error { return d.tryPut(rows[i]) }, ports.ErrConflict))
			require.Greater(d.T, revOf(d.get(row)), revOf(present), "%T", row)
		}
	}
}

func oneInsertWins(d *db) {
	samples := make([][]any, racers)
	for i := range samples {
		samples[i] = versioned()
	}
	for n := range samples[0] {
		d.oneWins(compete(func(i int) error { return d.tryPut(samples[i][n]) }, ports.ErrExists))
	}
}

func oneValueWins(d *db) {
	d.oneWins(compete(func(i int) error {
		u := user(fmt.Sprint("u", i))
		u.Email = "one@example.com"
		return d.tryPut(u)
	}, ports.ErrExists))
	d.oneWins(compete(func(i int) error {
		w := worker(fmt.Sprint("w", i), 1)
		w.Endpoint = "http://one"
		return d.tryPut(w)
	}, ports.ErrExists))
	spellings := domain.EndpointSpellings("http://localhost:9001")
	d.oneWins(compete(func(i int) error {
		w := worker(fmt.Sprint("spelled", i), 1)
		w.Endpoint = spellings[i%len(spellings)]
		return d.tryPut(w)
	}, ports.ErrExists))
	d.put(user("owner"), session("s1", "owner"))
	d.oneWins(compete(func(i int) error {
		k := apiKey(fmt.Sprint("k", i), "s1", "owner")
		k.Hash = hash("one")
		return d.tryPut(k)
	}, ports.ErrExists))
	d.oneWins(compete(func(i int) error {
		return d.tryPut(received(fmt.Sprint("m", i), "one", "s1", "owner", i))
	}, ports.ErrExists))
}

func oneConsumerWins(d *db) {
	d.put(user("u1"), &domain.PasswordReset{UserID: "u1", TokenHash: hash("reset"), ExpiresAt: noon})
	d.oneWins(compete(func(int) error {
		return d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
			_, err := tx.PasswordResets.Consume(ctx, hash("reset"))
			return err
		})
	}, ports.ErrNotFound))
}

func oneSettingStays(d *db) {
	values := make([]string, racers)
	t := compete(func(i int) error {
		return d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
			values[i], err = tx.Settings.PutIfAbsent(ctx, "secret", fmt.Sprint("value ", i))
			return err
		})
	})
	require.NoError(d.T, t.failure)
	stands := d.setting("secret")
	for _, value := range values {
		require.Equal(d.T, stands, value)
	}
}

// swapsAdd counts by reading and swapping a setting.
func swapsAdd(d *db) {
	const each = 5
	var failures [racers]error
	race(racers, func(i int) {
		for done := 0; done < each && failures[i] == nil; {
			err := d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
				count, err := tx.Settings.Get(ctx, "count")
				if err != nil && !errors.Is(err, ports.ErrNotFound) {
					return err
				}
				n, _ := strconv.Atoi(count)
				return tx.Settings.CompareAndSwap(ctx, "count", count, strconv.Itoa(n+1))
			})
			switch {
			case err == nil:
				done++
			case !errors.Is(err, ports.ErrConflict):
				failures[i] = err
			}
		}
	})
	require.NoError(d.T, errors.Join(failures[:]...))
	require.Equal(d.T, strconv.Itoa(racers*each), d.setting("count"))
}

func usersWithinLimit(d *db) {
	const limit = 10
	d.put(user("u1"))
	var taken, refused atomic.Int64
	t := compete(func(int) error {
		for range 5 {
			err := d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
				return tx.Users.Reserve(ctx, "u1", domain.UserUsage{Sessions: 1}, domain.UserUsage{Sessions: limit})
			})
			switch {
			case err == nil:
				taken.Add(1)
			case errors.Is(err, ports.ErrFull):
				refused.Add(1)
			default:
				return err
			}
		}
		return nil
	})
	require.NoError(d.T, t.failure)
	require.EqualValues(d.T, limit, taken.Load())
	require.EqualValues(d.T, racers*5-limit, refused.Load())
	require.Equal(d.T, domain.UserUsage{Sessions: limit}, d.usage("u1"))
}

func workersWithinCapacity(d *db) {
	const capacity = 5
	w := worker("w1", capacity)
	d.put(w)
	var over atomic.Bool
	look := func() error {
		return d.store.View(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
			w, err := tx.Workers.Get(ctx, "w1")
			if err == nil && (w.Used < 0 || w.Used > capacity) {
				over.Store(true)
			}
			return err
		})
	}
	var held atomic.Int64
	t := compete(func(i int) error {
		for n := range 8 {
			err := d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error { return tx.Workers.Reserve(ctx, "w1") })
			switch {
			case err == nil && n%2 == i%2:
				err = d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error { return tx.Workers.Release(ctx, "w1") })
			case err == nil:
				held.Add(1)
			case errors.Is(err, ports.ErrFull):
				err = nil
			}
			err = firstError(err, look())
			if err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(d.T, t.failure)
	require.False(d.T, over.Load(), "more slots used than the capacity")
	// A slot that another racer held during the last request may remain free.
	require.LessOrEqual(d.T, held.Load(), int64(capacity))
	require.EqualValues(d.T, held.Load(), reload(d, w).Used)
	reserve := func(ctx context.Context, tx *ports.Tx) error { return tx.Workers.Reserve(ctx, "w1") }
	for range capacity - held.Load() {
		d.update(reserve)
	}
	d.refuse(ports.ErrFull, reserve)
	got := reload(d, w)
	require.Equal(d.T, capacity, got.Used)
	require.Equal(d.T, w.Rev, got.Rev)
}

func deleteOrReserve(d *db) {
	for n := range 10 {
		w := worker(fmt.Sprint("w", n), 1)
		d.put(w)
		var deleted, reserved error
		race(2, func(i int) {
			err := d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
				if i == 0 {
					return tx.Workers.Delete(ctx, w.ID)
				}
				return tx.Workers.Reserve(ctx, w.ID)
			})
			if i == 0 {
				deleted = err
			} else {
				reserved = err
			}
		})
		if reserved == nil {
			require.ErrorIs(d.T, deleted, ports.ErrConflict)
			require.Equal(d.T, 1, reload(d, w).Used)
			continue
		}
		require.NoError(d.T, deleted)
		require.True(d.T, errors.Is(reserved, ports.ErrFull) || errors.Is(reserved, ports.ErrNotFound), reserved)
	}
}

// deleteOrPut stores messages and keys while their session is deleted. Each of them is refused or
// deleted too.
func deleteOrPut(d *db) {
	d.put(user("u1"))
	for n := range 10 {
		s := session(fmt.Sprint("s", n), "u1")
		d.put(s)
		m, k := sent(fmt.Sprint("m", n), s.ID, "u1", n), apiKey(fmt.Sprint("k", n), s.ID, "u1")
		i := idempotencyKey("k", s.ID, n)
		errs := make([]error, 4)
		race(4, func(racer int) {
			switch racer {
			case 0:
				errs[0] = d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error { return tx.Sessions.Delete(ctx, s.ID, s.Rev) })
			case 1:
				errs[1] = d.tryPut(m)
			case 2:
				errs[2] = d.tryPut(k)
			case 3:
				errs[3] = d.tryPut(i)
			}
		})
		require.NoError(d.T, errs[0])
		for _, err := range errs[1:] {
			if err != nil {
				require.ErrorIs(d.T, err, ports.ErrNotFound)
			}
		}
		d.requireGone(m)
		d.requireGone(k)
		d.requireGone(i)
	}
	require.Empty(d.T, read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.APIKey, error) { return tx.APIKeys.ByUser(ctx, "u1") }))
	require.Empty(d.T, read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Message, error) {
		return tx.Messages.PendingBefore(ctx, at(600), 10)
	}))
}

// outboxReaders reads events from the last seen Seq on. The reader sees every event, although earlier
// transactions may commit later.
func outboxReaders(d *db) {
	const each = 10
	var writers sync.WaitGroup
	writers.Add(racers - 1)
	done := make(chan struct{})
	go func() {
		writers.Wait()
		close(done)
	}()
	var seen []domain.Event
	t := compete(func(i int) error {
		if i > 0 {
			defer writers.Done()
			for n := range each {
				if err := d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
					e := event(fmt.Sprint(n), noon)
					e.SessionID = fmt.Sprint("s", i)
					return tx.Outbox.Append(ctx, *e, *e)
				}); err != nil {
					return err
				}
			}
			return nil
		}
		for last := false; ; {
			var batch []domain.Event
			seq := int64(0)
			if len(seen) > 0 {
				seq = seen[len(seen)-1].Seq
			}
			if err := d.store.View(d.ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
				batch, err = tx.Outbox.After(ctx, ports.EventFilter{}, seq, 3)
				return err
			}); err != nil {
				return err
			}
			seen = append(seen, batch...)
			if len(batch) == 0 && last {
				return nil
			}
			select {
			case <-done:
				last = true
			default:
			}
		}
	})
	require.NoError(d.T, t.failure)
	require.Len(d.T, seen, 2*each*(racers-1))
	next := make(map[string]int)
	for i, e := range seen {
		require.True(d.T, i == 0 || e.Seq > seen[i-1].Seq)
		require.Equal(d.T, fmt.Sprint(next[e.SessionID]/2), e.Reason, "the order of one writer")
		next[e.SessionID]++
	}
}
