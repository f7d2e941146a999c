package fleet_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

var timing = domain.DefaultTiming()

func report(id string, status domain.Status) domain.Report {
	return domain.Report{SessionID: id, Status: status}
}

func TestDiffHeartbeat_NothingNew_IsEmptyAndAllocatesNothing(t *testing.T) {
	c := cacheOf("w1")
	h := domain.Heartbeat{WorkerID: "w1", IsFullSnapshot: true}
	for i := range 50 {
		id := fmt.Sprint("s", i)
		c.PutSession(connected(id, "w1", 1))
		h.Sessions = append(h.Sessions, report(id, domain.Connected))
	}

	diff := c.DiffHeartbeat(&h, timing, noon)
	require.True(t, diff.IsEmpty())
	require.Zero(t, testing.AllocsPerRun(10, func() { _ = c.DiffHeartbeat(&h, timing, noon) }))
}

func TestDiffHeartbeat_ReportSaysSomethingElse_IsChanged(t *testing.T) {
	for name, r := range map[string]domain.Report{
		"status":       report("s1", domain.Reconnecting),
		"logged out":   {SessionID: "s1", Status: domain.Connected, LoggedOut: true},
		"phone number": {SessionID: "s1", Status: domain.Connected, PhoneNumber: "6289999999999"},
		"display name": {SessionID: "s1", Status: domain.Connected, DisplayName: "Shop"},
	} {
		t.Run(name, func(t *testing.T) {
			c := cacheOf("w1")
			c.PutSession(connected("s1", "w1", 1))
			diff := c.DiffHeartbeat(&domain.Heartbeat{WorkerID: "w1", Sessions: []domain.Report{r}}, timing, noon)
			require.Equal(t, []domain.Report{r}, diff.Changed)
			require.Empty(t, diff.Unexpected)
		})
	}
}

// The owner runs a higher generation than the store knows, whatever the session's status is.
func TestDiffHeartbeat_HigherGenerationOfTheOwner_IsChanged(t *testing.T) {
	for _, status := range []domain.Status{domain.Init, domain.QRRequired, domain.Connected, domain.Reconnecting, domain.Disconnected, domain.Errored} {
		c := cacheOf("w1")
		s := connected("s1", "w1", 1)
		s.Status = status
		c.PutSession(s)
		r := report("s1", status)
		r.Generation = s.Generation + 5
		diff := c.DiffHeartbeat(&domain.Heartbeat{WorkerID: "w1", IsFullSnapshot: true, Sessions: []domain.Report{r}}, timing, noon.Add(time.Hour))
		require.Equal(t, []domain.Report{r}, diff.Changed, status)
		require.Empty(t, diff.Unexpected)
		require.Empty(t, diff.Missing)
	}
}

func TestDiffHeartbeat_StartNotConfirmedYet_IsChanged(t *testing.T) {
	c := cacheOf("w1")
	s := connected("s1", "w1", 1)
	s.Confirmed = false
	c.PutSession(s)
	diff := c.DiffHeartbeat(&domain.Heartbeat{WorkerID: "w1", Sessions: []domain.Report{report("s1", domain.Connected)}}, timing, noon)
	require.Len(t, diff.Changed, 1)
}

func TestDiffHeartbeat_SessionRunsWhereItShouldNot_IsForeign(t *testing.T) {
	c := cacheOf("w1", "w2")
	moved, restarted := connected("moved", "w2", 1), connected("restarted", "w1", 1)
	restarted.Generation = 2
	c.PutSession(moved)
	c.PutSession(restarted)
	old := report("restarted", domain.Connected)
	old.Generation = 1

	diff := c.DiffHeartbeat(&domain.Heartbeat{WorkerID: "w1", Sessions: []domain.Report{
		report("moved", domain.Connected), report("unknown", domain.Init), report("ended", domain.Disconnected), old,
	}}, timing, noon)

	var ids []string
	for _, r := range diff.Unexpected {
		ids = append(ids, r.SessionID)
	}
	require.Equal(t, []string{"moved", "unknown", "restarted"}, ids, "what does not run there is nobody's concern")
	require.Empty(t, diff.Changed)
}

func TestDiffHeartbeat_SessionNotListed_IsMissingOnceTheListMustHaveIt(t *testing.T) {
	c := cacheOf("w1")
	c.PutSession(connected("s1", "w1", 1))
	missing := func(full bool, after time.Duration) []string {
		return c.DiffHeartbeat(&domain.Heartbeat{WorkerID: "w1", IsFullSnapshot: full}, timing, noon.Add(after)).Missing
	}
	long := timing.DisconnectDebounce + 1

	require.Empty(t, missing(true, timing.DisconnectDebounce), "the list may be older than the confirmation")
	require.Equal(t, []string{"s1"}, missing(true, long))
	require.Empty(t, missing(false, long), "the worker does not list all")
}

func TestDiffHeartbeat_StopNotListed_IsMissingAtOnce(t *testing.T) {
	c := cacheOf("w1")
	s := connected("s1", "w1", 1)
	s.Intent, s.Command = domain.Down, domain.CommandDisconnect
	c.PutSession(s)
	require.Equal(t, []string{"s1"}, c.DiffHeartbeat(&domain.Heartbeat{WorkerID: "w1", IsFullSnapshot: true}, timing, noon).Missing)
}

func TestDiffHeartbeat_AcceptedStartNotListed_IsMissingIfTheWorkerKnowsGenerations(t *testing.T) {
	for name, capabilities := range map[string][]domain.Capability{"legacy": nil, "generations": {domain.CapGeneration}} {
		t.Run(name, func(t *testing.T) {
			c, w := newCache(), worker("w1", 1, 50)
			w.Capabilities = capabilities
			c.PutWorker(w, noon)
			s := connected("s1", "w1", 1)
			s.Status, s.Confirmed, s.Command, s.Attempts = domain.Init, false, domain.CommandStart, 1
			s.DueAt = noon.Add(timing.StartTimeout)
			c.PutSession(s)

			diff := c.DiffHeartbeat(&domain.Heartbeat{WorkerID: "w1", IsFullSnapshot: true}, timing, noon.Add(timing.DisconnectDebounce+1))
			if capabilities == nil {
				require.Empty(t, diff.Missing)
			} else {
				require.Equal(t, []string{"s1"}, diff.Missing)
			}
		})
	}
}
