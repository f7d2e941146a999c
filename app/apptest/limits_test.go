package apptest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestMessageLimit_UsedUp_RefusesUntilTheWindowEnds(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	s := h.Connected(h.User(domain.TierBasic), "line")
	for range 100 {
		h.Send(s, "6281234567890", "hello")
	}
	send := func() error {
		_, err := h.Orchestrator.Messages.Send(t.Context(), service.Sender{UserID: s.UserID, SessionID: s.ID},
			&domain.Outgoing{To: "6281234567890", Type: domain.TypeText, Text: "one more"})
		return err
	}

	err := send()
	require.Equal(t, domain.CodeMessageLimit, domain.CodeOf(err))
	var refused *domain.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, 100, refused.Usage.Limit, "the error names the limit")
	require.Zero(t, refused.Usage.Remaining)

	h.Restart() // usage is counted from the history
	require.Equal(t, domain.CodeMessageLimit, domain.CodeOf(send()))
	h.Advance(time.Hour)
	require.NoError(t, send())
}

// The clocks of three replicas are two hours ahead. None of them fails the message early.
func TestMessage_OutcomeUnknown_StaysPendingForAnHour(t *testing.T) {
	h := apptest.With(t, apptest.Options{Replicas: 4})
	for i := 1; i < 4; i++ { // one of the replicas does the housekeeping
		h.Skew(i, 2*time.Hour)
		h.Start(i)
	}
	h.Workers("w1", 50)
	s := h.Session(connectSessions(h, 1)[0])

	h.Hang("w1")
	_, err := h.Replica(0).Messages.Send(t.Context(), service.Sender{UserID: s.UserID, SessionID: s.ID},
		&domain.Outgoing{To: "6281234567890", Type: domain.TypeText, Text: "hello"})
	require.Error(t, err)
	var list []*domain.Message
	require.NoError(t, h.Store.View(t.Context(), func(ctx context.Context, tx *ports.Tx) (err error) {
		list, err = tx.Messages.PendingBefore(ctx, h.Now().Add(time.Second), 10)
		return err
	}))
	require.Len(t, list, 1)
	h.ResumeWorker("w1")

	for range 5 {
		h.Advance(time.Minute)
		m, err := h.Orchestrator.Messages.Get(t.Context(), s.UserID, s.ID, list[0].ID)
		require.NoError(t, err)
		require.NotEqual(t, domain.MessageFailed, m.Status, "an hour has not passed")
	}
}

// A replica dies after the change of a user is committed, before it has stopped the sessions.
func TestUserChange_ReplicaDies_SessionsGoDown(t *testing.T) {
	for name, change := range map[string]func(*domain.User){
		"deactivated": func(u *domain.User) { u.Active = false },
		"downgraded":  func(u *domain.User) { u.Tier = domain.TierBasic },
	} {
		t.Run(name, func(t *testing.T) {
			h := apptest.With(t, apptest.Options{Replicas: 2}).Workers("w1", 50)
			user := h.User(domain.TierPro)
			for i := range 3 {
				h.Connected(user, fmt.Sprint("line ", i))
			}
			// app/accounts commits this. Then the process dies, or PostgreSQL restarts.
			require.NoError(t, h.Store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
				u, err := tx.Users.Get(ctx, user.ID)
				if err != nil {
					return err
				}
				change(u)
				return tx.Users.Put(ctx, u)
			}))

			h.Kill(0)
			h.Advance(time.Hour)
			h.Start(0)
			h.Advance(time.Hour)

			up := 0
			list, _, err := h.Orchestrator.Sessions.List(t.Context(), user.ID, ports.SessionFilter{}, ports.Page{})
			require.NoError(t, err)
			for _, s := range list {
				if s.Intent == domain.Up {
					up++
				}
			}
			t.Log("up after two hours:", up)
			require.LessOrEqual(t, up, 1)
		})
	}
}
