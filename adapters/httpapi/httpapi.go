package httpapi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Config is what the API is made of. The use cases and WorkerTokens are needed;
// the zero value of everything else works.
type Config struct {
	service.Services
	Accounts service.Accounts

	WorkerTokens *WorkerTokens // those that workers may use; nil: none

	// RateLimits turns on the limits per address and per user, which Limiter
	// counts. The limits of the tiers are the use cases' and not affected.
	RateLimits bool
	Limiter    ports.Limiter

	Clock ports.Clock  // nil: the system's
	IDs   ports.IDs    // for requests that bring no id of their own; nil: random ones
	Log   *slog.Logger // the access log, and causes of errors; nil: none

	// Health looks at what the server depends on, for /health/detailed and
	// /readyz. It is called for every such request. Nil: nothing to look at.
	Health func(ctx context.Context) []Check
	// Ready reports whether the server takes requests; false while it starts
	// and once it is to stop. Nil: always.
	Ready   func() bool
	Version string

	// QRLife is how long a QR in a worker's report is good for; 0: a minute.
	QRLife time.Duration

	// CORSOrigins are the origins whose pages may call the API, such as
	// https://console.example.com; "*" is any.
	CORSOrigins []string
	// TrustedProxies are the addresses whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
}

// Check is the state of one thing that the server depends on.
type Check struct {
	Name     string
	OK       bool
	Optional bool   // the server is ready without it
	Message  string // in plain words, free of addresses and secrets; may be empty
	Took     time.Duration
}

type api struct {
	Config
	inside  *router // below the base paths
	outside *router
	origins map[string]bool
	started time.Time
}

// New returns the handler of the whole API. It panics if its route table is
// contradictory, which a test rules out.
func New(cfg Config) http.Handler { return newAPI(cfg) }

func newAPI(cfg Config) *api {
	if cfg.Clock == nil {
		cfg.Clock = systemClock{}
	}
	if cfg.IDs == nil {
		cfg.IDs = randomIDs{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.QRLife <= 0 {
		cfg.QRLife = time.Minute
	}
	a := &api{Config: cfg, origins: make(map[string]bool), started: cfg.Clock.Now()}
	for _, origin := range cfg.CORSOrigins {
		a.origins[strings.ToLower(strings.TrimRight(origin, "/"))] = true
	}
	limits := newLimits(a)
	var inside, outside []mounted
	for i := range table {
		m := a.mount(&table[i], limits)
		if table[i].outside {
			outside = append(outside, m)
		} else {
			inside = append(inside, m)
		}
	}
	a.inside, a.outside = newRouter(inside), newRouter(outside)
	return a
}

// ServeHTTP answers one request.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{
		Context: r.Context(), api: a, w: w, r: r,
		start: a.Clock.Now(), scratch: scratches.Get().(*scratch),
	}
	c.identify()
	setHeaders(w.Header(), r)
	defer c.finish()
	if a.cors(c) {
		return
	}
	res, params := a.find(r)
	if res == nil {
		c.fail(errNoRoute(r))
		return
	}
	m := res.method(r.Method)
	switch {
	case m != nil:
		c.route, c.resource, c.params = m.route, res, params
		m.server.ServeHTTP(w, r.WithContext(c))
	case r.Method == http.MethodOptions:
		w.Header()["Allow"] = res.allow
		c.send(http.StatusNoContent, nil, nil)
	default:
		w.Header()["Allow"] = res.allow
		c.fail(errMethod(r, res))
	}
}

// find looks the request's path up, below a base path or outside.
func (a *api) find(r *http.Request) (*resource, [2]string) {
	path, raw := r.URL.Path, r.URL.RawPath
	for _, base := range basePaths {
		if inside, ok := below(path, base); ok {
			rawInside, _ := below(raw, base)
			return a.inside.find(inside, rawInside)
		}
	}
	return a.outside.find(path, raw)
}

// basePaths are tried in this order.
var basePaths = [...]string{"/api/v1", "/api"}

func below(path, base string) (string, bool) {
	rest, ok := strings.CutPrefix(path, base)
	return rest, ok && strings.HasPrefix(rest, "/")
}

// finish ends a request: it answers for a panic, writes the access log and
// gives the buffers back.
func (c *call) finish() {
	if p := recover(); p != nil {
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(p)
		}
		c.Log().ErrorContext(c.Context, "panic in a request", "request", c.id,
			"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		if c.status != 0 {
			panic(http.ErrAbortHandler) // half an answer must not look like a whole one
		}
		c.fail(domain.Errorf(domain.Internal, domain.CodeInternal, internalMessage))
	}
	c.log()
	if c.scratch.reusable() {
		scratches.Put(c.scratch)
	}
	c.scratch = nil
}

// Log is where the call's messages go.
func (c *call) Log() *slog.Logger { return c.api.Config.Log }

// log writes the access log: who asked for what and what came of it, but
// never a token, a body, or a query, which can hold secrets.
func (c *call) log() {
	level := slog.LevelInfo
	switch {
	case c.status >= http.StatusInternalServerError:
		level = slog.LevelError
	case c.route != nil && c.route.quiet:
		level = slog.LevelDebug
	}
	log := c.Log()
	if !log.Enabled(c.Context, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs,
		slog.String("method", c.r.Method),
		slog.String("route", c.template()),
		slog.Int("status", c.status),
		slog.Duration("duration", c.api.Clock.Now().Sub(c.start)),
		slog.Int("bytes", c.bytes),
		slog.String("request", c.id),
		slog.String("ip", c.remoteIP()))
	if user := c.userID(); user != "" {
		attrs = append(attrs, slog.String("user", user))
	}
	if session := c.sessionID(); session != "" {
		attrs = append(attrs, slog.String("session", session))
	}
	if c.err != nil {
		attrs = append(attrs, slog.String("code", string(c.code)))
		if c.status >= http.StatusInternalServerError {
			attrs = append(attrs, slog.Any("error", c.err))
		}
	}
	log.LogAttrs(c.Context, level, "request", attrs...)
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

type randomIDs struct{}

func (randomIDs) NewID() string { return rand.Text() }
