package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

// upload begins a request with a body of an announced length, and returns the connection.
func upload(t *testing.T, server *httptest.Server, path, token string, announced int) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
		path, token, announced)
	require.NoError(t, err)
	return conn
}

func serverWith(t *testing.T, bodyMemory int64) (*httptest.Server, *api) {
	t.Helper()
	cfg := config(&stub{})
	cfg.BodyMemory = bodyMemory
	a := newAPI(cfg)
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	return server, a
}

func (m *bodyMemory) left() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.free
}

// An announced length costs nothing: 100 connections that announce 16 MiB and send a byte
// took 1.6 GB.
func TestBodies_AnnouncedOnly_TakeNoMemory(t *testing.T) {
	server, a := serverWith(t, 0)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var waiting []net.Conn
	for range 100 {
		conn := upload(t, server, "/api/v1/sendImage", keyText, maxMedia)
		_, err := io.WriteString(conn, "{")
		require.NoError(t, err)
		waiting = append(waiting, conn)
	}
	// An answer that came later shows that the handlers of the others have begun.
	for range 3 {
		_, err := http.Get(server.URL + "/health")
		require.NoError(t, err)
	}
	runtime.ReadMemStats(&after)
	assert.Less(t, int64(after.TotalAlloc-before.TotalAlloc), int64(64<<20), "bytes allocated for 100 bodies of a byte")
	assert.Equal(t, int64(defaultBodyMemory), a.bodies.left())
	for _, conn := range waiting {
		require.NoError(t, conn.Close())
	}
}

func TestBodies_MemoryUsedUp_IsOverloaded(t *testing.T) {
	server, a := serverWith(t, 1<<20)
	half := strings.Repeat(" ", 400<<10)
	slow := upload(t, server, "/api/v1/sendImage", keyText, 1<<20)
	_, err := io.WriteString(slow, half)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return a.bodies.left() <= 1<<20-400<<10 }, 10*time.Second, time.Millisecond)

	// The same user is refused, others and small bodies are not.
	refused := upload(t, server, "/api/v1/sendImage", keyText, 1<<20)
	_, err = io.WriteString(refused, half)
	require.NoError(t, err)
	got, err := http.ReadResponse(bufio.NewReader(refused), nil)
	require.NoError(t, err)
	body, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusServiceUnavailable, got.StatusCode)
	require.Contains(t, string(body), `"code":"OVERLOADED"`)
	require.Equal(t, "1", got.Header.Get("Retry-After"))

	post := func(path, token, body string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+token)
		got, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, got.Body)
		require.NoError(t, got.Body.Close())
		return got.StatusCode
	}
	image := bodies["POST /sendImage"]
	require.Equal(t, http.StatusOK, post("/api/v1/sendImage", keyText, image), "a small body of the same user")
	large := image[:len(image)-1] + strings.Repeat(" ", 200<<10) + "}"
	require.Equal(t, http.StatusCreated, post("/api/v1/workers", adminToken, strings.Replace(large, "{", `{"endpoint":"http://10.0.0.5:8001",`, 1)), "a large body of another user")

	require.NoError(t, slow.Close())
	require.Eventually(t, func() bool { return a.bodies.left() == 1<<20 }, 10*time.Second, time.Millisecond, "everything is given back")
	require.Equal(t, http.StatusOK, post("/api/v1/sendImage", keyText, large))
}

// Each greedy caller leaves as much for the next one as it holds itself.
func TestBodyMemory_GreedyCallers_LeaveRoom(t *testing.T) {
	m := newBodyMemory(100)
	take := func(caller string) (n int64) {
		for m.reserve(caller, 1) {
			n++
		}
		return n
	}
	require.Equal(t, int64(50), take("a"))
	require.Equal(t, int64(25), take("b"))
	require.Equal(t, int64(13), take("c"))
	require.True(t, m.reserve("d", 1))
	m.release("a", 50)
	m.release("b", 25)
	m.release("c", 13)
	m.release("d", 1)
	require.Equal(t, int64(100), m.left())
	require.Empty(t, m.held)
}

func TestBodyTime_Size_Scales(t *testing.T) {
	assert.Equal(t, bodyGrace, bodyTime(0))
	assert.InDelta(t, 17.7, bodyTime(1<<20).Seconds(), 0.1)
	assert.InDelta(t, 57.7, bodyTime(maxMedia).Seconds(), 0.1)
	assert.Less(t, bodyTime(2*maxMedia), 2*time.Minute, "no overflow")
}

// A credential is refused before a byte of the body has arrived.
func TestBodies_WrongCredential_AreNotWaitedFor(t *testing.T) {
	server, _ := serverWith(t, 0)
	for path, token := range map[string]string{"/api/v1/sendImage": "wg_wrong", "/api/v1/sessions": "wrong", "/api/v1/workers/register": "wrong"} {
		conn := upload(t, server, path, token, 1<<20)
		got, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.NoError(t, got.Body.Close())
		require.Equal(t, http.StatusUnauthorized, got.StatusCode, path)
	}
}

