package httpapi

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/ports/service"
)

// busyAccounts hold each sign-in until it may end, or its caller has gone.
type busyAccounts struct {
	stubAccounts
	entered, left chan struct{}
	end           chan struct{}
}

func (b busyAccounts) Login(ctx context.Context, _, _, _ string) (*service.AuthTokens, error) {
	b.entered <- struct{}{}
	defer func() { b.left <- struct{}{} }()
	select {
	case <-b.end:
		return b.signedIn(), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// One address cannot fill the queue of passwords, and whoever gives up leaves it.
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
