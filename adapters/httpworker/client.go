package httpworker

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
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
	// Node.js closes a connection that idles for 5 s; ours must be gone before.
	idleLife     = 4 * time.Second
	maxAnswer    = 16 << 20
	maxConns     = 1024
	dialLimit    = 5 * time.Second
	tries        = 3
	forgetAfter  = 10 * time.Minute // a worker that is not called
	sweepEvery   = time.Minute
	keptBuffer   = 64 << 10 // larger ones are not kept for reuse
	userAgent    = "switchyard"
	tripAfter    = 5 // failures in a row
	suspendedFor = 2 * time.Second
)

// Config refines a [Client]. The zero value is what the worker protocol says.
type Config struct {
	HealthLimit  time.Duration // for a health call; default 5 s
	CallLimit    time.Duration // for any other, with its repetitions; default 30 s
	RetryWait    time.Duration // before the second try, on average; default 100 ms, three times that before the third
	SuspendAfter uint32        // failures in a row to communicate; default 5
	SuspendFor   time.Duration // default 2 s, then one call tries
	QRLife       time.Duration // of a QR in an answer; default that of domain.DefaultTiming
	TLS          *tls.Config   // for https endpoints; default the system's roots
	// Dial opens a connection; default a net.Dialer. To refuse addresses, use
	// one whose Control does, for by then names have been resolved.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Now  func() time.Time // for the expiry of QR codes; default time.Now
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
	set(&c.SuspendFor, suspendedFor)
	set(&c.QRLife, domain.DefaultTiming().QRLife)
	if c.SuspendAfter == 0 {
		c.SuspendAfter = tripAfter
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

// With replaces the configuration; zero fields keep their defaults.
func With(c Config) Option { return func(to *Config) { *to = c } }

// Client is a ports.WorkerGateway over HTTP. Make one with [New]. It is safe for
// concurrent use.
type Client struct {
	cfg   Config
	token string

	mu      sync.RWMutex
	peers   map[string]*peer // by endpoint
	sweptAt time.Time
}

var _ ports.WorkerGateway = (*Client)(nil)

// New makes a client that shows workers the token, which is the fleet's: the
// tokens of their own that workers are handed serve the other direction alone. A
// worker is called before it has one, for its registration is not answered until
// its health route was, and after a restart; older ones never have one.
func New(token string, opts ...Option) *Client {
	var cfg Config
	for _, o := range opts {
		o(&cfg)
	}
	// A line break would end the header that holds the token.
	token = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, token)
	return &Client{cfg: cfg.withDefaults(), token: token, peers: map[string]*peer{}, sweptAt: time.Now()}
}

// Close closes the connections that idle. A client that is used again opens new ones.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for endpoint, p := range c.peers {
		p.host.CloseIdleConnections()
		delete(c.peers, endpoint)
	}
	return nil
}

// peer is what is kept of one endpoint: its connections, the part of the
// request head that is always the same, and the circuit breaker.
type peer struct {
	host          *fasthttp.HostClient
	prefix        string // of the path, without a trailing slash
	head          string // header lines, each with its line break
	breaker       atomic.Pointer[breaker]
	connectFailed atomic.Bool  // the latest failure was that no connection could be made
	lastUsed      atomic.Int64 // Unix seconds
}

type breaker = gobreaker.CircuitBreaker[struct{}]

// peer gives the entry of an endpoint, making it if need be.
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

// keep adds a peer, unless somebody was faster, and forgets those long unused:
// entries only pile up by adding, so that is when to look.
func (c *Client) keep(endpoint string, fresh *peer, now time.Time) *peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.peers[endpoint]; p != nil {
		return p
	}
	if now.Sub(c.sweptAt) >= sweepEvery {
		c.sweptAt = now
		old := now.Add(-forgetAfter).Unix()
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
	p := &peer{
		head: "Host: " + host + "\r\nUser-Agent: " + userAgent + "\r\nAccept: application/json\r\n" +
			"Authorization: Bearer " + c.token + "\r\n",
	}
	if hasPath {
		p.prefix = "/" + path
	}
	p.breaker.Store(c.newBreaker())
	secure := scheme == "https"
	p.host = &fasthttp.HostClient{
		Addr:                fasthttp.AddMissingPort(host, secure),
		MaxConns:            maxConns,
		MaxIdleConnDuration: idleLife,
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
		IsExcluded:  func(err error) bool { return errors.Is(err, errNoVerdict) },
	})
}

// healthy notes that the worker answers: if it was suspended because no
// connection could be made, that is over.
func (c *Client) healthy(p *peer) {
	b := p.breaker.Load()
	if p.connectFailed.Load() && b.State() != gobreaker.StateClosed {
		p.breaker.CompareAndSwap(b, c.newBreaker())
	}
}

// dial opens a connection, with TLS if asked for, in no more than the limit.
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
	cfg.NextProtos = nil // HTTP/1.1 is all we speak
	over := tls.Client(conn, cfg)
	if err := over.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return over, nil
}
