package apptest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// series returns what a replica shows, and requires that it has the sums that are wanted.
func series(t *testing.T, h *apptest.Harness, replica int, step time.Duration, n int) []service.AnalyticsPoint {
	t.Helper()
	points, err := h.Replica(replica).Operations.Analytics(t.Context(), step, n)
	require.NoError(t, err)
	require.Len(t, points, n)
	for i, p := range points {
		require.Equal(t, points[0].At.Add(time.Duration(i)*step), p.At)
		require.Equal(t, p.At.Truncate(step), p.At)
	}
	return points
}

func TestAnalytics_TwoReplicas_ShowTheSameFigures(t *testing.T) {
	h := apptest.With(t, apptest.Options{Replicas: 2}).Workers("w1", 10, "w2", 20)
	s := h.Connected(h.User(domain.TierPro), "one")
	h.Advance(12 * time.Minute)
	for range 3 {
		h.Send(s, "6281234567890", "hello")
	}
	h.Advance(10 * time.Minute)
	h.Connected(h.User(domain.TierPro), "two")
	h.Send(s, "6281234567890", "hello")
	h.Advance(10 * time.Minute)

	for replica := range 2 {
		points := series(t, h, replica, 5*time.Minute, 12)
		last := points[11].Fleet
		last.At = time.Time{}
		require.Equal(t, &domain.FleetSample{
			Users: 2, ActiveUsers: 2, Sessions: 2, ConnectedSessions: 2, Workers: 2, OnlineWorkers: 2, Capacity: 30, Used: 2,
		}, last)
		var sent, users []int
		for _, p := range points[6:] {
			sent, users = append(sent, p.Sent), append(users, p.Fleet.Users)
		}
		total := 0
		for _, n := range sent {
			total += n
		}
		require.Equal(t, 4, total, "%v", sent)
		require.Contains(t, sent, 3)
		require.Equal(t, 1, users[0], "%v", users)
		require.Equal(t, 2, users[5], "%v", users)

		day := series(t, h, replica, 24*time.Hour, 30)
		require.Equal(t, 4, day[29].Sent+day[28].Sent)
		require.Nil(t, day[0].Fleet, "nothing was there to count")
	}
}

// The figures of messages include those that the counter has not seen, and messages of deleted sessions.
func TestAnalytics_MessagesJustSent_CountAtOnce(t *testing.T) {
	h := apptest.New(t).Workers("w1", 10)
	user := h.User(domain.TierPro)
	s := h.Connected(user, "one")
	h.Send(s, "6281234567890", "hello")
	points := series(t, h, 0, 5*time.Minute, 2)
	require.Equal(t, 1, points[0].Sent+points[1].Sent)
	require.NoError(t, h.Orchestrator.Sessions.Delete(t.Context(), user.ID, s.ID))
	h.Advance(time.Minute)
	points = series(t, h, 0, 5*time.Minute, 2)
	require.Equal(t, 1, points[0].Sent+points[1].Sent)
	require.Zero(t, points[1].Fleet.Sessions)
}
