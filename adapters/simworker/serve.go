package simworker

import (
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
	goodbye         = 5 * time.Second // for leaving the control plane
	shutdownTimeout = 5 * time.Second // for requests that are under way
	// The longest between two looks at a lease that runs, and at whether there is one.
	leased   = time.Second
	unleased = 50 * time.Millisecond
)

// ServeConfig says how a worker is served. The zero value works.
type ServeConfig struct {
	Token   string        // that callers have to show; empty: none
	Latency time.Duration // added to each call, health excepted
	Log     *slog.Logger  // default: none
}

// EndpointOf gives the endpoint of a listener's address, for callers on this
// machine if it listens everywhere.
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

// ErrCrashed is what Serve returns if the worker crashed meanwhile.
var ErrCrashed = errors.New("the worker crashed")

// Serve serves the worker protocol on the listener and drives the worker in
// real time, until the context ends; then the worker stops gracefully. If the
// worker crashes, everything is closed at once, as it is when a process ends. A
// worker without an endpoint gets the listener's. The listener is closed. If the
// worker's state cannot be read it is not served: it might start what it was told
// to stop for good.
func Serve(ctx context.Context, ln net.Listener, w *Worker, cfg ServeConfig) error {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	wake := make(chan struct{}, 1)
	callers := &callers{open: map[net.Conn]struct{}{}}
	w.mu.Lock()
	if err := w.damage; err != nil {
		w.mu.Unlock()
		return errors.Join(fmt.Errorf("reading the state of worker %s: %w", w.cfg.ID, err), ln.Close())
	}
	w.hangUp = callers.hangUp
	if w.cfg.Endpoint == "" {
		w.cfg.Endpoint = EndpointOf(ln.Addr())
	}
	w.onDue = func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	endpoint := w.cfg.Endpoint
	w.mu.Unlock()

	server := &http.Server{
		Handler: Handler(w, cfg), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, ConnState: callers.note,
		ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	cfg.Log.Info("simulated worker serves", "worker", w.cfg.ID, "endpoint", endpoint)

	driving, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	crashed := make(chan struct{})
	wg.Go(func() {
		if drive(driving, w, wake, cfg.Log) {
			close(crashed)
		}
	})
	wg.Go(func() { watchLease(driving, w) })
	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
	case <-crashed:
		err = ErrCrashed
		_ = server.Close()
	}
	stop()
	wg.Wait()
	if errors.Is(err, ErrCrashed) {
		return err
	}

	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	if e := w.Stop(leaving); e != nil {
		cfg.Log.Warn("the control plane was not told that the worker stops", "worker", w.cfg.ID, "error", e)
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if e := server.Shutdown(ending); e != nil {
		_ = server.Close() // what is under way has had its time
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// callers are the connections that are open. When a process that was paused goes
// on, requests may lie in them that were sent long ago, and that nobody waits for
// any more.
type callers struct {
	mu   sync.Mutex
	open map[net.Conn]struct{}
}

func (c *callers) note(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.open[conn] = struct{}{}
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	}
}

// hangUp closes them all. What is being done for a caller sees its context end.
func (c *callers) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		_ = conn.Close() // it may be closed already
	}
}

// drive steps the worker whenever something is due, until the context ends or
// the worker crashes.
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
			log.Info("simulated worker", "worker", w.cfg.ID, "registered", r)
		}
		said := ""
		if err := w.Refusal(); err != nil && ctx.Err() == nil {
			said = err.Error()
		}
		if said != refusal && said != "" {
			log.Warn("simulated worker cannot register and goes on trying", "worker", w.cfg.ID, "error", said)
		}
		refusal = said
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(max(next.Sub(w.cfg.Now()), 0))
		}
	}
}

// watchLease stops the sessions in time even while Tick waits for an answer.
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
		next := unleased
		if end := w.LeaseEnd(); end.After(now) {
			next = min(leased, end.Sub(now))
		}
		timer.Reset(next)
	}
}

// Handler is the HTTP side of a worker, below the path of its endpoint, which a
// proxy may have taken off.
func Handler(w *Worker, cfg ServeConfig) http.Handler {
	h := &handler{w: w, cfg: cfg, token: sha256.Sum256([]byte("Bearer " + cfg.Token))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", h.health)
	mux.HandleFunc("POST /api/sessions/start", h.call(h.start))
	mux.HandleFunc("GET /api/sessions", h.call(h.list))
	mux.HandleFunc("GET /api/sessions/{id}/status", h.call(h.status))
	mux.HandleFunc("POST /api/sessions/{id}/restart", h.call(h.order(w.Restart)))
	mux.HandleFunc("POST /api/sessions/{id}/disconnect", h.call(h.order(w.Disconnect)))
	mux.HandleFunc("POST /api/sessions/{id}/logout", h.call(h.order(w.Logout)))
	mux.HandleFunc("DELETE /api/sessions/{id}", h.call(h.order(w.Delete)))
	mux.HandleFunc("POST /api/{id}/send", h.call(h.send))
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

func (h *handler) mayCall(r *http.Request) bool {
	said := sha256.Sum256([]byte(r.Header.Get("Authorization")))
	return h.cfg.Token == "" || subtle.ConstantTimeCompare(said[:], h.token[:]) == 1
}

// wait waits unless the caller goes away.
func wait(ctx context.Context, d time.Duration) bool {
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

// word is what workers call a session's status.
func word(r domain.Report, starting bool) string {
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
