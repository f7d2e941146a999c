package server

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/domain"
)

// bulkCodes are the status and the code of each result of a bulk call.
type bulkCodes struct {
	status  int // of the answer
	results []bulkCode
	err     error
}

type bulkCode struct {
	StatusCode int
	Error      *struct{ Code domain.Code }
}

// bulk sends n messages that take seconds each.
func (k *streamKit) bulk(n int) (got bulkCodes) {
	message := `{"to":"6289999999999","type":"text","message":"x","humanSimulation":true}`
	body := `{"messages":[` + strings.Repeat(message+",", n-1) + message + `]}`
	r, err := http.NewRequestWithContext(k.t.Context(), http.MethodPost, k.URL()+"/api/v1/sessions/line/messages/bulk", strings.NewReader(body))
	if err != nil {
		return bulkCodes{err: err}
	}
	r.Header.Set("Authorization", "Bearer "+k.token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return bulkCodes{err: err}
	}
	defer answer.Body.Close()
	var read struct{ Data struct{ Results []bulkCode } }
	got.status, got.err = answer.StatusCode, json.NewDecoder(answer.Body).Decode(&read)
	got.results = read.Data.Results
	return got
}

func TestServer_StopsDuringBulkCall_AnswersAndBeginsNoFurtherMessage(t *testing.T) {
	s, err := New(t.Context(), Config{
		Store: "memory:", WorkerToken: one, Addr: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler), Out: io.Discard, AdminPassword: "correct-horse-1",
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	k := newStreamKitOn(t, s, simworker.Config{ID: "worker-1", ScanAfter: time.Millisecond})
	k.connect()
	require.Eventually(t, func() bool {
		line, err := s.Orchestrator.Sessions.Get(t.Context(), k.user.ID, "line")
		return err == nil && line.Status == domain.Connected
	}, patience, time.Millisecond)
	answered := make(chan bulkCodes, 1)
	go func() { answered <- k.bulk(20) }()
	require.Eventually(t, func() bool {
		page, _, err := s.Orchestrator.Messages.History(t.Context(), k.user.ID, "line", domain.MessageFilter{Limit: 1})
		return err == nil && len(page) == 1
	}, patience, time.Millisecond)

	stop()

	got := <-answered
	require.NoError(t, got.err)
	require.Equal(t, http.StatusOK, got.status)
	require.Len(t, got.results, 20)
	require.Equal(t, http.StatusOK, got.results[0].StatusCode, "the present message is finished")
	last := got.results[19]
	require.Equal(t, http.StatusServiceUnavailable, last.StatusCode)
	require.Equal(t, domain.CodeOverloaded, last.Error.Code)
	require.NoError(t, <-ended, "the server stops in order")
}
