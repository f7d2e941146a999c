package httpapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// crowd takes every token for the id of a user.
type crowd struct{ stubAccounts }

func (crowd) Authenticate(_ context.Context, token string) (service.Principal, error) {
	return service.Principal{UserID: token, Role: domain.RoleUser, FamilyID: "f"}, nil
}

// openedStreams tells when a stream has been counted in.
type openedStreams struct {
	stubEvents
	opened chan struct{}
}

func (e openedStreams) Subscribe(context.Context, ports.EventFilter, int64) (service.EventSubscription, error) {
	e.opened <- struct{}{}
	return new(quietSubscription), nil
}

// streamKit opens streams of a handler.
type streamKit struct {
	t       *testing.T
	handler http.Handler
	opened  chan struct{}
}

func newStreamKit(t *testing.T) *streamKit {
	c := config(new(stub))
	k := &streamKit{t: t, opened: make(chan struct{})}
	c.Accounts, c.Events = crowd{}, openedStreams{opened: k.opened}
	c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	k.handler = New(c)
	return k
}

// open opens a stream. It returns a function that ends the stream, or the refusal.
func (k *streamKit) open(user, peer, forwarded string) (end func(), refusal *httptest.ResponseRecorder) {
	k.t.Helper()
	ctx, cancel := context.WithCancel(k.t.Context())
	r := request("GET", "/api/v1/events", user, "").WithContext(ctx)
	r.RemoteAddr = peer
	r.Header.Set("Accept", "text/event-stream")
	if forwarded != "" {
		r.Header.Set("X-Forwarded-For", forwarded)
	}
	done := make(chan *httptest.ResponseRecorder, 1)
	go func() { done <- serveRaw(k.handler, r) }()
	select {
	case <-k.opened:
		return func() { cancel(); <-done }, nil
	case w := <-done:
		cancel()
		return nil, w
	}
}

// fill opens as many streams as one network may have, each of another user.
func (k *streamKit) fill(peer, forwarded string) (endOne func()) {
	k.t.Helper()
	for i := range maxStreamsPerNetwork {
		end, refusal := k.open("user"+strconv.Itoa(i), peer, forwarded)
		require.Nil(k.t, refusal)
		endOne = end
	}
	return endOne
}

func TestStream_TooManyOfOneNetwork_AreRefusedWithRetryAfter(t *testing.T) {
	for name, c := range map[string]struct{ peer, forwarded, neighbour, other string }{
		"IPv4":            {peer: "203.0.113.7:1000", neighbour: "203.0.113.7:2000", other: "203.0.113.8:1000"},
		"IPv6":            {peer: "[2001:db8::1]:1000", neighbour: "[2001:db8::ffff:2]:1000", other: "[2001:db8:0:1::1]:1000"},
		"behind a proxy":  {peer: "10.0.0.1:1000", forwarded: "203.0.113.7", neighbour: "203.0.113.7:2000", other: "10.0.0.1:1000"},
		"IPv4 in an IPv6": {peer: "[::ffff:203.0.113.7]:1000", neighbour: "203.0.113.7:2000", other: "[2001:db8::1]:1000"},
	} {
		t.Run(name, func(t *testing.T) {
			k := newStreamKit(t)
			endOne := k.fill(c.peer, c.forwarded)

			_, refusal := k.open("late", c.neighbour, "")
			require.NotNil(t, refusal)
			require.Equal(t, http.StatusTooManyRequests, refusal.Code)
			require.Equal(t, "60", refusal.Header().Get("Retry-After"))
			require.Contains(t, refusal.Body.String(), "500 streams from your address are open, which is the limit; close some of them")
			end, refusal := k.open("late", c.other, "")
			require.Nil(t, refusal, "another network")
			end()

			endOne()
			end, refusal = k.open("late", c.neighbour, "")
			require.Nil(t, refusal, "one has ended")
			end()
		})
	}
}

func TestStream_ManyOfAnExemptAddress_AreAccepted(t *testing.T) {
	for name, peer := range map[string]string{"trusted proxy": "10.0.0.1:1000", "loopback": "127.0.0.1:1000", "Unix socket": "@"} {
		t.Run(name, func(t *testing.T) {
			k := newStreamKit(t)
			k.fill(peer, "")
			_, refusal := k.open("late", peer, "")
			require.Nil(t, refusal)
		})
	}
}

func TestStream_TooManyOfOneUser_AreRefusedFromAnyAddress(t *testing.T) {
	k := newStreamKit(t)
	for i := range maxStreamsPerUser {
		_, refusal := k.open("ada", "203.0.113."+strconv.Itoa(i)+":1000", "")
		require.Nil(t, refusal)
	}
	_, refusal := k.open("ada", "203.0.113.200:1000", "")
	require.NotNil(t, refusal)
	require.Equal(t, http.StatusTooManyRequests, refusal.Code)
	require.Equal(t, "60", refusal.Header().Get("Retry-After"))
	require.Contains(t, refusal.Body.String(), "streams of yours are open")
}
