package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// GatewayWorker is a worker for the suite [WorkerGateway]: online, without sessions, with the requested
// capabilities. The suite skips subtests that need a nil function.
type GatewayWorker struct {
	Ref ports.WorkerRef
	// Delivered returns the texts that the session has sent so far.
	Delivered func(sessionID string) []string
	// Connect lets the phone of a started session scan its QR.
	Connect func(t *testing.T, sessionID string)
	// Media delivers an inbound message with some KiB of media to the started session.
	Media func(t *testing.T, sessionID string) (mediaID string, content []byte)
	// Crash ends the process: nothing listens at the endpoint any more.
	Crash func()
	// Hang makes the worker accept calls without answering them.
	Hang func()
	// FailNext makes the next calls fail, one for each fault. Health calls do not count.
	FailNext func(...GatewayFault)
}

// GatewayFault is a failure of one call.
type GatewayFault struct {
	Status     int           // of the response; 0: the connection ends without a response
	Text       string        // the worker's error message
	RetryAfter time.Duration // 0: not stated
	Done       bool          // the worker executes the call and fails afterwards
}

// WorkerGateway tests a gateway against the contract of ports.WorkerGateway. open returns a gateway and
// a worker for one subtest.
func WorkerGateway(t *testing.T, open func(t *testing.T, caps ...domain.Capability) (ports.WorkerGateway, GatewayWorker)) {
	all := []domain.Capability{domain.CapLease, domain.CapGeneration, domain.CapDedupe, domain.CapMedia, domain.CapReplies}
	for _, kind := range []struct {
		name string
		caps []domain.Capability
	}{{"legacy worker", nil}, {"worker with capabilities", all}} {
		t.Run(kind.name, func(t *testing.T) {
			g := gatewaySuite{open: func(t *testing.T) (ports.WorkerGateway, GatewayWorker) {
				gateway, w := open(t, kind.caps...)
				require.ElementsMatch(t, kind.caps, w.Ref.Capabilities)
				return gateway, w
			}}
			t.Run("health", g.health)
			t.Run("start, status, list", g.start)
			t.Run("stop", g.stop)
			t.Run("restart", g.restart)
			t.Run("generations", func(t *testing.T) { g.generations(t, kind.caps != nil) })
			t.Run("missing session", g.missing)
			t.Run("send", g.send)
			t.Run("action", g.action)
			t.Run("media", func(t *testing.T) { g.media(t, kind.caps != nil) })
			t.Run("concurrent sends", g.concurrent)
			t.Run("context ends before the call", g.cancelled)
			_, worker := g.open(t)
			if worker.Crash != nil {
				t.Run("crashed", g.crashed)
			}
			if worker.Hang != nil {
				t.Run("hanging", g.hanging)
			}
			if worker.FailNext != nil {
				t.Run("busy", g.busy)
				t.Run("rejected", g.rejected)
				t.Run("fails and recovers", g.recovers)
				t.Run("keeps failing", g.failing)
				t.Run("send with a lost response", func(t *testing.T) { g.lostResponse(t, kind.caps != nil) })
			}
		})
	}
	t.Run("dedupe", func(t *testing.T) {
		g := gatewaySuite{open: func(t *testing.T) (ports.WorkerGateway, GatewayWorker) { return open(t, all...) }}
		g.dedupe(t)
	})
}

// A gatewaySuite opens gateways and workers for its subtests.
type gatewaySuite struct {
	open func(t *testing.T) (ports.WorkerGateway, GatewayWorker)
}

// gatewayText returns a text message.
func gatewayText(sessionID, id, s string) ports.Send {
	return ports.Send{SessionID: sessionID, ClientMessageID: id, To: "6281234567890@s.whatsapp.net",
		Message: &domain.Outgoing{To: "6281234567890", Type: domain.TypeText, Text: s}}
}

