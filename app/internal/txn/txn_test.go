package txn_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// fixture is a core with a worker and a user, and the changes that observers were told.
type fixture struct {
	*coretest.Core
	user string
	told []*txn.Changes
}

func newFixture(t *testing.T) *fixture { return observed(coretest.New(t)) }

func observed(core *coretest.Core) *fixture {
	f := &fixture{Core: core}
	f.AddSharingWorker("w1", 2, domain.CapGeneration)
	f.AddSharingWorker("w2", 2, domain.CapGeneration)
	f.user = f.AddUser(domain.TierPro)
	f.AfterCommit(func(_ context.Context, c *txn.Changes) { f.told = append(f.told, c) })
	return f
}

func TestTransact_Commits_TellsObserversOnceInOrderAfterTheCommit(t *testing.T) {
	f := newFixture(t)
	var order []string
	for _, name := range []string{"first", "second"} {
		f.AfterCommit(func(_ context.Context, c *txn.Changes) {
			order = append(order, name)
			require.Equal(t, c.Sessions[0].Rev, f.Session("s1").Rev, "the row is durable")
		})
	}
	f.AddSession(f.user, "s1")
	require.Equal(t, []string{"first", "second"}, order)
	require.Len(t, f.told, 1)
}

func TestTransact_AttemptLosesARace_ItsChangesReachNobody(t *testing.T) {
	f := newFixture(t)
	f.AddSession(f.user, "s1")
	f.told = nil
	f.Stored.FailCommits(ports.ErrConflict)
	attempts := 0

	f.Write(func(ctx context.Context, tx *txn.Tx) error {
		attempts++
		s, err := tx.Sessions.Get(ctx, "s1")
		if err != nil {
			return err
		}
		if attempts == 1 {
			tx.NoteMigrationEnded()
			if err := tx.Record(ctx, domain.Event{Type: domain.EventSessionError}); err != nil {
				return err
			}
		}
		return tx.SaveSession(ctx, s.Clone(), s, nil)
	})

	require.Equal(t, 2, attempts)
	require.Len(t, f.told, 1)
	require.Len(t, f.told[0].Sessions, 1)
	require.False(t, f.told[0].HasEvents)
	require.False(t, f.told[0].MigrationEnded)
}

func TestTransact_FunctionFails_NothingIsStoredAndNobodyIsTold(t *testing.T) {
	f := newFixture(t)
	f.AddSession(f.user, "s1")
	f.told = nil
	broken := errors.New("broken")
	_, err := f.ChangeSession(context.Background(), "s1", func(ctx context.Context, tx *txn.Tx, s *domain.Session) ([]domain.Event, error) {
		s.Name = "changed"
		require.NoError(t, tx.SaveSession(ctx, s.Clone(), s, nil))
		return nil, broken
	})
	require.ErrorIs(t, err, broken)
	require.Empty(t, f.told)
	require.Equal(t, "s1", f.Session("s1").Name)
}

func TestTransact_CallerHasGone_ObserversRunAllTheSame(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(context.Background())
	f.AfterCommit(func(ctx context.Context, _ *txn.Changes) {
		cancel()
		require.NoError(t, ctx.Err())
	})
	require.NoError(t, f.Transact(ctx, func(context.Context, *txn.Tx) error { return nil }))
}

func TestChangeSession_Unchanged_ReturnsTheRowAndStoresNothing(t *testing.T) {
	f := newFixture(t)
	f.AddSession(f.user, "s1")
	rev := f.Session("s1").Rev
	f.told = nil
	s, err := f.ChangeSession(context.Background(), "s1", func(_ context.Context, _ *txn.Tx, s *domain.Session) ([]domain.Event, error) {
		s.Name = "not stored"
		return nil, txn.ErrUnchanged
	})
	require.NoError(t, err)
	require.Equal(t, "s1", s.ID)
	require.Equal(t, rev, f.Session("s1").Rev)
	require.Empty(t, f.told[0].Sessions)
}

func TestChange_RowMissing_IsAPublicError(t *testing.T) {
	f := newFixture(t)
	_, err := f.ChangeSession(context.Background(), "none", nil)
	require.Equal(t, domain.CodeSessionNotFound, domain.CodeOf(err))
	_, err = f.ChangeWorker(context.Background(), "none", nil)
	require.Equal(t, domain.CodeWorkerNotFound, domain.CodeOf(err))
}

func TestOwnedSession_OfAnotherUser_DoesNotExist(t *testing.T) {
	f := newFixture(t)
	f.AddSession(f.user, "s1")
	f.Read(func(ctx context.Context, tx *ports.Tx) error {
		_, err := txn.OwnedSession(ctx, tx, f.user, "s1")
		require.NoError(t, err)
		_, err = txn.OwnedSession(ctx, tx, "somebody else", "s1")
		require.Equal(t, domain.CodeSessionNotFound, domain.CodeOf(err))
		return nil
	})
}
