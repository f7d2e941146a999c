package messaging_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/sendqueue"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// A message that another replica has taken, or its sender has cancelled, does not count against the limit.
func TestForward_MessageNoLongerWaits_IsNotCounted(t *testing.T) {
	r := newFixture(t)
	out := &domain.Outgoing{To: "6281111111111", Type: domain.TypeText, Text: "hello", Schedule: new(domain.Schedule)}
	queued, err := domain.NewQueuedMessage(r.IDs.NewID(), "s1", r.sender.UserID, out, r.Now())
	require.NoError(t, err)

	err = r.messages.Forward(t.Context(), queued, func(context.Context, *ports.Tx) error { return sendqueue.ErrGone }, nil)
	require.ErrorIs(t, err, sendqueue.ErrGone)
	require.Zero(t, r.used(t))
	require.Empty(t, r.Gateway.Calls())
}
