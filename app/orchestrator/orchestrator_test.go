package orchestrator_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Users, administrators and workers read the same sentence, which says what each of them can
// do.
func TestServices_UnknownID_ErrorSaysWhatToDo(t *testing.T) {
	ctx := context.Background()
	w, s := newConnectedFixture(t)
	for what, ask := range map[string]func() error{
		"drain": func() error { _, err := w.Workers.Drain(ctx, "nobody", service.DrainOptions{}); return err },
		"migrate": func() error {
			_, err := w.Operations.Migrate(ctx, s.ID, service.MigrateOptions{TargetWorkerID: "nobody"})
			return err
		},
		"heartbeat": func() error { _, err := w.Protocol.Heartbeat(ctx, domain.Heartbeat{WorkerID: "nobody"}); return err },
	} {
		require.ErrorContains(t, ask(), "Worker not found; check its id, or register it first", what)
	}
	for what, ask := range map[string]func() error{
		"connect": func() error {
			_, err := w.Sessions.Connect(ctx, s.UserID, "none", service.ConnectOptions{})
			return err
		},
		"migrate": func() error {
			_, err := w.Operations.Migrate(ctx, "none", service.MigrateOptions{TargetWorkerID: "worker-1"})
			return err
		},
		"report": func() error {
			_, err := w.Protocol.ReportSession(ctx, domain.Report{SessionID: "none", Status: domain.Connected})
			return err
		},
	} {
		require.ErrorContains(t, ask(), "Session not found; check its id, or whether it was deleted", what)
	}
}
