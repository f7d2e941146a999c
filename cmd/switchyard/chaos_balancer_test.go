package main_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// balancer forwards requests to ready replicas in rotation. It forwards a request
// once, unless it could not open a connection to send it over.
type balancer struct {
	addr, url string
	backends  []*backendProxy
	next      atomic.Uint64
}

// backendProxy is the connection pool to one replica.
type backendProxy struct {
	link      *link
	ready     atomic.Bool
	transport *http.Transport
}

// viaBalancer is a header of responses. It names the replica, or the balancer for a
// response of its own.
const viaBalancer = "X-Balancer"

var errNobody = errors.New("no replica is ready")

func newBalancer(t testing.TB, s *scene) *balancer {
	t.Helper()
	listener, err := net.Listen("tcp", address()+":0")
	require.NoError(t, err)
	b := &balancer{addr: listener.Addr().String()}
	b.url = "http://" + b.addr
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	for n := range s.size.replicas {
		d := &backendProxy{link: s.links[toReplica(n+1)], transport: &http.Transport{MaxIdleConnsPerHost: 128, DisableCompression: true}}
		b.backends = append(b.backends, d)
		work.Go(func() { d.watch(ctx) })
	}
	proxy := &httputil.ReverseProxy{
		Transport: b,
		Rewrite:   func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", b.addr },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			status := http.StatusBadGateway // the request may have arrived
			if errors.Is(err, errNobody) {
				status = http.StatusServiceUnavailable
			}
			w.Header().Set(viaBalancer, err.Error())
			w.WriteHeader(status)
		},
	}
	web := &http.Server{Handler: proxy, ReadHeaderTimeout: patience}
	work.Go(func() { _ = web.Serve(listener) })
	t.Cleanup(func() {
		web.Close()
		cancel()
		work.Wait()
		for _, d := range b.backends {
			d.transport.CloseIdleConnections()
		}
	})
	return b
}

// watch polls the readiness of the replica.
func (d *backendProxy) watch(ctx context.Context) {
	web := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		req, err := http.NewRequestWithContext(ctx, "GET", "http://"+d.link.addr+"/readyz", nil)
		if err != nil {
			panic(err)
		}
		resp, err := web.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		d.ready.Store(err == nil && resp.StatusCode == http.StatusOK)
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return
		}
	}
}

// RoundTrip implements http.RoundTripper.
func (b *balancer) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	err := errNobody
	if req.Body != nil {
		var e error
		body, e = io.ReadAll(req.Body)
		if e != nil {
			return nil, e
		}
	}
	for range b.backends {
		d := b.backends[b.next.Add(1)%uint64(len(b.backends))]
		if !d.ready.Load() {
			continue
		}
		try := req.Clone(req.Context())
		try.URL.Host = d.link.addr
		if req.Body != nil {
			try.Body = io.NopCloser(bytes.NewReader(body))
		}
		var resp *http.Response
		resp, err = d.transport.RoundTrip(try)
		if err == nil {
			resp.Header.Set(viaBalancer, d.link.name)
			return resp, nil
		}
		var dialing *net.OpError
		if !errors.As(err, &dialing) || dialing.Op != "dial" {
			return nil, err
		}
		err = errors.Join(errNobody, err)
	}
	return nil, err
}
