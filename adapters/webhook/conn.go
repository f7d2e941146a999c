package webhook

import (
	"context"
	"fmt"
	"net"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// errLate is the error of a write after that time.
var errLate = fmt.Errorf("the process was paused during the attempt: %w", context.DeadlineExceeded)

// punctualConn is a connection that writes nothing after the time that its present request names. The timer
// of a context does not ensure that:
//
//	request: connects ──(process paused)── resumes: the connection is ready, the request is written
//	timer:                                 resumes: cancels the request, too late
type punctualConn struct {
	net.Conn
	notAfter atomic.Int64 // microseconds since 1970; 0: any time
}

// Write writes to the connection.
func (c *punctualConn) Write(p []byte) (int, error) {
	if notAfter := c.notAfter.Load(); notAfter != 0 && time.Now().UnixMicro() > notAfter {
		return 0, errLate
	}
	return c.Conn.Write(p)
}

// dialFunc connects to host:port.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// punctual returns a dialFunc whose connections are punctual.
func (d dialFunc) punctual(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &punctualConn{Conn: c}, nil
}

// withNotAfter returns a context for a request whose connection writes nothing after a time. The zero time
// is no bound. It needs connections that serve one request at a time.
func withNotAfter(ctx context.Context, notAfter time.Time) context.Context {
	var micros int64
	if !notAfter.IsZero() {
		micros = notAfter.UnixMicro()
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		for conn := i.Conn; conn != nil; {
			switch c := conn.(type) {
			case *punctualConn:
				c.notAfter.Store(micros)
				return
			case interface{ NetConn() net.Conn }: // TLS
				conn = c.NetConn()
			default:
				return
			}
		}
	}})
}
