package apptest_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// TestUsage_RandomFaults_EqualsTheJournals sends while workers and replicas crash and Updates fail, and compares the counters with what the
// workers have sent and with the history.
func TestUsage_RandomFaults_EqualsTheJournals(t *testing.T) {
	for seed := range seeds(t) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			compareUsage(t, seed)
		})
	}
}

func compareUsage(t *testing.T, seed uint64) {
	rate := 0.0
	store := lossyStore(rand.New(rand.NewPCG(seed, 7)), &rate)
	h := apptest.With(t, apptest.Options{Seed: seed, Replicas: 1 + int(seed%3), Store: store}).Workers("w1", 10, "w2", 10)
	h.IgnoreStepErrors = true
	user := h.User(domain.TierMax)
	sessions := []*domain.Session{h.Connected(user, "one"), h.Connected(user, "two")}
	begin := h.Now().Truncate(time.Hour)
	random := rand.New(rand.NewPCG(seed, 5))
	rate = 0.05
	for range 120 {
		switch random.IntN(12) {
		case 0:
			h.Crash([]string{"w1", "w2"}[random.IntN(2)])
		case 1:
			h.RestartWorker("w1")
			h.RestartWorker("w2")
		case 2:
			h.Restart()
		default:
			s := sessions[random.IntN(2)]
			_, _ = h.Orchestrator.Messages.Send(t.Context(), service.Sender{UserID: user.ID, SessionID: s.ID},
				&domain.Outgoing{To: "6281234567890", Type: domain.TypeText, Text: "hello"})
		}
		h.Advance(time.Duration(random.IntN(60)) * time.Second)
	}
	rate = 0
	h.RestartWorker("w1")
	h.RestartWorker("w2")
	h.Advance(3 * time.Hour) // every outcome is known or given up

	sent, failed := make(map[string]bool), 0
	for _, s := range sessions {
		f := domain.MessageFilter{Limit: 1000}
		messages, _, err := h.Replica(0).Messages.History(t.Context(), user.ID, s.ID, f)
		require.NoError(t, err)
		for _, m := range messages {
			require.NotEqual(t, domain.MessagePending, m.Status)
			if m.Status == domain.MessageFailed {
				failed++
			} else {
				sent[m.ID] = true
			}
		}
	}
	entries, err := h.Worker("w1").State().Journal()
	require.NoError(t, err)
	inJournal := 0
	for _, e := range entries {
		if e.Event == simworker.SentOut && sent[e.ClientMessageID] {
			inJournal++
		}
	}
	counted := map[bool]int{}
	cells, err := h.Replica(0).Messages.Usage(t.Context(), user.ID, "", begin, time.Hour)
	require.NoError(t, err)
	for _, c := range cells {
		counted[c.Failed] += c.Count
	}
	require.NotZero(t, counted[false])
	require.Equal(t, inJournal, counted[false])
	require.Equal(t, len(sent), counted[false])
	require.Equal(t, failed, counted[true])
}
