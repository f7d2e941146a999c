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

// GatewayWorker is a worker as the suite [WorkerGateway] needs it: up, without
// sessions, with the capabilities that were asked for. What needs a field that
// is nil is skipped.
type GatewayWorker struct {
	Ref ports.WorkerRef
	// Delivered gives the texts that the session has sent so far.
	Delivered func(sessionID string) []string
	// Connect has the phone of a started session scan its QR.
	Connect func(t *testing.T, sessionID string)
	// Crash ends the process: nothing listens at the endpoint any more.
	// Nil: the suite leaves out what needs it; so for the two below.
	Crash func()
	// Hang has it take calls and answer none.
	Hang func()
	// FailNext has the next calls fail, one each, health calls excepted.
	FailNext func(...GatewayFault)
}

// GatewayFault is one call that goes wrong.
type GatewayFault struct {
	Status     int           // of the answer; 0: the connection ends without one
	Text       string        // what the worker says of it
	RetryAfter time.Duration // if it says so
	Done       bool          // the worker does what it was asked, and fails then
}

// WorkerGateway checks a gateway against the contract of ports.WorkerGateway.
// open gives a gateway and a worker, which are the subtest's own.
func WorkerGateway(t *testing.T, open func(t *testing.T, caps ...domain.Capability) (ports.WorkerGateway, GatewayWorker)) {
	all := []domain.Capability{domain.CapLease, domain.CapGeneration, domain.CapDedupe}
	for _, kind := range []struct {
		name string
		caps []domain.Capability
	}{{"older worker", nil}, {"worker with capabilities", all}} {
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
			t.Run("a session that is not there", g.unknown)
			t.Run("send", g.send)
			t.Run("act", g.act)
			t.Run("concurrent sends", g.concurrent)
			t.Run("context over before the call", g.over)
			_, can := g.open(t)
			if can.Crash != nil {
				t.Run("crashed", g.crashed)
			}
			if can.Hang != nil {
				t.Run("hanging", g.hanging)
			}
			if can.FailNext != nil {
				t.Run("busy", g.busy)
				t.Run("rejected", g.rejected)
				t.Run("fails and works again", g.again)
				t.Run("keeps failing", g.failing)
				t.Run("send with a lost answer", func(t *testing.T) { g.lost(t, kind.caps != nil) })
			}
		})
	}
	t.Run("dedupe", func(t *testing.T) {
		g := gatewaySuite{open: func(t *testing.T) (ports.WorkerGateway, GatewayWorker) { return open(t, all...) }}
		g.dedupe(t)
	})
}

type gatewaySuite struct {
	open func(t *testing.T) (ports.WorkerGateway, GatewayWorker)
}

func gatewayText(sessionID, id, s string) ports.Send {
	return ports.Send{SessionID: sessionID, ClientMessageID: id, To: "6281234567890@s.whatsapp.net",
		Message: &domain.Outgoing{To: "6281234567890", Type: domain.TypeText, Text: s}}
}

// started opens a worker with one session that is connected.
func (g gatewaySuite) started(t *testing.T) (ports.WorkerGateway, GatewayWorker) {
	t.Helper()
	gateway, w := g.open(t)
	_, err := gateway.Start(t.Context(), w.Ref, ports.Start{SessionID: "one", UserID: "u", SessionName: "One", Generation: 3})
	require.NoError(t, err)
	w.Connect(t, "one")
	return gateway, w
}

// gatewayFails is gatewayFailure for those who want to know no more.
func gatewayFails(t *testing.T, w GatewayWorker, err error, want ...ports.WorkerFailure) {
	t.Helper()
	require.Contains(t, want, gatewayFailure(t, w, err, want...).Failure)
}

// gatewayFailure checks what holds for every failure of a gateway.
func gatewayFailure(t *testing.T, w GatewayWorker, err error, want ...ports.WorkerFailure) *ports.WorkerError {
	t.Helper()
	require.Error(t, err)
	var e *ports.WorkerError
	require.True(t, errors.As(err, &e), "%T is not a *ports.WorkerError: %v", err, err)
	require.Contains(t, want, e.Failure, "%v", err)
	require.NotEmpty(t, e.Message)
	u, parseErr := url.Parse(w.Ref.Endpoint)
	require.NoError(t, parseErr)
	require.NotContains(t, e.Message, u.Host, "a message names no address")
	require.NotContains(t, e.Message, "://", "a message names no address")
	return e
}

