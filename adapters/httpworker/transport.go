package httpworker

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-wa/switchyard/ports"
)

// earlyAnswer is how long a worker's answer to a request that it did not read may take.
const earlyAnswer = time.Second

// pastDeadline is a deadline that interrupts whatever a connection is doing.
var pastDeadline = time.Unix(1, 0)

// exchange writes one request and reads the response into resp.
//
// A pooled connection may turn out to be closed before any byte of a response
// came back. If nothing was written, exchange uses another connection. If the
// request may have been written, it writes it again while retriesLeft is positive, and
// decrements retriesLeft. A nil retriesLeft forbids that. earlier is the failure of the last
// request that may have been written before; nil: there was none.
func (c *Client) exchange(ctx context.Context, p *peer, wire payload, deadline time.Time, retriesLeft *int, resp *fasthttp.Response) (failure, earlier *ports.WorkerError) {
	for {
		limit := time.Until(deadline)
		if ctx.Err() != nil || limit <= 0 {
			return notSentError(ctx), earlier
		}
		cc, err := acquire(ctx, p.host.IdleConnsCount() > 0 || ctx.Done() == nil, p.host, limit)
		if err != nil {
			return connectError(ctx, err), earlier
		}
		conn, last := cc.Conn(), cc.LastUseTime()
		reused := !last.IsZero()
		if reused && (time.Since(last) > idleConnLife || closedByPeer(conn)) {
			p.host.CloseConn(cc)
			continue
		}

		_ = conn.SetDeadline(deadline)
		unwatch := func() bool { return true }
		if ctx.Done() != nil {
			unwatch = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(pastDeadline) })
		}
		n, err := wire.writeTo(conn)
		isCut := err != nil
		var extra, needsTLS bool
		if isCut && wire.file != nil && ctx.Err() == nil && wasClosed(err) {
			// A worker that refuses a large request may answer and close before it has read all.
			_ = conn.SetReadDeadline(time.Now().Add(earlyAnswer))
			br := p.host.AcquireReader(conn)
			if resp.ReadLimitBody(br, maxResponse) == nil {
				err = nil
				resp.SetConnectionClose()
			} else {
				resp.Reset()
			}
			p.host.ReleaseReader(br)
		} else if err == nil {
			br := p.host.AcquireReader(conn)
			err = resp.ReadLimitBody(br, maxResponse)
			extra = br.Buffered() > 0 // the next response would start in the middle
			if err != nil {
				head, _ := br.Peek(min(2, br.Buffered()))
				needsTLS = speaksTLS(head)
			}
			p.host.ReleaseReader(br)
		}
		// A watch that has fired may still set its deadline.
		if unwatch() && err == nil && !extra && !resp.ConnectionClose() {
			p.host.ReleaseConn(cc)
			return nil, earlier
		}
		p.host.CloseConn(cc)
		switch {
		case err == nil:
			return nil, earlier
		case needsTLS:
			return &ports.WorkerError{Failure: ports.WorkerUnreachable, Message: msgNeedsTLS, Err: err}, earlier
		}
		if reused && ctx.Err() == nil {
			// The worker closed the idle connection: nothing was written, or a
			// repetition is harmless. Each such connection is used once.
			if n == 0 {
				continue
			}
			if retriesLeft != nil && *retriesLeft > 0 && errors.Is(err, io.EOF) {
				*retriesLeft--
				earlier = exchangeError(ctx, n, err)
				continue
			}
		}
		failure := exchangeError(ctx, n, err)
		// A worker cannot execute a request that was not written to its end.
		failure.NotSent = failure.NotSent || isCut && wire.file != nil
		return failure, earlier
	}
}

// wasClosed reports whether a write failed because the worker closed the connection.
func wasClosed(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !timedOut(err)
}

// pool is the part of fasthttp.HostClient that acquire uses. The type parameter
// stands for the connection type, which has no name.
type pool[C any] interface {
	AcquireConn(limit time.Duration, close bool) (C, error)
	ReleaseConn(C)
}

// acquire returns a connection from the pool, or a new one. Unless quick is set,
// it returns as soon as the context ends. A connection that arrives after that
// goes back to the pool.
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
