package audit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/app/internal/audit"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance/storehooks"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// fixture is a trail on a store in memory.
type fixture struct {
	audit.Trail
	t     *testing.T
	store *storehooks.Store
	now   time.Time
	ids   int
	log   strings.Builder
}

// NewID implements ports.IDs.
func (f *fixture) NewID() string {
	f.ids++
	return fmt.Sprintf("id-%03d", f.ids)
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{t: t, store: storehooks.New(memory.NewStore()), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	f.Trail = audit.Trail{Store: f.store, IDs: f, Now: func() time.Time { return f.now }, Log: slog.New(slog.NewTextHandler(&f.log, nil))}
	return f
}

func (f *fixture) entries() []domain.AuditEntry {
	list, _, err := f.List(f.t.Context(), ports.AuditFilter{Limit: 100})
	require.NoError(f.t, err)
	return list
}

// ada is a context of a call by a person.
func ada(ctx context.Context) context.Context {
	return service.WithCaller(ctx, service.Caller{
		Actor: domain.Actor{Kind: domain.ActorUser, ID: "u1", Email: "ada@example.com"}, Address: "203.0.113.7",
	})
}

var errTaken = domain.Errorf(domain.Conflict, domain.CodeWorkerConflict, "Taken")

func TestRecord_TransactionCommits_EntryNamesTheCaller(t *testing.T) {
	f := newFixture(t)
	require.NoError(t, f.store.Update(ada(t.Context()), func(ctx context.Context, tx *ports.Tx) error {
		return f.Record(ctx, tx, domain.AuditWorkerDrained, audit.Object("worker", "w1"), "reason", "upgrade", "empty", "")
	}))
	require.Equal(t, []domain.AuditEntry{{
		ID: "id-001", At: f.now, Actor: domain.Actor{Kind: domain.ActorUser, ID: "u1", Email: "ada@example.com"},
		Action: domain.AuditWorkerDrained, Object: "worker:w1", Address: "203.0.113.7", Outcome: domain.AuditSucceeded,
		Details: map[string]string{"reason": "upgrade"}, Count: 1,
	}}, f.entries())
}

func TestRecord_TransactionFails_LeavesNoEntry(t *testing.T) {
	f := newFixture(t)
	broken := errors.New("broken")
	require.ErrorIs(t, f.store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		require.NoError(t, f.Record(ctx, tx, domain.AuditWorkerDrained, "worker:w1"))
		return broken
	}), broken)
	require.Empty(t, f.entries())
}

func TestRecord_NoCallerInTheContext_IsTheSystem(t *testing.T) {
	f := newFixture(t)
	f.RecordAlone(t.Context(), domain.AuditFleetProbed, "fleet")
	require.Equal(t, domain.Actor{Kind: domain.ActorSystem}, f.entries()[0].Actor)
}

func TestRecordFailure_EqualOnesWithinAMinute_AreOneEntry(t *testing.T) {
	f := newFixture(t)
	for range 3 {
		f.RecordFailure(ada(t.Context()), errTaken, domain.AuditWorkerAdded, "worker:w1")
		f.now = f.now.Add(20 * time.Second)
	}
	f.RecordFailure(ada(t.Context()), errTaken, domain.AuditWorkerAdded, "worker:w1")
	f.RecordFailure(ada(t.Context()), nil, domain.AuditWorkerAdded, "worker:w1")

	list := f.entries()
	require.Len(t, list, 2)
	require.Equal(t, []int{1, 3}, []int{list[0].Count, list[1].Count})
	require.Equal(t, domain.AuditFailed, list[0].Outcome)
	require.Equal(t, map[string]string{"code": "WORKER_CONFLICT"}, list[0].Details)
}

func TestRecordFailedSignIn_Attempts_AreCountedByEmailAddressAndMinute(t *testing.T) {
	f := newFixture(t)
	wrong := domain.Errorf(domain.Unauthenticated, domain.CodeInvalidCredentials, "Wrong")
	from := func(address string) context.Context {
		return service.WithCaller(t.Context(), service.Caller{Actor: domain.Actor{Kind: domain.ActorAnonymous}, Address: address})
	}
	for range 5 {
		f.RecordFailedSignIn(from("203.0.113.7"), wrong, "u1", "ada@example.com")
	}
	f.RecordFailedSignIn(from("203.0.113.8"), wrong, "u1", "ada@example.com")
	f.RecordFailedSignIn(from("203.0.113.7"), wrong, "", "bob@example.com")

	counts := map[string]int{}
	for _, e := range f.entries() {
		require.Equal(t, domain.AuditUserSignInFailed, e.Action)
		counts[e.Actor.Email+" "+e.Address+" "+e.Object] = e.Count
	}
	require.Equal(t, map[string]int{
		"ada@example.com 203.0.113.7 user:u1": 5, "ada@example.com 203.0.113.8 user:u1": 1, "bob@example.com 203.0.113.7 user": 1,
	}, counts)
}

func TestRecordFailure_CallerHasGone_IsRecordedNevertheless(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.RecordFailure(ctx, ctx.Err(), domain.AuditWorkerAdded, "worker:w1")
	require.Equal(t, "CANCELLED", f.entries()[0].Details["code"])
}

func TestRecordFailure_StoreIsDown_LogsTheLoss(t *testing.T) {
	f := newFixture(t)
	f.store.SetDown()
	f.RecordFailure(t.Context(), errTaken, domain.AuditWorkerAdded, "worker:w1")
	require.Contains(t, f.log.String(), "audit entry lost")
	require.Contains(t, f.log.String(), "worker.added")
}

func TestList_ManyEntries_ArePaged(t *testing.T) {
	f := newFixture(t)
	for range 45 {
		f.RecordAlone(t.Context(), domain.AuditFleetProbed, "fleet")
		f.now = f.now.Add(time.Second)
	}
	var pages []int
	var ids []string
	var filter ports.AuditFilter
	for {
		list, next, err := f.List(t.Context(), filter)
		require.NoError(t, err)
		pages = append(pages, len(list))
		for _, e := range list {
			ids = append(ids, e.ID)
		}
		if next == (domain.Cursor{}) {
			break
		}
		filter.After = next
	}
	require.Equal(t, []int{20, 20, 5}, pages)
	require.Equal(t, "id-045", ids[0])
	require.Equal(t, "id-001", ids[44])
}