func (g gatewaySuite) health(t *testing.T) {
	gateway, w := g.open(t)
	require.NoError(t, gateway.Health(t.Context(), w.Ref.Endpoint))
}

func (g gatewaySuite) start(t *testing.T) {
	gateway, w := g.open(t)
	list, err := gateway.List(t.Context(), w.Ref)
	require.NoError(t, err)
	require.Empty(t, list)

	order := ports.Start{SessionID: "one", UserID: "u", SessionName: "One", Generation: 3}
	r, err := gateway.Start(t.Context(), w.Ref, order)
	require.NoError(t, err)
	require.Equal(t, "one", r.SessionID)
	require.Equal(t, w.Ref.ID, r.WorkerID)
	require.Equal(t, int64(3), r.Generation, "the answer is to this start")
	require.True(t, r.Status.IsActive(), r.Status)

	r, err = gateway.Start(t.Context(), w.Ref, order)
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
			require.NoError(t, stop(gateway, t.Context(), w.Ref, "one", 3), "repeated")
			require.NoError(t, stop(gateway, t.Context(), w.Ref, "never-seen", 3), "nothing to do is done")
			require.NoError(t, stop(gateway, t.Context(), w.Ref, "never-seen", 0), "nothing to do is done")
		})
	}
}

// gatewayStops are the ways to stop a session, by name.
var gatewayStops = map[string]func(ports.WorkerGateway, context.Context, ports.WorkerRef, string, int64) error{
	"disconnect": ports.WorkerGateway.Disconnect,
	"logout":     ports.WorkerGateway.Logout,
	"delete":     ports.WorkerGateway.Delete,
}

// down checks that the session does not run.
func (g gatewaySuite) down(t *testing.T, gateway ports.WorkerGateway, w GatewayWorker) {
	t.Helper()
	r, err := gateway.Status(t.Context(), w.Ref, "one")
	if err == nil {
		require.Equal(t, domain.Disconnected, r.Status)
	} else {
		gatewayFails(t, w, err, ports.WorkerSessionNotFound)
	}
}

// generations checks that calls which were delayed do nothing to what is newer,
// as far as the worker knows generations.
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
				require.NoError(t, start(3), "what a worker is not told it cannot refuse")
				return
			}
			r, err := gateway.Status(t.Context(), w.Ref, "one")
			require.NoError(t, err)
			require.True(t, r.Status.IsActive(), "the stop was older than what runs")

			e := gatewayFailure(t, w, gateway.Restart(t.Context(), w.Ref, "one", 2), ports.WorkerRejected)
			require.True(t, e.IsNotExecuted())
			require.NoError(t, gateway.Restart(t.Context(), w.Ref, "one", 3))
			gatewayFails(t, w, start(2), ports.WorkerRejected)

			require.NoError(t, stop(gateway, t.Context(), w.Ref, "one", 3))
			require.NoError(t, stop(gateway, t.Context(), w.Ref, "one", 2), "an older one changes nothing")
			require.True(t, gatewayFailure(t, w, start(3), ports.WorkerRejected).IsNotExecuted(), "it was stopped for good")
			g.down(t, gateway, w)
			require.NoError(t, start(4))

			require.NoError(t, stop(gateway, t.Context(), w.Ref, "one", 9), "also for what has not come yet")
			gatewayFails(t, w, start(8), ports.WorkerRejected)
			g.down(t, gateway, w)
			require.NoError(t, start(10))
			require.NoError(t, stop(gateway, t.Context(), w.Ref, "one", 0), "whatever runs")
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

func (g gatewaySuite) unknown(t *testing.T) {
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
		{Type: domain.TypeContact, Contact: &domain.Contact{Name: "Ann", Phone: "6281234567890"}},
		{Type: domain.TypeLink, Link: &domain.Link{URL: "https://example.com"}},
		{Type: domain.TypePoll, Poll: &domain.Poll{Question: "?", Options: []string{"a", "b"}}},
	} {
		s := gatewayText("one", "m-"+string(m.Type)+m.MediaURL+m.Media, "")
		s.Message = m
		_, err := gateway.Send(t.Context(), w.Ref, s)
		require.NoError(t, err, "%s", m.Type)
	}
}