// started opens a worker with one connected session, "one".
func (g gatewaySuite) started(t *testing.T) (ports.WorkerGateway, GatewayWorker) {
	t.Helper()
	gateway, w := g.open(t)
	_, err := gateway.Start(t.Context(), w.Ref, ports.Start{SessionID: "one", UserID: "u", SessionName: "One", Generation: 3})
	require.NoError(t, err)
	w.Connect(t, "one")
	return gateway, w
}

// gatewayFails is gatewayFailure without a result.
func gatewayFails(t *testing.T, w GatewayWorker, err error, want ...ports.WorkerFailure) {
	t.Helper()
	require.Contains(t, want, gatewayFailure(t, w, err, want...).Failure)
}

// gatewayFailure requires a failure of one of the wanted kinds, with the properties of every failure,
// and returns it.
func gatewayFailure(t *testing.T, w GatewayWorker, err error, want ...ports.WorkerFailure) *ports.WorkerError {
	t.Helper()
	require.Error(t, err)
	var e *ports.WorkerError
	require.True(t, errors.As(err, &e), "%T is not a *ports.WorkerError: %v", err, err)
	require.Contains(t, want, e.Failure, "%v", err)
	require.NotEmpty(t, e.Message)
	u, parseErr := url.Parse(w.Ref.Endpoint)
	require.NoError(t, parseErr)
	require.NotContains(t, e.Message, u.Host, "a message contains no address")
	require.NotContains(t, e.Message, "://", "a message contains no address")
	return e
}

func (g gatewaySuite) health(t *testing.T) {
	gateway, w := g.open(t)
	require.NoError(t, gateway.Health(t.Context(), w.Ref))
}

func (g gatewaySuite) start(t *testing.T) {
	gateway, w := g.open(t)
	list, err := gateway.List(t.Context(), w.Ref)
	require.NoError(t, err)
	require.Empty(t, list)

	request := ports.Start{SessionID: "one", UserID: "u", SessionName: "One", Generation: 3}
	r, err := gateway.Start(t.Context(), w.Ref, request)
	require.NoError(t, err)
	require.Equal(t, "one", r.SessionID)
	require.Equal(t, w.Ref.ID, r.WorkerID)
	require.Equal(t, int64(3), r.Generation, "the generation of the start")
	require.True(t, r.Status.IsActive(), r.Status)

	r, err = gateway.Start(t.Context(), w.Ref, request)
	require.NoError(t, err, "a session that runs already")
	require.True(t, r.Status.IsActive(), r.Status)

	w.Connect(t, "one")
	r, err = gateway.Status(t.Context(), w.Ref, "one")
	require.NoError(t, err)
	require.Equal(t, domain.Connected, r.Status)
	require.Equal(t, "one", r.SessionID)
	require.Equal(t, w.Ref.ID, r.WorkerID)
	require.NotEmpty(t, r.PhoneNumber)

	_, err = gateway.Start(t.Context(), w.Ref, ports.Start{SessionID: "two", UserID: "u", SessionName: "Two", Generation: 1})
	require.NoError(t, err)
	list, err = gateway.List(t.Context(), w.Ref)
	require.NoError(t, err)
	ids := []string{}
	for _, r := range list {
		ids = append(ids, r.SessionID)
		require.True(t, r.Snapshot, "a list may be older than our latest call")
		require.Equal(t, w.Ref.ID, r.WorkerID)
	}
	require.ElementsMatch(t, []string{"one", "two"}, ids)
}

func (g gatewaySuite) stop(t *testing.T) {
	for name, stop := range gatewayStops {
		t.Run(name, func(t *testing.T) {
			gateway, w := g.started(t)
			require.NoError(t, stop(gateway, t.Context(), w.Ref, "one", 3))
			g.down(t, gateway, w)
			if w.Ref.IsLegacy() && name != "disconnect" {
				err := stop(gateway, t.Context(), w.Ref, "never-seen", 3)
				gatewayFails(t, w, err, ports.WorkerSessionNotFound) // it may keep the credentials
				return
			}
			require.NoError(t, stop(gateway, t.Context(), w.Ref, "one", 3), "repeated")
			require.NoError(t, stop(gateway, t.Context(), w.Ref, "never-seen", 3), "a stop of a missing session succeeds")
			require.NoError(t, stop(gateway, t.Context(), w.Ref, "never-seen", 0), "a stop of a missing session succeeds")
		})
	}
}

