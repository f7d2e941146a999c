package httpapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// busyAccounts hold each sign-in until it may end, or its caller has gone.
type busyAccounts struct {
	stubAccounts
	entered, left chan struct{}
	end           chan struct{}
}

func (b busyAccounts) Login(ctx context.Context, _, _ string) (*service.AuthTokens, error) {
	b.entered <- struct{}{}
	defer func() { b.left <- struct{}{} }()
	select {
	case <-b.end:
		return b.signedIn(), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// One address cannot fill the queue of passwords, and a canceled request leaves the queue.
func TestLogin_ManyFromOneAddress_LeaveRoomForOthers(t *testing.T) {
	const share = 16
	busy := busyAccounts{stubAccounts{&stub{}}, make(chan struct{}, 100), make(chan struct{}, 100), make(chan struct{})}
	cfg := config(&stub{})
	cfg.Accounts = busy
	cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	server := httptest.NewServer(New(cfg))
	defer server.Close()
	login := func(ctx context.Context, ip string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/api/v1/auth/login", strings.NewReader(goodLogin))
		require.NoError(t, err)
		r.Header.Set("X-Forwarded-For", ip)
		return http.DefaultClient.Do(r)
	}
	ctx, giveUp := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	for range share {
		flood.Go(func() {
			if r, err := login(ctx, "203.0.113.1"); err == nil {
				r.Body.Close()
			}
		})
		<-busy.entered
	}
	refused, err := login(t.Context(), "203.0.113.1")
	require.NoError(t, err)
	body, err := io.ReadAll(refused.Body)
	require.NoError(t, err)
	refused.Body.Close()
	assert.Equal(t, http.StatusServiceUnavailable, refused.StatusCode)
	assert.Contains(t, string(body), `"code":"OVERLOADED"`)
	assert.Equal(t, "1", refused.Header.Get("Retry-After"))

	other := make(chan int)
	go func() {
		r, err := login(t.Context(), "203.0.113.2")
		if !assert.NoError(t, err) {
			close(other)
			return
		}
		r.Body.Close()
		other <- r.StatusCode
	}()
	<-busy.entered // another address is admitted meanwhile
	giveUp()
	flood.Wait()
	for range share {
		<-busy.left
	}
	close(busy.end)
	require.Equal(t, http.StatusOK, <-other)
	again, err := login(t.Context(), "203.0.113.1")
	require.NoError(t, err)
	again.Body.Close()
	require.Equal(t, http.StatusOK, again.StatusCode, "the flood has left the queue")
}

// slowMessages look for messages until their context ends.
type slowMessages struct {
	stubMessages
	entered chan struct{}
}

func (m slowMessages) History(ctx context.Context, _, _ string, f domain.MessageFilter) ([]*domain.Message, domain.Cursor, error) {
	if f.Search == "" {
		return nil, domain.Cursor{}, nil
	}
	if !ports.IsLongRead(ctx) {
		return nil, domain.Cursor{}, errors.New("not a long read")
	}
	m.entered <- struct{}{}
	<-ctx.Done()
	return nil, domain.Cursor{}, ctx.Err()
}

func TestSearch_TooLong_EndsAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(&stub{})
		cfg.Messages = slowMessages{stubMessages{&stub{}}, make(chan struct{}, 100)}
		h := New(cfg)
		began := time.Now()
		got := serve(t, h, request("GET", "/api/v1/sessions/support/messages?search=x", userToken, ""))
		assert.Equal(t, longReadTime, time.Since(began))
		assert.Equal(t, http.StatusServiceUnavailable, got.Code)
		assert.Equal(t, domain.CodeOverloaded, got.Error.Code)
		assert.Contains(t, got.Error.Message, "narrow it down")
		assert.Equal(t, "60", got.Header().Get("Retry-After"))
	})
}

// A user searches a few times at once. Listing goes on meanwhile.
func TestSearch_ManyByOneUser_AreOverloaded(t *testing.T) {
	const share = 4
	synctest.Test(t, func(t *testing.T) {
		cfg := config(&stub{})
		slow := slowMessages{stubMessages{&stub{}}, make(chan struct{}, 100)}
		cfg.Messages = slow
		a := newAPI(cfg)
		ctx, giveUp := context.WithCancel(t.Context())
		search := func(ctx context.Context) reply {
			return serveUnchecked(t, a, request("GET", "/api/v1/sessions/support/messages?search=x", userToken, "").WithContext(ctx))
		}
		for range share {
			go search(ctx)
		}
		synctest.Wait()
		assert.NotEmpty(t, slow.entered)
		began := time.Now()
		got := search(t.Context())
		assert.Equal(t, http.StatusServiceUnavailable, got.Code)
		assert.Equal(t, domain.CodeOverloaded, got.Error.Code)
		assert.Equal(t, "1", got.Header().Get("Retry-After"))
		list := serve(t, a, request("GET", "/api/v1/sessions/support/messages", userToken, ""))
		assert.Equal(t, http.StatusOK, list.Code)
		assert.Equal(t, began, time.Now(), "nobody waited")
		giveUp()
		synctest.Wait()
		assert.Zero(t, a.queues[longRead].Depth(), "whoever gives up leaves the queue")
	})
}
