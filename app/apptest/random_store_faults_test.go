package apptest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance/storehooks"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// lossyStore returns a store whose Updates fail at the rate: before anything was done, or
// after the commit, when the caller cannot know whether it took place.
func lossyStore(r *rand.Rand, rate *float64) ports.Store {
	errLost := errors.New("the connection was lost")
	s := storehooks.New(memory.NewStore())
	s.BeforeUpdate = func(context.Context) error {
		if r.Float64() < *rate {
			return errLost
		}
		return nil
	}
	s.AfterUpdate = func(_ context.Context, err error) error {
		if err == nil && r.Float64() < *rate {
			return errLost
		}
		return err
	}
	return s
}

// TestRandomFaults_StoreFails_NothingIsLeftOver makes Updates fail, beside all other faults.
// Afterwards no migration, cleanup, claim or slot is left over.
func TestRandomFaults_StoreFails_NothingIsLeftOver(t *testing.T) {
	for seed := range seeds(t) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rate := 0.0
			store := lossyStore(rand.New(rand.NewPCG(seed, 7)), &rate)
			f := newFaulty(t, apptest.Options{Seed: seed, Replicas: 1 + int(seed%3), Store: store})
			f.IgnoreStepErrors = true
			rate = 0.08
			for range 120 {
				switch f.r.IntN(12) {
				case 0:
					_ = f.Orchestrator.Workers.Remove(t.Context(), "worker-"+f.workers[f.r.IntN(3)], service.RemoveOptions{Force: f.r.IntN(2) == 0})
				case 1:
					id := f.ids[f.r.IntN(len(f.ids))]
					if f.Orchestrator.Operations.DeleteSession(t.Context(), id) == nil {
						_, _ = f.Orchestrator.Sessions.Create(t.Context(), f.user.ID, service.CreateSessionParams{Name: "again", ID: id})
					}
				default:
					f.disturb()
				}
				f.Advance(time.Duration(f.r.IntN(20_000)) * time.Millisecond)
			}
			rate = 0
			f.endFaults(2*time.Minute, 6*time.Minute)
			require.NoError(t, store.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
				live := 0
				used := map[string]int{}
				for _, id := range f.ids {
					s, err := tx.Sessions.Get(ctx, id)
					if errors.Is(err, ports.ErrNotFound) {
						require.Empty(t, f.Owners(id), "deleted")
						continue
					}
					require.NoError(t, err)
					used[s.WorkerID]++
					require.False(t, s.ClaimedBy != "" && f.Now().Before(s.ClaimedUntil), "a claim that has not ended: %+v", *s)
					if s.Intent == domain.Down {
						require.Empty(t, f.Owners(id), "the intent of %s is down", id)
						continue
					}
					live++
					require.Equal(t, domain.Connected, s.Status, "%s: command %s, attempts %d, %s", id, s.Command, s.Attempts, s.LastError)
					require.Equal(t, []string{s.WorkerID}, f.Owners(id))
				}
				for _, w := range f.workers {
					row, err := tx.Workers.Get(ctx, "worker-"+w)
					require.NoError(t, err)
					require.Equal(t, used[row.ID], row.Used)
					left, err := tx.Cleanups.ByWorker(ctx, row.ID)
					require.NoError(t, err)
					for _, c := range left {
						require.False(t, c.IsPending(), "nothing is left to stop or wipe on a live worker")
					}
				}
				u, err := tx.Users.Usage(ctx, f.user.ID)
				require.NoError(t, err)
				require.Equal(t, live, u.ActiveSessions)
				return nil
			}))
			require.Empty(t, f.Repeats())
		})
	}
}
