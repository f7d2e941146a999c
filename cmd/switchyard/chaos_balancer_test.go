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

// A balancer passes requests on to replicas that are ready, in rotation. It
// passes a request on once, unless there was no connection to send it over.
type balancer struct {
	addr, url string
	doors     []*backendProxy
	turn      atomic.Uint64
}

// A backendProxy is the way to one replica.
type backendProxy struct {
	link      *link
	ready     atomic.Bool
	transport *http.Transport
}

// viaBalancer is a header of answers: which replica they are from, or that they
// are the balancer's own.
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
		b.doors = append(b.doors, d)
		work.Go(func() { d.watch(ctx) })
	}
	proxy := &httputil.ReverseProxy{
		Transport: b,
		Rewrite:   func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", b.addr },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			status := http.StatusBadGateway // it may or may not have arrived
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
		for _, d := range b.doors {
			d.transport.CloseIdleConnections()
		}
	})
	return b
}

// watch asks the replica whether it is ready, all the time.
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
		if body, e = io.ReadAll(req.Body); e != nil {
			return nil, e
		}
	}
	for range b.doors {
		d := b.doors[b.turn.Add(1)%uint64(len(b.doors))]
		if !d.ready.Load() {
			continue
		}
		try := req.Clone(req.Context())
		try.URL.Host = d.link.addr
		if req.Body != nil {
			try.Body = io.NopCloser(bytes.NewReader(body))
		}
		var resp *http.Response
		if resp, err = d.transport.RoundTrip(try); err == nil {
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
