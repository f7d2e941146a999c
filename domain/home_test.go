package domain_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestShouldWaitForHome_HomeRefuses_EndsAfterTheWait(t *testing.T) {
	timing := domain.Timing{HomeWait: 10 * time.Minute}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	home := &domain.Worker{ID: "w1", Online: true}
	s := &domain.Session{ID: "line", PhoneNumber: "6281234567890", CredentialsWorkerID: "w1", Status: domain.Reconnecting}
	require.True(t, s.ShouldWaitForHome(home, timing, now), "the home has not refused yet")

	s.NoteHomeRefused(timing, now)
	s.NoteHomeRefused(timing, now.Add(5*time.Minute)) // the first refusal counts
	require.True(t, s.ShouldWaitForHome(home, timing, now.Add(10*time.Minute-1)))
	require.False(t, s.ShouldWaitForHome(home, timing, now.Add(10*time.Minute)))
}
