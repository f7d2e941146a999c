package sendqueue_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/sendqueue"
	"github.com/switchyard-wa/switchyard/app/internal/workqueue"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// replica is a core with the send queue of session s1.
type replica struct {
	*coretest.Core
	queues    *sendqueue.Queues
	userID    string
	during    func(m *domain.QueuedMessage, dequeue func() error) // runs once, before a message is dequeued
	forwarded []string                                            // the texts of the messages that were dequeued
}

func newReplica(core *coretest.Core, userID string) *replica {
	r := &replica{Core: core, userID: userID}
	r.queues = sendqueue.New(sendqueue.Parts{
		Writer: core.Writer, Members: core.Members, Forwarder: r, Parallel: 1, Wake: func() {}, Announce: func(string) {},
	})
	return r
}

// newPair returns two replicas that know each other.
func newPair(t *testing.T) (a, b *replica) {
	a = newReplica(coretest.NewReplica(t, "A"), "")
	a.userID = a.AddUser(domain.TierPro)
	a.AddSession(a.userID, "s1")
	b = newReplica(a.Join("B", 0), a.userID)
	coretest.Exchange(t, a.Core, b.Core)
	return a, b
}

// Forward dequeues a message, and sends nothing.
func (r *replica) Forward(ctx context.Context, m *domain.QueuedMessage, dequeue, _ func(ctx context.Context, tx *ports.Tx) error) error {
	if during := r.during; during != nil {
		r.during = nil
		during(m, func() error { return r.Update(ctx, dequeue) })
	}
	if err := r.Update(ctx, dequeue); err != nil {
		return err
	}
	r.forwarded = append(r.forwarded, m.Message.Text)
	return nil
}

func (r *replica) Check(_ context.Context, m *domain.Outgoing) (*domain.Outgoing, error) {
	return m, nil
}

// enqueue adds a message that is due, and returns its id.
func (r *replica) enqueue(t *testing.T, text string) string {
	out := &domain.Outgoing{To: "6281111111111", Type: domain.TypeText, Text: text, Schedule: new(domain.Schedule)}
	m, err := domain.NewQueuedMessage(r.IDs.NewID(), "s1", r.userID, out, r.Now())
	require.NoError(t, err)
	require.NoError(t, r.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error { return r.queues.Enqueue(ctx, tx, m) }))
	r.queues.Wake("s1")
	return m.ID
}

// dispatch makes the replica work on the queues that are due for any replica.
func (r *replica) dispatch(t *testing.T) {
	r.Clock.Advance(10 * time.Second)
	work := workqueue.Batch{Context: t.Context()}
	_, err := r.queues.Dispatch(t.Context(), &work)
	require.NoError(t, err)
	work.Wait()
}

// A message that is cancelled or changed after it was read for forwarding is not forwarded as it was.
func TestDispatch_MessageChangesMeanwhile_FormerOneIsNotForwarded(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, r *replica, id string) error
		want   []string
	}{
		"cancelled": {func(t *testing.T, r *replica, id string) error {
			return r.queues.Cancel(t.Context(), r.userID, "s1", id)
		}, []string{"second"}},
		"edited": {func(t *testing.T, r *replica, id string) error {
			_, err := r.queues.Update(t.Context(), r.userID, "s1", id, service.ScheduledChange{
				Edit: func(m *domain.Outgoing) error { m.Text = "edited"; return nil },
			})
			return err
		}, []string{"edited", "second"}},
	} {
		t.Run(name, func(t *testing.T) {
			a, _ := newPair(t)
			id := a.enqueue(t, "first")
			a.enqueue(t, "second")
			a.during = func(*domain.QueuedMessage, func() error) { require.NoError(t, c.change(t, a, id)) }
			a.dispatch(t)
			for range 3 {
				a.dispatch(t)
			}
			require.Equal(t, c.want, a.forwarded)
		})
	}
}

// A replica that was away longer than its claim forwards nothing, also while the message still waits.
func TestDispatch_ReplicaWasAway_OnlyTheNewOwnerForwards(t *testing.T) {
	a, b := newPair(t)
	a.enqueue(t, "first")
	a.enqueue(t, "second")
	a.during = func(_ *domain.QueuedMessage, dequeueAtA func() error) {
		a.Clock.Advance(2 * time.Minute)
		b.during = func(*domain.QueuedMessage, func() error) { require.ErrorIs(t, dequeueAtA(), sendqueue.ErrGone) }
		b.dispatch(t)
	}
	a.dispatch(t)
	require.Equal(t, []string{"first", "second"}, b.forwarded)
	require.Empty(t, a.forwarded)
}
