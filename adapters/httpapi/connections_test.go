package httpapi

import (
	"bufio"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// farListener makes clients at 127.0.0.N clients at 203.0.113.N, since loopback is exempt.
type farListener struct{ net.Listener }

func (l farListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	addr := *conn.RemoteAddr().(*net.TCPAddr)
	addr.IP = net.IPv4(203, 0, 113, addr.IP.To4()[3])
	return farConn{conn, &addr}, nil
}

type farConn struct {
	net.Conn
	addr *net.TCPAddr
}

func (c farConn) RemoteAddr() net.Addr { return c.addr }

// limitedServer serves the API under limits.
func limitedServer(t *testing.T, l ConnectionLimits, around func(net.Listener) net.Listener) (*httptest.Server, *Connections) {
	t.Helper()
	connections := NewConnections(l)
	server := httptest.NewUnstartedServer(New(config(&stub{})))
	server.Listener = connections.Listen(around(server.Listener))
	connections.Watch(server.Config)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // connections that had to go
	t.Cleanup(server.Close)
	return server, connections
}

func far(l net.Listener) net.Listener  { return farListener{l} }
func near(l net.Listener) net.Listener { return l }

// dial opens a connection from 127.0.0.N.
func dial(t *testing.T, server *httptest.Server, n byte) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, n)}}
	conn, err := d.DialContext(t.Context(), "tcp4", server.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	return conn
}

// askOn sends a request on a connection and returns the status, or 0 if it is closed.
func askOn(conn net.Conn, path, token string) int {
	r := request("GET", path, token, "")
	r.Host = "localhost"
	if err := r.Write(conn); err != nil {
		return 0
	}
	return answered(conn)
}

func answered(conn net.Conn) int {
	got, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, got.Body)
	_ = got.Body.Close()
	return got.StatusCode
}

// isClosed reports that the server has closed a connection, once it has.
func isClosed(conn net.Conn) bool {
	_, err := conn.Read(make([]byte, 1))
	var timeout net.Error
	return err != nil && !(errors.As(err, &timeout) && timeout.Timeout())
}

func TestConnections_SilentOnesOfOneAddress_MakeRoomForNewcomers(t *testing.T) {
	server, connections := limitedServer(t, ConnectionLimits{Unauthenticated: 100}, far)
	server.Start()
	var silent []net.Conn
	for range 500 {
		silent = append(silent, dial(t, server, 7))
	}
	require.Equal(t, http.StatusOK, askOn(dial(t, server, 7), "/health", ""), "the address itself")
	require.Equal(t, http.StatusOK, askOn(dial(t, server, 8), "/health", ""), "another one")
	require.True(t, isClosed(silent[0]), "the oldest had to go")
	require.LessOrEqual(t, connections.CountOpen(), 102)
}

// A header that trickles in is no request yet.
func TestConnections_HalfRequests_MakeRoomForNewcomers(t *testing.T) {
	server, _ := limitedServer(t, ConnectionLimits{Unauthenticated: 3}, far)
	server.Start()
	for range 10 {
		_, err := io.WriteString(dial(t, server, 7), "GET /health HTTP/1.1\r\nX-Slow: ")
		require.NoError(t, err)
	}
	require.Equal(t, http.StatusOK, askOn(dial(t, server, 7), "/health", ""))
}

func TestConnections_RequestsRun_AreNotCutOff(t *testing.T) {
	server, _ := limitedServer(t, ConnectionLimits{Unauthenticated: 3}, far)
	server.Start()
	var busy []net.Conn
	for range 3 {
		conn := dial(t, server, 7)
		_, err := io.WriteString(conn, "POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: "+
			strconv.Itoa(len(goodLogin))+"\r\nExpect: 100-continue\r\n\r\n")
		require.NoError(t, err)
		line, err := bufio.NewReader(conn).ReadString('\n')
		require.NoError(t, err)
		require.Contains(t, line, "100 Continue", "the handler reads the body")
		busy = append(busy, conn)
	}
	require.True(t, isClosed(dial(t, server, 7)), "there is no room, and nobody to go")
	require.Equal(t, http.StatusOK, askOn(dial(t, server, 8), "/health", ""))
	for _, conn := range busy {
		_, err := io.WriteString(conn, goodLogin)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, answered(conn))
	}
}

// Clients who have shown a credential keep their connections, but not endlessly many.
func TestConnections_Authenticated_AreKept(t *testing.T) {
	server, connections := limitedServer(t, ConnectionLimits{Unauthenticated: 2}, far)
	server.Start()
	var known []net.Conn
	for range 19 {
		conn := dial(t, server, 7)
		require.Equal(t, http.StatusOK, askOn(conn, "/api/v1/auth/me", userToken))
		known = append(known, conn)
	}
	require.Equal(t, http.StatusUnauthorized, askOn(dial(t, server, 7), "/api/v1/auth/me", "garbage"), "which is no credential")
	for _, conn := range known {
		require.Equal(t, http.StatusOK, askOn(conn, "/api/v1/auth/me", userToken))
	}
	require.True(t, isClosed(dial(t, server, 7)), "ten times as many in all")
	for _, conn := range known {
		require.NoError(t, conn.Close())
	}
	require.Eventually(t, func() bool { return connections.CountOpen() <= 1 }, 10*time.Second, time.Millisecond)
	require.Equal(t, http.StatusOK, askOn(dial(t, server, 7), "/health", ""))
}

// Loopback and trusted proxies stand for many clients. The total binds them, and silent
// connections make room.
func TestConnections_LoopbackAndProxies_AreBoundByTheTotalAlone(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	for name, around := range map[string]func(net.Listener) net.Listener{"loopback": near, "proxy": far} {
		t.Run(name, func(t *testing.T) {
			server, connections := limitedServer(t, ConnectionLimits{Unauthenticated: 1, Total: 20, TrustedProxies: proxies}, around)
			server.Start()
			var open []net.Conn
			for range 19 {
				conn := dial(t, server, 7)
				require.Equal(t, http.StatusOK, askOn(conn, "/health", ""))
				open = append(open, conn)
			}
			for _, conn := range open {
				require.Equal(t, http.StatusOK, askOn(conn, "/health", ""))
			}
			for range 50 {
				dial(t, server, 7)
			}
			require.Equal(t, http.StatusOK, askOn(dial(t, server, 7), "/health", ""))
			require.LessOrEqual(t, connections.CountOpen(), 20)
		})
	}
}

func TestConnections_TLS_AreCountedToo(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		server, connections := limitedServer(t, ConnectionLimits{Unauthenticated: 2}, far)
		server.EnableHTTP2 = http2
		server.StartTLS()
		get := func(token string) int {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/api/v1/auth/me", nil)
			require.NoError(t, err)
			r.Header.Set("Authorization", "Bearer "+token)
			got, err := server.Client().Do(r)
			require.NoError(t, err)
			_, _ = io.Copy(io.Discard, got.Body)
			require.NoError(t, got.Body.Close())
			return got.StatusCode
		}
		require.Equal(t, http.StatusOK, get(userToken))
		for range 10 {
			dial(t, server, 1)
		}
		require.Equal(t, http.StatusOK, get(userToken), "the connection that authenticated is still there")
		require.Equal(t, http.StatusOK, get(userToken))
		require.LessOrEqual(t, connections.CountOpen(), 3)
	}
}