// gatewayStops maps the ways to stop a session by name.
var gatewayStops = map[string]func(ports.WorkerGateway, context.Context, ports.WorkerRef, string, int64) error{
	"disconnect": ports.WorkerGateway.Disconnect,
	"logout":     ports.WorkerGateway.Logout,
	"delete":     ports.WorkerGateway.Delete,
}

// down requires that the session "one" does not run.
func (g gatewaySuite) down(t *testing.T, gateway ports.WorkerGateway, w GatewayWorker) {
	t.Helper()
	r, err := gateway.Status(t.Context(), w.Ref, "one")
	if err == nil {
		require.Equal(t, domain.Disconnected, r.Status)
	} else {
		gatewayFails(t, w, err, ports.WorkerSessionNotFound)
	}
}

// generations requires that delayed calls do not affect a newer generation, if the worker knows
// generations.
func (g gatewaySuite) generations(t *testing.T, known bool) {
	for name, stop := range gatewayStops {
		t.Run(name, func(t *testing.T) {
			gateway, w := g.started(t) // generation 3
			start := func(generation int64) error {
				_, err := gateway.Start(t.Context(), w.Ref, ports.Start{SessionID: "one", UserID: "u", SessionName: "One", Generation: generation})
				return err
			}
			require.NoError(t, stop(gateway, t.Context(), w.Ref, "one", 2))
			if !known {
				g.down(t, gateway, w)
				require.NoError(t, start(3), "a legacy worker receives no generation and refuses nothing")
				return
			}
			r, err := gateway.Status(t.Context(), w.Ref, "one")
			require.NoError(t, err)
			require.True(t, r.Status.IsActive(), "the stop was older than the running generation")

			e := gatewayFailure(t, w, gateway.Restart(t.Context(), w.Ref, "one", 2), ports.WorkerRejected)
			require.True(t, e.IsNotExecuted())
			require.NoError(t, gateway.Restart(t.Context(), w.Ref, "one", 3))
			gatewayFails(t, w, start(2), ports.WorkerRejected)

			require.NoError(t, stop(gateway, t.Context(), w.Ref, "one", 3))
			require.NoError(t, stop(gateway, t.Context(), w.Ref, "one", 2), "an older stop changes nothing")
			require.True(t, gatewayFailure(t, w, start(3), ports.WorkerRejected).IsNotExecuted(), "a stopped generation never starts again")
			g.down(t, gateway, w)
			require.NoError(t, start(4))

			require.NoError(t, stop(gateway, t.Context(), w.Ref, "one", 9), "a stop also covers generations that never started")
			gatewayFails(t, w, start(8), ports.WorkerRejected)
			g.down(t, gateway, w)
			require.NoError(t, start(10))
			require.NoError(t, stop(gateway, t.Context(), w.Ref, "one", 0), "generation 0 is the running one")
			g.down(t, gateway, w)
		})
	}
}

func (g gatewaySuite) restart(t *testing.T) {
	gateway, w := g.started(t)
	require.NoError(t, gateway.Restart(t.Context(), w.Ref, "one", 3))
	r, err := gateway.Status(t.Context(), w.Ref, "one")
	require.NoError(t, err)
	require.True(t, r.Status.IsActive(), r.Status)
}

