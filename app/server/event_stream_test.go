package server

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const patience = 20 * time.Second

// streamed is one event of a stream.
type streamed struct {
	id, event string
	data      struct {
		Position  int64
		Type      string
		SessionID string
		Code      string
		Data      map[string]any
	}
}

// stream is an open stream of events.
type stream struct {
	t      *testing.T
	cancel context.CancelFunc
	answer *http.Response
	in     *bufio.Scanner
}

// openStream opens a stream. header holds further headers by name.
func openStream(t *testing.T, s *Server, path, token string, header map[string]string) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"/api/v1"+path, nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "text/event-stream")
	for name, value := range header {
		r.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = answer.Body.Close() })
	in := bufio.NewScanner(answer.Body)
	in.Buffer(nil, 1<<20)
	return &stream{t: t, cancel: cancel, answer: answer, in: in}
}

// next returns the next event, and false at the end of the stream.
func (s *stream) next() (e streamed, ok bool) {
	s.t.Helper()
	for s.in.Scan() {
		name, value, _ := strings.Cut(s.in.Text(), ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.event = value
		case "data":
			require.NoError(s.t, json.Unmarshal([]byte(value), &e.data), value)
		case "":
			if e.event != "" {
				return e, true
			}
		}
	}
	return e, false
}

// until reads up to the first event of a type and returns it.
func (s *stream) until(kind domain.EventType) streamed {
	s.t.Helper()
	for {
		e, ok := s.next()
		require.True(s.t, ok, "the stream ended before %s", kind)
		if e.event == string(kind) {
			return e
		}
	}
}

// streamKit is a server with a worker and a user who has a session.
type streamKit struct {
	*Server
	t     *testing.T
	user  *domain.User
	token string
}

func newStreamKit(t *testing.T) *streamKit {
	return newStreamKitWith(t, simworker.Config{ID: "worker-1", ScanAfter: time.Millisecond})
}

func newStreamKitWith(t *testing.T, worker simworker.Config) *streamKit {
	return newStreamKitOn(t, runServer(t, Config{Store: "memory:", WorkerToken: one}), worker)
}

func newStreamKitOn(t *testing.T, s *Server, worker simworker.Config) *streamKit {
	k := &streamKit{t: t, Server: s}
	_, stop := startWorkerWith(t, k.Server, worker)
	t.Cleanup(stop)
	tokens, err := k.Accounts.Register(t.Context(), "Ada", "ada@example.com", "correct-horse-1")
	require.NoError(t, err)
	k.token, k.user = tokens.Token, tokens.User
	_, err = k.Orchestrator.Sessions.Create(t.Context(), k.user.ID, service.CreateSessionParams{Name: "Line", ID: "line"})
	require.NoError(t, err)
	return k
}

func (k *streamKit) connect() {
	_, err := k.Orchestrator.Sessions.Connect(k.t.Context(), k.user.ID, "line", service.ConnectOptions{})
	require.NoError(k.t, err)
}

func (k *streamKit) send(text string) {
	_, err := k.Orchestrator.Messages.Send(k.t.Context(), service.Sender{UserID: k.user.ID, SessionID: "line"},
		&domain.Outgoing{To: "6289999999999", Type: domain.TypeText, Text: text})
	require.NoError(k.t, err)
}

func TestEventStream_ConnectAndSend_ArriveLiveAndResumeExactly(t *testing.T) {
	k := newStreamKit(t)
	s := openStream(t, k.Server, "/sessions/line/events", k.token, nil)
	require.Equal(t, "text/event-stream", s.answer.Header.Get("Content-Type"))
	all := openStream(t, k.Server, "/events?after=0", k.token, nil)
	k.connect()
	connected := s.until(domain.EventSessionConnected)
	k.send("hello")
	k.send("again")
	sent := s.until(domain.EventMessageSent)
	require.Equal(t, "hello", sent.data.Data["content"])
	require.Equal(t, "again", s.until(domain.EventMessageSent).data.Data["content"])
	for _, text := range []string{"hello", "again"} {
		require.Equal(t, text, all.until(domain.EventMessageSent).data.Data["content"])
	}

	resumed := openStream(t, k.Server, "/sessions/line/events", k.token, map[string]string{"Last-Event-ID": connected.id})
	first, ok := resumed.next()
	require.True(t, ok)
	require.Equal(t, sent.id, first.id, "the event after the last one that the client had")
}

