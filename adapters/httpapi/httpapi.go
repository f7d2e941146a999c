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

	"github.com/go-kit/kit/endpoint"
	"golang.org/x/time/rate"

	"github.com/switchyard-wa/switchyard/adapters/internal/admission"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Config configures the API. The services and WorkerTokens are required; the zero
// value of every other field works.
type Config struct {
	service.Services
	Accounts service.Accounts

	WorkerTokens *domain.WorkerTokens // accepted of workers; nil: none

	// RateLimits turns on the limits per address and per user, which Limiter
	// counts. The services enforce the limits of the tiers in any case.
	RateLimits bool
	Limiter    ports.Limiter

	Clock ports.Clock  // nil: the system's
	IDs   ports.IDs    // for requests that bring no id of their own; nil: random ones
	Log   *slog.Logger // the access log, and causes of errors; nil: none

	// Health checks the dependencies of the server, for /health/detailed and
	// /readyz. It is called for every such request. Nil: no dependencies.
	Health func(ctx context.Context) []Check
	// Ready reports whether the server takes requests: false while it starts and
	// once it stops. Nil: always.
	Ready func() bool
	// Present returns an error while the data of the store are gone. All requests but those
	// about health call it, and are refused then. Nil: the data are always there.
	Present func() error
	Version string

	// Stopping ends when the server begins to stop. Streams of events end then. Bulk calls finish
	// the present message, and begin no other. Nil: never.
	Stopping context.Context

	// BodyMemory bounds the bytes of all request bodies under way. Bodies up to 16 KiB do
	// not count. A decoded body takes about four times its size. 0: 128 MiB.
	BodyMemory int64
	// UploadDisk bounds the bytes of all files under way that came in forms. They are in the
	// folder for temporary files, without names. Files up to 16 KiB do not count. 0: 1 GiB.
	UploadDisk int64

	// QRLife is the life of a QR code in a worker's report; 0: a minute.
	QRLife time.Duration

	// CORSOrigins are the origins whose pages may call the API, such as
	// https://console.example.com; "*" is any.
	CORSOrigins []string
	// TrustedProxies are the addresses whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
}

// Check is the state of one dependency of the server.
type Check struct {
	Name     string
	OK       bool
	Optional bool   // the server is ready without it
	Message  string // in plain words, free of addresses and secrets; may be empty
	Took     time.Duration
}

type api struct {
	Config
	surface    *surface
	endpoints  []endpoint.Endpoint // by the index of the route
	queues     map[cost]*admission.Queue
	bodies     *bodyMemory
	uploads    *bodyMemory // on disk
	streams    *streamCount
	pages      map[string]page
	origins    map[string]bool
	started    time.Time
	compressed http.HandlerFunc // answer, with compression for clients that accept it

	warningLimit *rate.Limiter // of the log
}

// New returns the handler of the whole API. It may be mounted on any mux, at its
// root or beside other handlers.
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
	if cfg.BodyMemory <= 0 {
		cfg.BodyMemory = defaultBodyMemory
	}
	if cfg.UploadDisk <= 0 {
		cfg.UploadDisk = defaultUploadDisk
	}
	a := &api{Config: cfg, surface: theSurface(), pages: pages(cfg.Version), origins: make(map[string]bool), started: cfg.Clock.Now()}
	for _, origin := range cfg.CORSOrigins {
		a.origins[strings.ToLower(strings.TrimRight(origin, "/"))] = true
	}
	a.compressed = compressor()(http.HandlerFunc(a.answer))
	a.queues, a.bodies, a.uploads = newQueues(), newBodyMemory(cfg.BodyMemory), newBodyMemory(cfg.UploadDisk)
	a.streams = newStreamCount()
	a.warningLimit = rate.NewLimiter(warningsPerSecond, warningsBurst)
	limits := newLimits(a)
	for _, r := range a.surface.routes {
		around := endpoint.Chain(a.requirePresence(r), a.authenticate(r.credential), limits.of(r.limit), a.admit(r.cost))
		a.endpoints = append(a.endpoints, around(decodeAndHandle))
	}
	return a
}

// ServeHTTP answers one request.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		a.compressed(w, r)
		return
	}
	a.answer(w, r)
}

// answer answers one request without compression.
func (a *api) answer(w http.ResponseWriter, r *http.Request) {
	c := &requestContext{
		Context: r.Context(), api: a, w: w, r: r,
		start: a.Clock.Now(), buffers: bufferPool.Get().(*buffers),
	}
	c.identify()
	setHeaders(w.Header(), r)
	defer c.finish()
	if err := checkSize(r); err != nil {
		c.fail(err)
		return
	}
	if !a.cors(c) {
		a.surface.serve(c)
	}
}

const (
	maxHeaders    = 128 // lines
	maxParameters = 128 // of the query
)

// checkSize refuses requests with more headers or parameters than anybody needs, before
// they are parsed and routed.
func checkSize(r *http.Request) error {
	lines := 0
	for _, values := range r.Header {
		lines += len(values)
	}
	if lines > maxHeaders {
		return refuse(http.StatusRequestHeaderFieldsTooLarge, domain.CodeValidation, "headers", "Send at most 128 headers")
	}
	if strings.Count(r.URL.RawQuery, "&") >= maxParameters {
		return refuse(http.StatusBadRequest, domain.CodeValidation, "query", "Send at most 128 parameters")
	}
	return nil
}

// finish ends a request: it answers 500 after a panic, writes the access log and
// releases the buffers. A streamed answer that cannot go on aborts the connection.
func (c *requestContext) finish() {
	p := recover()
	c.media.close()
	if p != nil {
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			c.log()
			c.body.release()
			panic(p)
		}
		c.Log().ErrorContext(c.Context, "request panicked", "request", c.id,
			"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		if c.status != 0 {
			panic(http.ErrAbortHandler) // a partial answer must not look complete
		}
		c.fail(domain.Errorf(domain.Internal, domain.CodeInternal, internalMessage))
	}
	c.log()
	c.body.release()
	c.buffers.release()
	c.buffers = nil
}

// Log returns the logger of the API.
func (c *requestContext) Log() *slog.Logger { return c.api.Config.Log }

// log writes the access log: the caller, the route and the outcome. Tokens, bodies
// and queries can hold secrets and are not logged.
func (c *requestContext) log() {
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