func (g gatewaySuite) missing(t *testing.T) {
	gateway, w := g.open(t)
	_, err := gateway.Status(t.Context(), w.Ref, "never-seen")
	e := gatewayFailure(t, w, err, ports.WorkerSessionNotFound)
	require.True(t, e.IsNotExecuted())
	require.Equal(t, domain.ProbeAnswered, e.Probe())
	gatewayFails(t, w, gateway.Restart(t.Context(), w.Ref, "never-seen", 3), ports.WorkerSessionNotFound)
	_, err = gateway.Send(t.Context(), w.Ref, gatewayText("never-seen", "m1", "hello"))
	require.True(t, gatewayFailure(t, w, err, ports.WorkerSessionNotFound).IsNotExecuted())
	err = gateway.PerformAction(t.Context(), w.Ref, "never-seen", domain.Action{Type: domain.ActionStar, MessageID: "X", Phone: "6281234567890"})
	gatewayFails(t, w, err, ports.WorkerSessionNotFound)
}

func (g gatewaySuite) send(t *testing.T) {
	gateway, w := g.started(t)
	first, err := gateway.Send(t.Context(), w.Ref, gatewayText("one", "m1", `quotes " and \ and`+"\n"+`Ünïcode 🙂`))
	require.NoError(t, err)
	require.NotEmpty(t, first.WhatsAppID)
	require.Equal(t, domain.MessageSent, first.Status)
	second, err := gateway.Send(t.Context(), w.Ref, gatewayText("one", "m2", "two"))
	require.NoError(t, err)
	require.NotEqual(t, first.WhatsAppID, second.WhatsAppID)
	require.Equal(t, []string{`quotes " and \ and` + "\n" + `Ünïcode 🙂`, "two"}, w.Delivered("one"))

	for _, m := range []*domain.Outgoing{
		{Type: domain.TypeImage, MediaURL: "https://example.com/a.png", Caption: "c"},
		{Type: domain.TypeImage, Media: "iVBORw0KGgo="},
		{Type: domain.TypeDocument, MediaURL: "https://example.com/files/report.pdf?x=1"},
		{Type: domain.TypeDocument, MediaURL: "https://example.com/"},
		{Type: domain.TypeLocation, Location: &domain.Location{Latitude: -6.2, Longitude: 106.8}},
		{Type: domain.TypeContact, Contact: &domain.Contact{Name: "Ann", Phone: "+62 812-3456-7890"}},
		{Type: domain.TypeLink, Link: &domain.Link{URL: "https://example.com"}},
		{Type: domain.TypePoll, Poll: &domain.Poll{Question: "?", Options: []string{"a", "b"}}},
	} {
		s := gatewayText("one", "m-"+string(m.Type)+m.MediaURL+m.Media, "")
		s.Message = m
		_, err := gateway.Send(t.Context(), w.Ref, s)
		require.NoError(t, err, "%s", m.Type)
	}

	content := strings.Repeat("0123456789abcdef", 8<<10) + "0"
	upload := gatewayText("one", "m-upload", "")
	upload.Message = &domain.Outgoing{Type: domain.TypeDocument, Filename: "a.txt", Upload: &domain.Upload{Content: strings.NewReader(content), Size: int64(len(content))}}
	for range 2 {
		_, err := gateway.Send(t.Context(), w.Ref, upload)
		require.NoError(t, err, "an upload is read from its beginning each time")
	}
}

func (g gatewaySuite) action(t *testing.T) {
	gateway, w := g.started(t)
	for _, chat := range []string{"+84 912-345-678", "84912345678", "84912345678@s.whatsapp.net", "84912345678:3@s.whatsapp.net", "120363025246125486@g.us"} {
		for _, kind := range []domain.ActionType{
			domain.ActionDelete, domain.ActionUnsend, domain.ActionStar, domain.ActionUnstar, domain.ActionEdit,
			domain.ActionReaction, domain.ActionRead, domain.ActionSeen, domain.ActionTypingStart, domain.ActionTypingStop,
		} {
			a := domain.Action{Type: kind, MessageID: "3EB0", Phone: chat, NewText: "n"}
			require.NoError(t, gateway.PerformAction(t.Context(), w.Ref, "one", a), "%s in %s", kind, chat)
		}
		err := gateway.PerformAction(t.Context(), w.Ref, "one", domain.Action{
			Type: domain.ActionRead, MessageID: "3EB0", JID: chat,
			MessageKey: &domain.MessageKey{RemoteJID: chat, ID: "3EB0", Participant: "84912345678"},
		})
		require.NoError(t, err)
	}
	require.Empty(t, w.Delivered("one"))
}

