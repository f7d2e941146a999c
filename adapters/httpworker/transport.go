package httpworker

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-wa/switchyard/ports"
)

// past as a deadline ends whatever a connection is doing.
var past = time.Unix(1, 0)

// exchange sends one request, given as it goes over the wire, and reads the
// answer into resp. If a connection that was kept alive turns out to have been
// closed before anything came back, a request that may have gone out is sent
// again only as often as left says, which counts it down; nil is never.
//
// fasthttp's own Do is not used because it does not tell a request that never
// left from one that may have arrived, and knows no context. Its pool, its
// buffers and its parser are.
func (c *Client) exchange(ctx context.Context, p *peer, wire []byte, deadline time.Time, left *int, resp *fasthttp.Response) *ports.WorkerError {
	for {
		limit := time.Until(deadline)
		if ctx.Err() != nil || limit <= 0 {
			return notSent(ctx)
		}
		cc, err := acquire(ctx, p.host.IdleConnsCount() > 0 || ctx.Done() == nil, p.host, limit)
		if err != nil {
			return notConnected(ctx, err)
		}
		conn, last := cc.Conn(), cc.LastUseTime()
		reused := !last.IsZero()
		if reused && (time.Since(last) > idleLife || closedByPeer(conn)) {
			p.host.CloseConn(cc)
			continue
		}

		_ = conn.SetDeadline(deadline)
		unwatch := func() bool { return true }
		if ctx.Done() != nil {
			unwatch = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(past) })
		}
		n, err := conn.Write(wire)
		var extra bool
		if err == nil {
			br := p.host.AcquireReader(conn)
			err = resp.ReadLimitBody(br, maxAnswer)
			extra = br.Buffered() > 0 // the next answer would be misread
			p.host.ReleaseReader(br)
		}
		// Once the watch has fired, it may still set its deadline.
		if unwatch() && err == nil && !extra && !resp.ConnectionClose() {
			p.host.ReleaseConn(cc)
			return nil
		}
		p.host.CloseConn(cc)
		if err == nil {
			return nil
		}
		if reused && ctx.Err() == nil {
			// The worker closed it while it idled: nothing went out, or a
			// second time does no harm. Each such connection is tried once.
			if n == 0 {
				continue
			}
			if left != nil && *left > 0 && errors.Is(err, io.EOF) {
				*left--
				continue
			}
		}
		return interrupted(ctx, n, err)
	}
}

// pool is what acquire needs of a fasthttp.HostClient, whose connections have a
// type without a name.
type pool[C any] interface {
	AcquireConn(limit time.Duration, close bool) (C, error)
	ReleaseConn(C)
}

// acquire gets a connection. Unless that is quick, the end of the context need
// not wait for it; a connection that comes too late is kept for others.
func acquire[C any](ctx context.Context, quick bool, from pool[C], limit time.Duration) (C, error) {
	if quick {
		return from.AcquireConn(limit, false)
	}
	type result struct {
		conn C
		err  error
	}
	done := make(chan result, 1)
	go func() {
		conn, err := from.AcquireConn(limit, false)
		done <- result{conn, err}
	}()
	select {
	case r := <-done:
		return r.conn, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil {
				from.ReleaseConn(r.conn)
			}
		}()
		var none C
		return none, ctx.Err()
	}
}
