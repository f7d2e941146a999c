package httpworker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
	"github.com/valyala/fasthttp"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const (
	// Node.js closes a connection that was idle for 5 s. The client closes it earlier.
	idleConnLife        = 4 * time.Second
	maxResponse         = 16 << 20
	maxConns            = 1024
	dialLimit           = 5 * time.Second
	maxAttempts         = 3
	idleEntryLife       = 10 * time.Minute // since the latest call of a worker
	sweepEvery          = time.Minute
	maxPooledBuffer     = 64 << 10 // bytes; larger buffers are not pooled
	userAgent           = "switchyard"
	defaultSuspendAfter = 5 // consecutive failures
	defaultSuspendFor   = 2 * time.Second
)

// Config refines a [Client]. The zero value has the values of the worker protocol.
type Config struct {
	HealthLimit  time.Duration // time limit of a health call; default 5 s
	CallLimit    time.Duration // time limit of any other call, retries included; default 30 s
	RetryWait    time.Duration // mean delay before the second attempt, tripled before the third; default 100 ms
	SuspendAfter uint32        // consecutive failures to communicate that open the circuit; default 5
	SuspendFor   time.Duration // how long the circuit stays open before one call probes; default 2 s
	QRLife       time.Duration // lifetime of a QR in a response; default domain.Timing.QRLife of the core
	TLS          *tls.Config   // for https endpoints; default the system's roots
	// Dial opens a connection; default a net.Dialer. To refuse addresses, use a
	// net.Dialer with Control: it sees the address after the name was resolved.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Now  func() time.Time // clock for the expiry of QR codes; default time.Now
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&c.HealthLimit, 5*time.Second)
	set(&c.CallLimit, 30*time.Second)
	set(&c.RetryWait, 100*time.Millisecond)
	set(&c.SuspendFor, defaultSuspendFor)
	if c.SuspendAfter == 0 {
		c.SuspendAfter = defaultSuspendAfter
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Option changes the configuration of a [Client].
type Option func(*Config)

// With replaces the configuration. Zero fields keep their defaults.
func With(c Config) Option { return func(to *Config) { *to = c } }

// Client implements ports.WorkerGateway over HTTP. [New] returns one. It is safe
// for concurrent use.
type Client struct {
	cfg    Config
	fleet  string // the fleet token
	tokens *domain.WorkerTokens
	// streams sends the requests for media.
	streams *http.Client

	mu      sync.RWMutex
	peers   map[string]*peer // by endpoint
	sweptAt time.Time
}

var _ ports.WorkerGateway = (*Client)(nil)

// New returns a client with the fleet token. A worker with an own token is shown the
// call token of its registration, and never the fleet token. An endpoint without a
// worker id is shown no token.
func New(token string, opts ...Option) *Client {
	var cfg Config
	for _, o := range opts {
		o(&cfg)
	}
	// A line break would end the header that holds the token.
	fleet := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, token)
	c := &Client{cfg: cfg.withDefaults(), fleet: fleet, tokens: domain.NewWorkerTokens(token), peers: map[string]*peer{}, sweptAt: time.Now()}
	c.streams = c.newStreams()
	return c
}

// Close closes the idle connections. A client that is used again opens new ones.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for endpoint, p := range c.peers {
		p.host.CloseIdleConnections()
		delete(c.peers, endpoint)
	}
	c.streams.CloseIdleConnections()
	return nil
}

// peer holds the connections to one endpoint, the request heads, and the circuit
// breaker.
type peer struct {
	host          *fasthttp.HostClient
	prefix        string      // of the path, without a trailing slash
	secure        bool        // over TLS
	head          requestHead // without a token
	fleetHead     requestHead // with the fleet token
	ownHead       atomic.Pointer[ownHead]
	breaker       atomic.Pointer[breaker]
	connectFailed atomic.Bool  // the latest failure was a failure to connect
	lastUsed      atomic.Int64 // Unix seconds
}

// requestHead holds the constant header lines of a request, each with its line break.
type requestHead struct {
	lines        string
	hasCallToken bool
}

// ownHead is the request head with the call token of one worker in one epoch.
type ownHead struct {
	workerID, epoch string
	requestHead
}

