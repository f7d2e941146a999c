package simworker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

const (
	unregisterTimeout = 5 * time.Second // for unregistering
	shutdownTimeout   = 5 * time.Second // for pending requests
	// The longest intervals between two looks at the lease: while one runs, and without.
	maxLeaseCheck = time.Second
	noLeaseCheck  = 50 * time.Millisecond
)

// ServeConfig configures [Serve]. The zero value works.
type ServeConfig struct {
	Token   string        // token that callers must show, until a registration hands out a call token; empty: none
	Latency time.Duration // delay of each call except Health
	Log     *slog.Logger  // default: none
}

// EndpointOf returns the endpoint for a listener's address. For a listener on all
// interfaces it returns the loopback address.
func EndpointOf(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "http://" + addr.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// ErrCrashed is the error that [Serve] returns after [Worker.Crash].
var ErrCrashed = errors.New("the worker crashed")

// Serve serves the worker protocol on the listener and drives the worker in real
// time until the context ends. Then the worker stops gracefully. If the worker
// crashes, Serve closes everything at once, like the end of a process. Serve
// closes the listener.
//
// A worker without an endpoint gets the endpoint of the listener. Serve refuses a
// worker whose state cannot be read: it could start a blocked generation.
func Serve(ctx context.Context, ln net.Listener, w *Worker, cfg ServeConfig) error {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	wake := make(chan struct{}, 1)
	callers := &callers{open: map[net.Conn]struct{}{}}
	endpoint, err := w.attach(ln, wake, callers, cfg)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	server := &http.Server{
		Handler: Handler(w, cfg), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, ConnState: callers.trackConn,
		ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	cfg.Log.Info("simulated worker serving", "worker", w.cfg.ID, "endpoint", endpoint)

	err = runUntilEnd(ctx, w, server, served, wake, cfg.Log)
	if errors.Is(err, ErrCrashed) {
		return err
	}
	leave(ctx, w, server, cfg.Log)
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// attach connects the worker to its listener and its driver. It returns the worker's endpoint, or an
// error if the state of the worker cannot be read.
func (w *Worker) attach(ln net.Listener, wake chan<- struct{}, c *callers, cfg ServeConfig) (endpoint string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stateErr != nil {
		return "", fmt.Errorf("reading the state of worker %s: %w", w.cfg.ID, w.stateErr)
	}
	w.hangUp = c.hangUp
	if w.cfg.Endpoint == "" {
		w.cfg.Endpoint = EndpointOf(ln.Addr())
	}
	w.onDue = func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	w.cfg.Log = cmp.Or(w.cfg.Log, cfg.Log)
	return w.cfg.Endpoint, nil
}

// runUntilEnd drives the worker until the context ends, the server fails or the worker crashes. It
// returns the error of the server, or ErrCrashed after it has closed the server.
func runUntilEnd(ctx context.Context, w *Worker, server *http.Server, served <-chan error, wake <-chan struct{}, log *slog.Logger) (err error) {
	driving, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	crashed := make(chan struct{})
	wg.Go(func() {
		if drive(driving, w, wake, log) {
			close(crashed)
		}
	})
	wg.Go(func() { watchLease(driving, w) })
	select {
	case <-ctx.Done():
	case err = <-served:
	case <-crashed:
		err = ErrCrashed
		_ = server.Close()
	}
	stop()
	wg.Wait()
	return err
}

// leave stops the worker gracefully, and then its server.
func leave(ctx context.Context, w *Worker, server *http.Server, log *slog.Logger) {
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), unregisterTimeout)
	defer cancel()
	if err := w.Stop(leaving); err != nil {
		log.Warn("simulated worker stop not reported", "worker", w.cfg.ID, "error", err)
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		_ = server.Close() // pending requests have had their time
	}
}

// callers tracks the open connections. After a pause of the process, requests
// that were sent long ago may wait in them. Nobody waits for their responses.
type callers struct {
	mu   sync.Mutex
	open map[net.Conn]struct{}
}

// trackConn is an http.Server.ConnState hook.
func (c *callers) trackConn(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.open[conn] = struct{}{}
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	}
}

// hangUp closes all connections, which cancels the contexts of their requests.
func (c *callers) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		_ = conn.Close() // it may be closed already
	}
}

