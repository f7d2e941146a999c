package httpapi

import (
	"context"
	"runtime"
	"sync"

	"github.com/switchyard-wa/switchyard/domain"
)

// streamCaller identifies the caller for whom a stream counts.
type streamCaller struct {
	userID  string
	network string // "": exempt from the bound of networks
}

// streamNetwork returns the network that the streams of a request count for, or "" if it is exempt. Loopback addresses
// and trusted proxies are exempt, as in [Connections]: each stands for many clients.
func (c *requestContext) streamNetwork() string {
	ip := c.ip()
	if !ip.IsValid() || ip.IsLoopback() || domain.TrustedProxies(c.api.TrustedProxies).Contains(ip) {
		return ""
	}
	return domain.ClientNetwork(ip)
}

// streamCount counts open streams.
type streamCount struct {
	mu        sync.Mutex
	total     int
	byUser    map[string]int
	byNetwork map[string]int
	encoding  chan struct{} // holds a token for each stream that encodes an event
}

// newStreamCount returns a count of no streams. Half of the processors may encode events, so that
// streams that catch up leave the others to requests.
func newStreamCount() *streamCount {
	return &streamCount{
		byUser: make(map[string]int), byNetwork: make(map[string]int), encoding: make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1)),
	}
}

// encode runs fn when few others encode. It reports false if ctx ends before.
func (s *streamCount) encode(ctx context.Context, fn func()) bool {
	select {
	case s.encoding <- struct{}{}:
		defer func() { <-s.encoding }()
		fn()
		return true
	case <-ctx.Done():
		return false
	}
}

// begin counts a stream in, or returns the error of the bound that is reached.
func (s *streamCount) begin(c streamCaller) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.byUser[c.userID] >= maxStreamsPerUser:
		return domain.Errorf(domain.Exceeded, domain.CodeRateLimit,
			"%d streams of yours are open, which is the limit; close some of them, or use one stream for all sessions (GET /events)",
			maxStreamsPerUser).WithRetryAfter(defaultRetry)
	case c.network != "" && s.byNetwork[c.network] >= maxStreamsPerNetwork:
		return domain.Errorf(domain.Exceeded, domain.CodeRateLimit,
			"%d streams from your address are open, which is the limit; close some of them, use one stream for all sessions (GET /events), "+
				"or have your proxy named in --trusted-proxies", maxStreamsPerNetwork).WithRetryAfter(defaultRetry)
	case s.total >= maxStreams:
		return domain.Overloaded(defaultRetry, "Too many streams of events are open on this server; try again later, or read pages (GET /events without text/event-stream)")
	}
	s.total++
	s.byUser[c.userID]++
	if c.network != "" {
		s.byNetwork[c.network]++
	}
	return nil
}

// end counts a stream out.
func (s *streamCount) end(c streamCaller) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	decrement(s.byUser, c.userID)
	if c.network != "" {
		decrement(s.byNetwork, c.network)
	}
}

// decrement decrements a count, and removes it when it is zero.
func decrement(counts map[string]int, key string) {
	counts[key]--
	if counts[key] == 0 {
		delete(counts, key)
	}
}