func (g gatewaySuite) concurrent(t *testing.T) {
	gateway, w := g.started(t)
	const n = 40
	ids := make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			s, err := gateway.Send(t.Context(), w.Ref, gatewayText("one", fmt.Sprintf("m%d", i), fmt.Sprintf("text %d", i)))
			if err == nil {
				ids[i] = s.WhatsAppID
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for i, id := range ids {
		require.NotEmpty(t, id, "send %d", i)
		require.False(t, seen[id], "two messages share the id %s", id)
		seen[id] = true
	}
	require.Len(t, w.Delivered("one"), n)
}

func (g gatewaySuite) crashed(t *testing.T) {
	gateway, w := g.started(t)
	w.Crash()
	e := gatewayFailure(t, w, gateway.Health(t.Context(), w.Ref), ports.WorkerConnectionRefused)
	require.Equal(t, domain.ProbeRefused, e.Probe())
	_, err := gateway.Send(t.Context(), w.Ref, gatewayText("one", "m1", "hello"))
	require.True(t, gatewayFailure(t, w, err, ports.WorkerConnectionRefused).IsNotExecuted())
	_, err = gateway.Start(t.Context(), w.Ref, ports.Start{SessionID: "two"})
	require.True(t, gatewayFailure(t, w, err, ports.WorkerConnectionRefused, ports.WorkerCircuitOpen).IsNotExecuted())
}

func (g gatewaySuite) hanging(t *testing.T) {
	gateway, w := g.started(t)
	w.Hang()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := gateway.Send(ctx, w.Ref, gatewayText("one", "m1", "hello"))
	e := gatewayFailure(t, w, err, ports.WorkerTimedOut)
	require.False(t, e.IsNotExecuted(), "the message may be sent")
	require.Equal(t, domain.ProbeTimedOut, e.Probe())
	require.Less(t, time.Since(began), 3*time.Second, "the context bounds the call")

	cancelled, cancelHealth := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancelHealth)
	began = time.Now()
	e = gatewayFailure(t, w, gateway.Health(cancelled, w.Ref), ports.WorkerTimedOut)
	require.Equal(t, domain.ProbeTimedOut, e.Probe())
	require.Less(t, time.Since(began), 3*time.Second, "its cancellation too")
}