func TestRequests_ManyHeadersOrParameters_AreRefused(t *testing.T) {
	h := New(config(&stub{}))
	r := request("GET", "/health", "", "")
	for i := range maxHeaders - 10 {
		r.Header.Add(fmt.Sprintf("X-%d", i), "v")
	}
	require.Equal(t, http.StatusOK, serve(t, h, r).Code)
	for range 20 {
		r.Header.Add("X-Again", "v")
	}
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, serveUnchecked(t, h, r).Code)
	query := "/api/v1/sessions?" + strings.Repeat("&", maxParameters)
	require.Equal(t, http.StatusBadRequest, serve(t, h, request("GET", query, userToken, "")).Code)
	require.Equal(t, http.StatusOK, serve(t, h, request("GET", query[:len(query)-1], userToken, "")).Code)
}

func TestHealthDetailed_Caller_HasToBeAdministratorOrLocal(t *testing.T) {
	cfg := config(&stub{})
	cfg.Health = func(context.Context) []Check { return []Check{{Name: "store", OK: true}} }
	h := New(cfg)
	for name, c := range map[string]struct {
		peer, host, token, header string
		old                       bool
		want                      int
		code                      domain.Code
	}{
		"administrator":             {peer: "203.0.113.1:1", host: "example.com", token: adminToken, want: 200},
		"user":                      {peer: "203.0.113.1:1", host: "example.com", token: userToken, want: 403, code: domain.CodeInsufficientPermission},
		"user on this machine":      {peer: "127.0.0.1:1", host: "localhost:8000", token: userToken, want: 403, code: domain.CodeInsufficientPermission},
		"worker":                    {peer: "127.0.0.1:1", host: "localhost:8000", token: fleetToken, want: 401, code: domain.CodeAuthTokenInvalid},
		"stranger":                  {peer: "203.0.113.1:1", host: "localhost:8000", want: 401, code: domain.CodeAuthTokenMissing},
		"this machine":              {peer: "127.0.0.1:1", host: "localhost:8000", want: 200},
		"this machine, IPv6":        {peer: "[::1]:1", host: "[::1]:8000", want: 200},
		"this machine, mapped":      {peer: "[::ffff:127.0.0.1]:1", host: "127.0.0.1:8000", want: 200},
		"proxy":                     {peer: "127.0.0.1:1", host: "localhost", header: "X-Forwarded-For", want: 401, code: domain.CodeAuthTokenMissing},
		"proxy, another header":     {peer: "127.0.0.1:1", host: "localhost", header: "X-Forwarded-Proto", want: 401, code: domain.CodeAuthTokenMissing},
		"proxy, RFC 7239":           {peer: "127.0.0.1:1", host: "localhost", header: "Forwarded", want: 401, code: domain.CodeAuthTokenMissing},
		"proxy, Via":                {peer: "127.0.0.1:1", host: "localhost", header: "Via", want: 401, code: domain.CodeAuthTokenMissing},
		"proxy, X-Real-IP":          {peer: "127.0.0.1:1", host: "localhost", header: "X-Real-IP", want: 401, code: domain.CodeAuthTokenMissing},
		"nginx without headers":     {peer: "127.0.0.1:1", host: "127.0.0.1:8000", old: true, want: 401, code: domain.CodeAuthTokenMissing},
		"proxy that keeps the host": {peer: "127.0.0.1:1", host: "example.com", want: 401, code: domain.CodeAuthTokenMissing},
	} {
		r := request("GET", "/health/detailed", c.token, "")
		r.RemoteAddr, r.Host = c.peer, c.host
		if c.header != "" {
			r.Header.Set(c.header, "203.0.113.9")
		}
		if c.old {
			r.ProtoMajor, r.ProtoMinor = 1, 0
		}
		got := serve(t, h, r)
		assert.Equal(t, c.want, got.Code, name)
		if c.want != 200 {
			assert.Equal(t, c.code, got.Error.Code, name)
		}
	}
}

// The picture of a session that is not the worker's is not looked into.
func TestReports_PictureOfAnothersSession_IsNotDecoded(t *testing.T) {
	report := func(session string) domain.QR {
		s := &stub{}
		got := serve(t, New(config(s)), request("POST", "/api/v1/webhooks/session-status", fleetToken,
			`{"sessionId":"`+session+`","workerId":"worker-1","status":"QR_REQUIRED","qrCode":"`+paint(t, qrText)+`"}`))
		require.Equal(t, http.StatusOK, got.Code)
		return s.last.(domain.Report).QR
	}
	assert.Equal(t, qrText, report("support").Code)
	assert.Empty(t, report("sales").Code)
	assert.NotEmpty(t, report("sales").Image)
}