// headFor returns the request head for calls to a worker at the endpoint.
func (c *Client) headFor(p *peer, w ports.WorkerRef) requestHead {
	switch {
	case w.ID == "":
		return p.head
	case w.TokenEpoch == "" || !slices.Contains(w.Capabilities, domain.CapOwnToken):
		return p.fleetHead
	}
	own := p.ownHead.Load()
	if own == nil || own.workerID != w.ID || own.epoch != w.TokenEpoch {
		own = &ownHead{w.ID, w.TokenEpoch, requestHead{p.head.lines + authorization(c.tokens.Call(w.ID, w.TokenEpoch)), true}}
		p.ownHead.Store(own)
	}
	return own.requestHead
}

// authorization returns the header line that shows the token.
func authorization(token string) string { return "Authorization: Bearer " + token + "\r\n" }

type breaker = gobreaker.CircuitBreaker[struct{}]

// peer returns the entry of an endpoint. It adds the entry if there is none.
func (c *Client) peer(endpoint string) (*peer, *ports.WorkerError) {
	now := time.Now()
	c.mu.RLock()
	p := c.peers[endpoint]
	c.mu.RUnlock()
	if p == nil {
		fresh, err := c.newPeer(endpoint)
		if err != nil {
			return nil, &ports.WorkerError{Failure: ports.WorkerUnreachable, Message: "The worker's endpoint is not a valid address", Err: err}
		}
		p = c.keep(endpoint, fresh, now)
	}
	p.lastUsed.Store(now.Unix())
	return p, nil
}

// keep adds a peer and returns it, or returns the peer that another caller added
// first. It also removes peers that were not used for long: only adding makes
// the map grow.
func (c *Client) keep(endpoint string, fresh *peer, now time.Time) *peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.peers[endpoint]; p != nil {
		return p
	}
	if now.Sub(c.sweptAt) >= sweepEvery {
		c.sweptAt = now
		old := now.Add(-idleEntryLife).Unix()
		for e, p := range c.peers {
			if p.lastUsed.Load() < old {
				p.host.CloseIdleConnections()
				delete(c.peers, e)
			}
		}
	}
	fresh.lastUsed.Store(now.Unix())
	c.peers[endpoint] = fresh
	return fresh
}

func (c *Client) newPeer(endpoint string) (*peer, error) {
	canonical, err := domain.ParseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	scheme, rest, _ := strings.Cut(canonical, "://")
	host, path, hasPath := strings.Cut(rest, "/")
	secure := scheme == "https"
	lines := "Host: " + host + "\r\nUser-Agent: " + userAgent + "\r\nAccept: application/json\r\n"
	p := &peer{secure: secure, head: requestHead{lines: lines}, fleetHead: requestHead{lines: lines + authorization(c.fleet)}}
	if hasPath {
		p.prefix = "/" + path
	}
	p.breaker.Store(c.newBreaker())
	p.host = &fasthttp.HostClient{
		Addr:                fasthttp.AddMissingPort(host, secure),
		MaxConns:            maxConns,
		MaxIdleConnDuration: idleConnLife,
		MaxConnWaitTimeout:  c.cfg.CallLimit,
		ReadBufferSize:      8 << 10,
		ConnPoolStrategy:    fasthttp.LIFO,
		DialTimeout: func(addr string, limit time.Duration) (net.Conn, error) {
			return c.dial(addr, limit, secure)
		},
	}
	return p, nil
}

func (c *Client) newBreaker() *breaker {
	return gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Timeout:     c.cfg.SuspendFor,
		ReadyToTrip: func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= c.cfg.SuspendAfter },
		IsExcluded:  func(err error) bool { return errors.Is(err, errNotCounted) },
	})
}

// closeCircuit closes the circuit of a worker that answered its health check, if
// failures to connect had opened it.
func (c *Client) closeCircuit(p *peer) {
	b := p.breaker.Load()
	if p.connectFailed.Load() && b.State() != gobreaker.StateClosed {
		p.breaker.CompareAndSwap(b, c.newBreaker())
	}
}

// dial opens a connection within the limit. It adds TLS if secure is set.
func (c *Client) dial(addr string, limit time.Duration, secure bool) (net.Conn, error) {
	if limit <= 0 || limit > dialLimit {
		limit = dialLimit
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	conn, err := c.cfg.Dial(ctx, "tcp", addr)
	if err != nil || !secure {
		return conn, err
	}
	cfg := new(tls.Config)
	if c.cfg.TLS != nil {
		cfg = c.cfg.TLS.Clone()
	}
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(addr)
	}
	cfg.NextProtos = nil // the client speaks HTTP/1.1 only
	over := tls.Client(conn, cfg)
	if err := over.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%w: %w", errHandshake, err)
	}
	return over, nil
}
