package httpapi

import (
	"bufio"
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