func TestEventStream_QRCodeIsShown_ComesWithoutAPosition(t *testing.T) {
	k := newStreamKitWith(t, simworker.Config{ID: "worker-1", ScanAfter: time.Hour})
	s := openStream(t, k.Server, "/sessions/line/events", k.token, nil)
	k.connect()
	var recorded, shown bool
	for !recorded || !shown {
		e := s.until(domain.EventSessionQR)
		qr, hasQR := e.data.Data["qr"].(map[string]any)
		if hasQR {
			require.NotEmpty(t, qr["qrString"])
		}
		require.Equal(t, hasQR, e.id == "", "a QR code is not recorded")
		recorded, shown = recorded || !hasQR, shown || hasQR
	}
	late := openStream(t, k.Server, "/events", k.token, nil)
	require.NotNil(t, late.until(domain.EventSessionQR).data.Data["qr"], "a stream begins with the present code")
}

func TestEventStream_SessionIsDeleted_Ends(t *testing.T) {
	k := newStreamKit(t)
	s := openStream(t, k.Server, "/sessions/line/events", k.token, nil)
	require.NoError(t, k.Orchestrator.Sessions.Delete(t.Context(), k.user.ID, "line"))
	s.until(domain.EventSessionDeleted)
	_, ok := s.next()
	require.False(t, ok)
}

func TestEventStream_AccessIsWithdrawn_EndsWithTheNextEvent(t *testing.T) {
	k := newStreamKit(t)
	s := openStream(t, k.Server, "/events", k.token, nil)
	k.connect()
	s.until(domain.EventSessionConnected)
	require.NoError(t, k.Accounts.Deactivate(t.Context(), service.Principal{UserID: k.user.ID}, "correct-horse-1"))
	e := s.until("error")
	require.Equal(t, string(domain.CodeAccountDeactivated), e.data.Code)
	_, ok := s.next()
	require.False(t, ok)
}

func TestEventStream_BadOrForeign_IsRefusedAsJSON(t *testing.T) {
	k := newStreamKit(t)
	for _, c := range []struct {
		path, id string
		want     int
	}{
		{"/sessions/other/events", "", http.StatusNotFound},
		{"/events", "abc", http.StatusBadRequest},
		{"/events?after=-1", "", http.StatusBadRequest},
	} {
		s := openStream(t, k.Server, c.path, k.token, map[string]string{"Last-Event-ID": c.id})
		require.Equal(t, c.want, s.answer.StatusCode, c)
		require.Contains(t, s.answer.Header.Get("Content-Type"), "application/json")
	}
	s := openStream(t, k.Server, "/events?access_token="+k.token, "", nil)
	require.Equal(t, http.StatusUnauthorized, s.answer.StatusCode, "a token in the URL is none")
}

func TestEventStream_TooMany_AreRefusedWithRetryAfter(t *testing.T) {
	k := newStreamKit(t)
	for range 100 {
		require.Equal(t, http.StatusOK, openStream(t, k.Server, "/events", k.token, nil).answer.StatusCode)
	}
	s := openStream(t, k.Server, "/events", k.token, nil)
	require.Equal(t, http.StatusTooManyRequests, s.answer.StatusCode)
	require.NotEmpty(t, s.answer.Header.Get("Retry-After"))
}

func TestEventStream_ServerStops_EndsAtOnce(t *testing.T) {
	k := newStreamKit(t)
	s := openStream(t, k.Server, "/events", k.token, nil)
	ended := make(chan bool, 1)
	go func() {
		for s.in.Scan() { // to the end
		}
		ended <- s.in.Err() == nil
	}()
	k.stopStreams()
	select {
	case orderly := <-ended:
		require.True(t, orderly)
	case <-time.After(patience):
		require.FailNow(t, "the stream goes on")
	}
}
