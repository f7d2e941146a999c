package orchestrator_test

import (
	"context"
	"testing"
	"time"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// asRoot is the context of a call by an administrator.
func asRoot(t *testing.T) context.Context {
	return service.WithCaller(t.Context(), service.Caller{
		Actor: domain.Actor{Kind: domain.ActorUser, ID: "root", Email: "root@example.com"}, Address: "203.0.113.7",
	})
}

// audited returns what the administrator did, oldest first: action, object and how it ended.
func (w *fixture) audited() (all []string) {
	w.t.Helper()
	list, _, err := w.Audit.List(context.Background(), ports.AuditFilter{Actor: "root", Limit: 100})
	require.NoError(w.t, err)
	for _, e := range list {
		require.Equal(w.t, "203.0.113.7", e.Address)
		line := string(e.Action) + " " + e.Object + " " + string(e.Outcome)
		if code := e.Details["code"]; code != "" {
			line += " " + code
		}
		all = append([]string{line}, all...)
		w.clock.advance(time.Millisecond)
	}
	return all
}

func TestAudit_ActionsOfAnAdministrator_AreRecorded(t *testing.T) {
	w, s := newConnectedFixture(t)
	w.workers.EXPECT().Delete(gomock.Any(), gomock.Any(), gomock.Any(), gomock.Any()).Return(nil).AnyTimes()
	w.workers.EXPECT().Disconnect(gomock.Any(), gomock.Any(), gomock.Any(), gomock.Any()).Return(nil).AnyTimes()
	w.worker("worker-2", 5)
	capacity := 40
	for _, c := range []struct {
		want string
		do   func(ctx context.Context) error
	}{
		{"worker.added worker:worker-3 SUCCEEDED", func(ctx context.Context) error {
			_, err := w.Workers.Add(ctx, domain.Registration{WorkerID: "Worker 3", Endpoint: "http://worker-3:1", Capacity: 5})
			return err
		}},
		{"worker.added worker:worker-3 FAILED WORKER_CONFLICT", func(ctx context.Context) error {
			_, err := w.Workers.Add(ctx, domain.Registration{WorkerID: "worker-3", Endpoint: "http://worker-3:1", Capacity: 5})
			return err
		}},
		{"worker.updated worker:worker-1 SUCCEEDED", func(ctx context.Context) error {
			_, err := w.Workers.Update(ctx, "worker-1", service.WorkerChange{Capacity: &capacity})
			return err
		}},
		{"worker.updated worker:nobody FAILED WORKER_NOT_FOUND", func(ctx context.Context) error {
			_, err := w.Workers.Update(ctx, "nobody", service.WorkerChange{Capacity: &capacity})
			return err
		}},
		{"session.migrated session:" + s.ID + " SUCCEEDED", func(ctx context.Context) error {
			_, err := w.Operations.Migrate(ctx, s.ID, service.MigrateOptions{TargetWorkerID: "worker-2", Reason: "to see"})
			return err
		}},
		{"session.migrated session:nothing FAILED SESSION_NOT_FOUND", func(ctx context.Context) error {
			_, err := w.Operations.Migrate(ctx, "nothing", service.MigrateOptions{})
			return err
		}},
		{"migration.cancelled migration:nothing FAILED NOT_FOUND", func(ctx context.Context) error {
			_, _, err := w.Operations.CancelMigrations(ctx, "nothing")
			return err
		}},
		{"worker.drained worker:worker-3 SUCCEEDED", func(ctx context.Context) error {
			_, err := w.Workers.Drain(ctx, "worker-3", service.DrainOptions{})
			return err
		}},
		{"worker.activated worker:worker-3 SUCCEEDED", func(ctx context.Context) error {
			_, err := w.Workers.Activate(ctx, "worker-3")
			return err
		}},
		{"worker.tested worker:worker-1 SUCCEEDED", func(ctx context.Context) error {
			_, err := w.Workers.Test(ctx, "worker-1")
			return err
		}},
		{"worker.tested endpoint:http://worker-9:1 SUCCEEDED", func(ctx context.Context) error {
			_, err := w.Workers.TestEndpoint(ctx, "http://worker-9:1")
			return err
		}},
		{"worker.foreign-session-stopped worker:worker-1 FAILED INVALID_STATE", func(ctx context.Context) error {
			return w.Workers.StopForeign(ctx, "worker-1", s.ID, service.StopForeignOptions{})
		}},
		{"fleet.probed fleet SUCCEEDED", func(ctx context.Context) error {
			_, err := w.Workers.ProbeAll(ctx)
			return err
		}},
		{"fleet.probes-stopped fleet SUCCEEDED", func(ctx context.Context) error {
			_, err := w.Workers.StopProbes(ctx)
			return err
		}},
		{"fleet.probes-started fleet SUCCEEDED", func(ctx context.Context) error {
			_, err := w.Workers.StartProbes(ctx)
			return err
		}},
		{"fleet.bulk fleet FAILED VALIDATION_ERROR", func(ctx context.Context) error {
			_, err := w.Operations.Bulk(ctx, service.BulkRequest{Action: "dance", SessionIDs: []string{s.ID}})
			return err
		}},
		{"session.restarted session:nothing FAILED SESSION_NOT_FOUND", func(ctx context.Context) error {
			_, err := w.Operations.Bulk(ctx, service.BulkRequest{Action: service.BulkRestart, SessionIDs: []string{"nothing"}})
			return err
		}},
		{"session.disconnected session:" + s.ID + " SUCCEEDED", func(ctx context.Context) error {
			_, err := w.Operations.Bulk(ctx, service.BulkRequest{Action: service.BulkDisconnect, SessionIDs: []string{s.ID}})
			return err
		}},
		{"fleet.rebalanced fleet SUCCEEDED", func(ctx context.Context) error {
			_, err := w.Operations.Rebalance(ctx, service.RebalanceOptions{})
			return err
		}},
		{"session.deleted session:" + s.ID + " SUCCEEDED", func(ctx context.Context) error {
			return w.Operations.DeleteSession(ctx, s.ID)
		}},
		{"session.deleted session:" + s.ID + " FAILED SESSION_NOT_FOUND", func(ctx context.Context) error {
			return w.Operations.DeleteSession(ctx, s.ID)
		}},
	} {
		before := len(w.audited())
		w.clock.advance(time.Second)
		_ = c.do(asRoot(t))
		require.Equal(t, []string{c.want}, w.audited()[before:], "nothing else was recorded")
	}
}

func TestAudit_WorkerRemoved_ItsDrainIsRecordedToo(t *testing.T) {
	w := newFixture(t)
	w.worker("worker-1", 5)
	require.NoError(t, w.Workers.Remove(asRoot(t), "worker-1", service.RemoveOptions{}))
	require.ElementsMatch(t, []string{"worker.drained worker:worker-1 SUCCEEDED", "worker.removed worker:worker-1 SUCCEEDED"}, w.audited())
	require.Equal(t, domain.CodeWorkerNotFound, domain.CodeOf(w.Workers.Remove(asRoot(t), "worker-1", service.RemoveOptions{})))
	require.Contains(t, w.audited(), "worker.removed worker:worker-1 FAILED WORKER_NOT_FOUND")
}

func TestAudit_KeysOfAUser_AreRecordedWithoutTheKey(t *testing.T) {
	w := newFixture(t)
	user := w.user(domain.TierBasic)
	ctx := asRoot(t)
	created, err := w.Sessions.Create(ctx, user, service.CreateSessionParams{Name: "line"})
	require.NoError(t, err)
	w.clock.advance(time.Second)
	key, err := w.APIKeys.Rotate(ctx, user, created.ID, 0)
	require.NoError(t, err)
	w.clock.advance(time.Second)
	keys, err := w.APIKeys.List(ctx, user)
	require.NoError(t, err)
	require.NoError(t, w.APIKeys.Revoke(ctx, user, keys[0].ID))

	list, _, err := w.Audit.List(ctx, ports.AuditFilter{Object: "api-key"})
	require.NoError(t, err)
	var actions []domain.AuditAction
	for _, e := range list {
		actions = append(actions, e.Action)
		require.Equal(t, created.ID, e.Details["session"])
		for _, text := range e.Details {
			require.NotContains(t, text, "wg_")
		}
	}
	require.Equal(t, []domain.AuditAction{domain.AuditKeyDeleted, domain.AuditKeyRotated, domain.AuditKeyCreated}, actions)
	require.Equal(t, "api-key:"+keys[0].ID, list[0].Object)
	require.NotContains(t, key, keys[0].ID)
}

func TestAudit_EntriesOfLongAgo_AreDeletedInTheBackground(t *testing.T) {
	w := newFixture(t)
	w.worker("worker-1", 5)
	_, err := w.Workers.Drain(asRoot(t), "worker-1", service.DrainOptions{})
	require.NoError(t, err)
	w.clock.advance(90 * 24 * time.Hour)
	_, err = w.RunOnce(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"worker.drained worker:worker-1 SUCCEEDED"}, w.audited())
	w.clock.advance(time.Hour)
	_, err = w.RunOnce(t.Context())
	require.NoError(t, err)
	require.Empty(t, w.audited())
}
