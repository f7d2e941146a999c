package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

// countingLimiter counts in windows, as the real ones do.
type countingLimiter struct {
	windows map[string]*domain.Window
	err     error
}

func (l *countingLimiter) AllowN(_ context.Context, key string, at time.Time, length time.Duration, limit, n int) (domain.Usage, error) {
	if l.err != nil {
		return domain.Usage{}, l.err
	}
	if l.windows[key] == nil {
		l.windows[key] = &domain.Window{}
	}
	return l.windows[key].AllowN(at, length, limit, n), nil
}

func (l *countingLimiter) Backfill(context.Context, string, time.Time, time.Duration, int) error {
	return nil
}

func limited(s *stub) (http.Handler, *countingLimiter) {
	l := &countingLimiter{windows: make(map[string]*domain.Window)}
	cfg := config(s)
	cfg.RateLimits, cfg.Limiter = true, l
	return New(cfg), l
}

func TestLimits_PerAddress_AreEnforced(t *testing.T) {
	h, l := limited(&stub{})
	login := func(ip string) reply {
		r := request("POST", "/api/v1/auth/login", "", goodLogin)
		r.RemoteAddr = ip + ":1234"
		return serve(t, h, r)
	}
	for i := range perMinuteByIP {
		got := login("203.0.113.1")
		require.Equal(t, http.StatusOK, got.Code)
		assert.Equal(t, "60", got.Header().Get("X-RateLimit-Limit"))
		assert.Equal(t, strconv.Itoa(59-i), got.Header().Get("X-RateLimit-Remaining"))
		assert.Equal(t, strconv.FormatInt(noon.Add(time.Minute).Unix()+1, 10), got.Header().Get("X-RateLimit-Reset"))
	}
	got := login("203.0.113.1")
	assert.Equal(t, http.StatusTooManyRequests, got.Code)
	assert.Equal(t, domain.CodeRateLimit, got.Error.Code)
	assert.Equal(t, "60", got.Header().Get("Retry-After"))
	assert.Equal(t, "0", got.Header().Get("X-RateLimit-Remaining"))
	assert.Equal(t, http.StatusOK, login("203.0.113.2").Code)

	// All public routes count together; others do not count.
	r := request("POST", "/api/auth/register", "", "{}")
	r.RemoteAddr = "203.0.113.1:99"
	assert.Equal(t, http.StatusTooManyRequests, serve(t, h, r).Code)
	r = request("GET", "/health", "", "")
	r.RemoteAddr = "203.0.113.1:99"
	assert.Equal(t, http.StatusOK, serve(t, h, r).Code)
	assert.Len(t, l.windows, 2)
}

func TestLimits_PerAddress_CountsIPv6ByNetwork(t *testing.T) {
	h, l := limited(&stub{})
	for _, peer := range []string{"[2001:db8:0:1::1]:1", "[2001:db8:0:1:ffff::2]:1", "[2001:db8:0:2::1]:1", "[::ffff:203.0.113.1]:1", "203.0.113.1:1"} {
		r := request("POST", "/api/v1/auth/login", "", goodLogin)
		r.RemoteAddr = peer
		require.Equal(t, http.StatusOK, serve(t, h, r).Code)
	}
	used := make(map[string]int)
	for key, w := range l.windows {
		used[key] = w.Used
	}
	assert.Equal(t, map[string]int{"http:ip:2001:db8:0:1::/64": 2, "http:ip:2001:db8:0:2::/64": 1, "http:ip:203.0.113.1": 2}, used)
}

// A caller without the store of limits is let through, but not to guess.
func TestLimits_LimiterFails_ProcessCountsAlone(t *testing.T) {
	h, l := limited(&stub{})
	l.err = errors.New("redis is gone")
	statuses := make(map[int]int)
	for range 1000 {
		statuses[serve(t, h, request("POST", "/api/v1/auth/login", "", goodLogin)).Code]++
	}
	assert.GreaterOrEqual(t, statuses[http.StatusOK], perMinuteByIP)
	assert.Greater(t, statuses[http.StatusTooManyRequests], 500)
	for range 1000 {
		require.Equal(t, http.StatusOK, serve(t, h, request("GET", "/api/v1/auth/me", userToken, "")).Code)
	}
}