func (g gatewaySuite) act(t *testing.T) {
	gateway, w := g.started(t)
	for _, a := range []domain.ActionType{
		domain.ActionDelete, domain.ActionUnsend, domain.ActionStar, domain.ActionUnstar, domain.ActionEdit,
		domain.ActionReaction, domain.ActionRead, domain.ActionSeen, domain.ActionTypingStart, domain.ActionTypingStop,
	} {
		err := gateway.PerformAction(t.Context(), w.Ref, "one", domain.Action{Type: a, MessageID: "3EB0", Phone: "+62 812-3456-7890", NewText: "n"})
		require.NoError(t, err, "%s", a)
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
	e := gatewayFailure(t, w, gateway.Health(t.Context(), w.Ref.Endpoint), ports.WorkerConnectionRefused)
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
	require.False(t, e.IsNotExecuted(), "it may have been sent")
	require.Equal(t, domain.ProbeTimedOut, e.Probe())
	require.Less(t, time.Since(began), 3*time.Second, "the context bounds the call")

	cancelled, giveUp := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, giveUp)
	began = time.Now()
	e = gatewayFailure(t, w, gateway.Health(cancelled, w.Ref.Endpoint), ports.WorkerTimedOut)
	require.Equal(t, domain.ProbeTimedOut, e.Probe())
	require.Less(t, time.Since(began), 3*time.Second, "so does its cancellation")
}

func (g gatewaySuite) over(t *testing.T) {
	gateway, w := g.started(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := gateway.Send(ctx, w.Ref, gatewayText("one", "m1", "hello"))
	e := gatewayFailure(t, w, err, ports.WorkerUnreachable, ports.WorkerTimedOut, ports.WorkerCircuitOpen)
	require.True(t, e.IsNotExecuted())
	require.Empty(t, w.Delivered("one"))
}

// faulty opens a worker with a connected session whose next calls fail.
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
	require.NoError(t, err, "the 429 was final, so there was one call")
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

func (g gatewaySuite) again(t *testing.T) {
	for _, fault := range []GatewayFault{{Status: 500, Text: "Oops"}, {}, {Done: true}} {
		gateway, w := g.faulty(t, fault, fault)
		_, err := gateway.Start(t.Context(), w.Ref, ports.Start{SessionID: "two"})
		require.NoError(t, err, "a start is safe to repeat")
		w.FailNext(fault, fault)
		require.NoError(t, gateway.Disconnect(t.Context(), w.Ref, "two", 0), "so is a stop")
		w.FailNext(fault, fault)
		_, err = gateway.List(t.Context(), w.Ref)
		require.NoError(t, err, "so is a question")
	}
}

func (g gatewaySuite) failing(t *testing.T) {
	gateway, w := g.faulty(t, GatewayFault{Status: 503, Text: "Oops"}, GatewayFault{Status: 503, Text: "Oops"}, GatewayFault{Status: 503, Text: "Oops"})
	_, err := gateway.List(t.Context(), w.Ref)
	e := gatewayFailure(t, w, err, ports.WorkerFailed)
	require.Equal(t, 503, e.Status)
	require.True(t, strings.HasSuffix(e.Message, "Oops"), e.Message)
	_, err = gateway.List(t.Context(), w.Ref)
	require.NoError(t, err, "three tries and no more")
}

// lost has the answer to a send get lost after the message went out.
func (g gatewaySuite) lost(t *testing.T, dedupe bool) {
	for _, fault := range []GatewayFault{{Done: true}, {Status: 500, Done: true}} {
		gateway, w := g.faulty(t, fault)
		sent, err := gateway.Send(t.Context(), w.Ref, gatewayText("one", "m1", "hello"))
		if dedupe {
			require.NoError(t, err, "a worker with dedupe can be asked again")
			require.NotEmpty(t, sent.WhatsAppID)
		} else {
			e := gatewayFailure(t, w, err, ports.WorkerConnectionLost, ports.WorkerFailed)
			require.False(t, e.IsNotExecuted())
		}
		require.Equal(t, []string{"hello"}, w.Delivered("one"), "once and never twice")
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