func (g gatewaySuite) cancelled(t *testing.T) {
	gateway, w := g.started(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := gateway.Send(ctx, w.Ref, gatewayText("one", "m1", "hello"))
	e := gatewayFailure(t, w, err, ports.WorkerUnreachable, ports.WorkerTimedOut, ports.WorkerCircuitOpen)
	require.True(t, e.IsNotExecuted())
	require.Empty(t, w.Delivered("one"))
}

// faulty opens a worker with a connected session. Its next calls fail.
func (g gatewaySuite) faulty(t *testing.T, faults ...GatewayFault) (ports.WorkerGateway, GatewayWorker) {
	t.Helper()
	gateway, w := g.started(t)
	w.FailNext(faults...)
	return gateway, w
}

func (g gatewaySuite) busy(t *testing.T) {
	gateway, w := g.faulty(t, GatewayFault{Status: 429, Text: "Too many requests", RetryAfter: 7 * time.Second})
	_, err := gateway.Start(t.Context(), w.Ref, ports.Start{SessionID: "two"})
	e := gatewayFailure(t, w, err, ports.WorkerBusy)
	require.True(t, e.IsNotExecuted())
	require.Equal(t, 7*time.Second, e.Retry)
	require.Equal(t, domain.ProbeAnswered, e.Probe())
	_, err = gateway.Start(t.Context(), w.Ref, ports.Start{SessionID: "two"})
	require.NoError(t, err, "a 429 is not retried: there was one call")
}

func (g gatewaySuite) rejected(t *testing.T) {
	for _, fault := range []GatewayFault{
		{Status: 400, Text: "messageId has a bad form"},
		{Status: 422, Text: "connect ECONNREFUSED 10.0.0.7:6379 at Socket.x (/app/src/redis.js:12)"},
	} {
		gateway, w := g.faulty(t, fault)
		_, err := gateway.Send(t.Context(), w.Ref, gatewayText("one", "m1", "hello"))
		e := gatewayFailure(t, w, err, ports.WorkerRejected)
		require.True(t, e.IsNotExecuted())
		require.Equal(t, fault.Status, e.Status)
		require.NotContains(t, e.Message, "10.0.0.7")
		require.NotContains(t, e.Message, "/app")
		require.Empty(t, w.Delivered("one"))
	}
}

func (g gatewaySuite) recovers(t *testing.T) {
	for _, fault := range []GatewayFault{{Status: 500, Text: "Oops"}, {}, {Done: true}} {
		gateway, w := g.faulty(t, fault, fault)
		_, err := gateway.Start(t.Context(), w.Ref, ports.Start{SessionID: "two"})
		require.NoError(t, err, "a start is safe to repeat")
		w.FailNext(fault, fault)
		require.NoError(t, gateway.Disconnect(t.Context(), w.Ref, "two", 0), "a stop is safe to repeat")
		w.FailNext(fault, fault)
		_, err = gateway.List(t.Context(), w.Ref)
		require.NoError(t, err, "a read is safe to repeat")
	}
}

func (g gatewaySuite) failing(t *testing.T) {
	gateway, w := g.faulty(t, GatewayFault{Status: 503, Text: "Oops"}, GatewayFault{Status: 503, Text: "Oops"}, GatewayFault{Status: 503, Text: "Oops"})
	_, err := gateway.List(t.Context(), w.Ref)
	e := gatewayFailure(t, w, err, ports.WorkerFailed)
	require.Equal(t, 503, e.Status)
	require.True(t, strings.HasSuffix(e.Message, "Oops"), e.Message)
	_, err = gateway.List(t.Context(), w.Ref)
	require.NoError(t, err, "three attempts and no more")
}

// lostResponse loses the response to a send after the message went out.
func (g gatewaySuite) lostResponse(t *testing.T, dedupe bool) {
	for _, fault := range []GatewayFault{{Done: true}, {Status: 500, Done: true}} {
		gateway, w := g.faulty(t, fault)
		sent, err := gateway.Send(t.Context(), w.Ref, gatewayText("one", "m1", "hello"))
		if dedupe {
			require.NoError(t, err, "a send to a worker with dedupe is repeated")
			require.NotEmpty(t, sent.WhatsAppID)
		} else {
			e := gatewayFailure(t, w, err, ports.WorkerConnectionLost, ports.WorkerFailed)
			require.False(t, e.IsNotExecuted())
		}
		require.Equal(t, []string{"hello"}, w.Delivered("one"), "sent exactly once")
	}
}

func (g gatewaySuite) dedupe(t *testing.T) {
	gateway, w := g.started(t)
	first, err := gateway.Send(t.Context(), w.Ref, gatewayText("one", "m1", "hello"))
	require.NoError(t, err)
	again, err := gateway.Send(t.Context(), w.Ref, gatewayText("one", "m1", "hello"))
	require.NoError(t, err)
	require.Equal(t, first.WhatsAppID, again.WhatsAppID)
	_, err = gateway.Send(t.Context(), w.Ref, gatewayText("one", "m2", "hello"))
	require.NoError(t, err)
	require.Len(t, w.Delivered("one"), 2)
}