func TestLimits_PerUser_AreEnforced(t *testing.T) {
	h, l := limited(&stub{})
	me := func(token string) reply { return serve(t, h, request("GET", "/api/v1/auth/me", token, "")) }
	got := me(userToken)
	assert.Equal(t, "6000", got.Header().Get("X-RateLimit-Limit"))
	assert.Equal(t, "5999", got.Header().Get("X-RateLimit-Remaining"))
	l.windows["http:user:u1"].Used = perMinuteByUser
	got = me(userToken)
	assert.Equal(t, http.StatusTooManyRequests, got.Code)
	assert.NotEmpty(t, got.Header().Get("Retry-After"))
	assert.Equal(t, http.StatusOK, me(adminToken).Code)
	// By access token, a send counts like any other call.
	got = serve(t, h, request("POST", "/api/v1/sessions/support/send", userToken, bodies["POST /sessions/{id}/send"]))
	assert.Equal(t, http.StatusTooManyRequests, got.Code)
}

func TestLimits_PerKey_AreShown(t *testing.T) {
	s := &stub{usage: domain.Usage{Allowed: true, Limit: 1000, Remaining: 3, ResetAt: noon.Add(90 * time.Second)}}
	h, l := limited(s)
	send := func() reply {
		return serve(t, h, request("POST", "/api/v1/sendText", keyText, bodies["POST /sendText"]))
	}
	got := send()
	assert.Equal(t, http.StatusOK, got.Code)
	assert.Equal(t, "1000", got.Header().Get("X-RateLimit-Limit"))
	assert.Equal(t, "3", got.Header().Get("X-RateLimit-Remaining"))
	assert.Empty(t, l.windows, "the service counts")

	s.usage.Remaining = 0
	s.keys = domain.Errorf(domain.Exceeded, domain.CodeAPILimit, "API call limit exceeded").WithRetryAfter(90 * time.Second)
	got = send()
	assert.Equal(t, http.StatusTooManyRequests, got.Code)
	assert.Equal(t, domain.CodeAPILimit, got.Error.Code)
	assert.Equal(t, "90", got.Header().Get("Retry-After"))
	assert.Equal(t, "0", got.Header().Get("X-RateLimit-Remaining"))
}

func TestLimits_OfService_AreShown(t *testing.T) {
	s := &stub{usage: domain.Usage{Allowed: true, Limit: 1000, Remaining: 900, ResetAt: noon.Add(90 * time.Second)}}
	s.err = domain.Errorf(domain.Exceeded, domain.CodeMessageLimit, "m").
		WithUsage(domain.Usage{Limit: 100, ResetAt: time.Unix(1772370000, 0)}, noon)
	h, _ := limited(s)
	got := serve(t, h, request("POST", "/api/v1/sendText", keyText, bodies["POST /sendText"]))
	assert.Equal(t, http.StatusTooManyRequests, got.Code)
	for header, want := range map[string]string{"Limit": "100", "Remaining": "0", "Reset": "1772370000"} {
		assert.Equal(t, want, got.Header().Get("X-RateLimit-"+header))
	}
}

func TestLimits_Workers_AreNotLimited(t *testing.T) {
	h, l := limited(&stub{})
	for i := range apiRoutes {
		if r := &apiRoutes[i]; r.credential == worker || r.credential == adminWorker {
			got := serve(t, h, request(r.method, example(r), fleetToken, bodies[r.method+" "+r.path]))
			require.Less(t, got.Code, 300, r.path)
			assert.Empty(t, got.Header().Get("X-RateLimit-Limit"))
		}
	}
	assert.Empty(t, l.windows)
}

func TestLimits_Off_NothingIsCounted(t *testing.T) {
	cfg := config(&stub{})
	cfg.Limiter = &countingLimiter{err: errors.New("not to be asked")}
	got := serve(t, New(cfg), request("POST", "/api/v1/auth/login", "", goodLogin))
	assert.Equal(t, http.StatusOK, got.Code)
	assert.Empty(t, got.Header().Get("X-RateLimit-Limit"))
}

func TestLimits_RetryAfterOfService_IsShown(t *testing.T) {
	err := domain.Errorf(domain.Exceeded, domain.CodeMessageLimit, "m").WithRetryAfter(1500 * time.Millisecond)
	got := serve(t, New(config(&stub{err: err})), request("POST", "/api/v1/sendText", keyText, bodies["POST /sendText"]))
	assert.Equal(t, "2", got.Header().Get("Retry-After"))
	cause := domain.Errorf(domain.Exceeded, domain.CodeRateLimit, "m").WithCause(domain.Overloaded(5*time.Second, "x"))
	got = serve(t, New(config(&stub{err: cause})), request("POST", "/api/v1/auth/login", "", goodLogin))
	assert.Equal(t, "5", got.Header().Get("Retry-After"), "the cause may know it")
	err2 := domain.Errorf(domain.Exceeded, domain.CodeMessageLimit, "m")
	got = serve(t, New(config(&stub{err: err2})), request("POST", "/api/v1/sendText", keyText, bodies["POST /sendText"]))
	assert.Equal(t, "60", got.Header().Get("Retry-After"))
}