// drive ticks the worker whenever something is due. It returns when the context
// ends, or with crashed set when the worker crashes.
func drive(ctx context.Context, w *Worker, wake <-chan struct{}, log *slog.Logger) (crashed bool) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	registered, refusal := false, ""
	for {
		select {
		case <-ctx.Done():
			return false
		case <-wake:
		case <-timer.C:
		}
		if !w.alive() {
			return true
		}
		next := w.Tick(ctx, w.cfg.Now())
		if r := w.Registered(); r != registered {
			registered = r
			log.Info("simulated worker registration changed", "worker", w.cfg.ID, "registered", r)
		}
		latest := ""
		if err := w.Refusal(); err != nil && !isPermanent(err) && ctx.Err() == nil {
			latest = err.Error()
		}
		if latest != refusal && latest != "" {
			log.Warn("simulated worker registration failed", "worker", w.cfg.ID, "error", latest)
		}
		refusal = latest
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(max(next.Sub(w.cfg.Now()), 0))
		}
	}
}

// watchLease applies the end of the lease in time, even while Tick waits for a
// response.
func watchLease(ctx context.Context, w *Worker) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		now := w.cfg.Now()
		w.Fence(now)
		next := noLeaseCheck
		if end := w.LeaseEnd(); end.After(now) {
			next = min(maxLeaseCheck, end.Sub(now))
		}
		timer.Reset(next)
	}
}

// Handler returns the HTTP handler of a worker. It accepts paths with and without
// the path of the worker's endpoint, because a proxy may have stripped it.
func Handler(w *Worker, cfg ServeConfig) http.Handler {
	h := &handler{w: w, cfg: cfg, token: sha256.Sum256([]byte("Bearer " + cfg.Token))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", h.health)
	mux.HandleFunc("POST /api/sessions/start", h.call(h.start))
	mux.HandleFunc("GET /api/sessions", h.call(h.list))
	mux.HandleFunc("GET /api/sessions/{id}/status", h.call(h.status))
	mux.HandleFunc("POST /api/sessions/{id}/restart", h.call(h.command(w.Restart)))
	mux.HandleFunc("POST /api/sessions/{id}/disconnect", h.call(h.command(w.Disconnect)))
	mux.HandleFunc("POST /api/sessions/{id}/logout", h.call(h.command(w.Logout)))
	mux.HandleFunc("DELETE /api/sessions/{id}", h.call(h.command(w.Delete)))
	mux.HandleFunc("POST /api/{id}/send", h.call(h.send))
	if !w.cfg.Legacy {
		mux.HandleFunc("GET /api/", h.media) // a pattern for it would conflict with that of the status
	}
	mux.HandleFunc("POST /api/message/{id}/manage", h.call(h.manage))
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		prefix := ""
		if u, err := url.Parse(w.Endpoint()); err == nil {
			prefix = strings.TrimRight(u.Path, "/")
		}
		if !strings.HasPrefix(r.URL.Path, prefix+"/") {
			prefix = ""
		}
		http.StripPrefix(prefix, mux).ServeHTTP(rw, r)
	})
}

type handler struct {
	w     *Worker
	cfg   ServeConfig
	token [sha256.Size]byte
}

// isAuthorized reports whether a call shows the call token, or the configured token
// while there is no call token. A call that changes something may come right after the
// registration and overtake its answer, and waits for it. A call that only reads does not
// wait: the registration itself waits for the health call.
func (h *handler) isAuthorized(r *http.Request) bool {
	header := r.Header.Get("Authorization")
	if tokens, ok := h.w.control.(CallTokens); ok && !h.w.cfg.Legacy {
		verdict := tokens.CheckCall(header)
		if r.Method != http.MethodGet {
			verdict = tokens.AwaitCall(r.Context(), header)
		}
		if verdict != CallUnjudged {
			return verdict == CallAccepted
		}
	}
	said := sha256.Sum256([]byte(header))
	return h.cfg.Token == "" || subtle.ConstantTimeCompare(said[:], h.token[:]) == 1
}

// sleep waits for d. It returns false if the context ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// statusWord returns the word of workers for a session's status.
func statusWord(r domain.Report, starting bool) string {
	switch r.Status {
	case domain.Init:
		return "initializing"
	case domain.QRRequired:
		if starting {
			return "qr_ready"
		}
		return "qr_required"
	case domain.Connected:
		return "connected"
	case domain.Reconnecting:
		return "reconnecting"
	case domain.Errored:
		return "failed"
	}
	if r.LoggedOut {
		return "logged_out"
	}
	return "disconnected"
}
