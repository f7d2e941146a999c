package httpworker_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/httpworker"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// pattern is endless content. It counts the bytes that were read of it.
type pattern struct {
	read atomic.Int64
	fail int64 // reading fails from here; 0: never
}

func (p *pattern) ReadAt(b []byte, off int64) (int, error) {
	if p.fail > 0 && off+int64(len(b)) > p.fail {
		return 0, errors.New("the disk is gone")
	}
	for i := range b {
		b[i] = byte((off + int64(i)) * 31)
	}
	p.read.Add(int64(len(b)))
	return len(b), nil
}

func documentOf(content io.ReaderAt, size int64) ports.Send {
	return ports.Send{SessionID: "one", ClientMessageID: "m1", To: "6281234567890@s.whatsapp.net", Message: &domain.Outgoing{
		Type: domain.TypeDocument, Filename: "a.pdf", MediaType: "application/pdf", Upload: &domain.Upload{Content: content, Size: size},
	}}
}

func TestSend_Upload_ArrivesAsDataURL(t *testing.T) {
	for _, size := range []int{1, 2, 3, 64 << 10, 64<<10 + 1, 300_001} {
		content := make([]byte, size)
		_, err := new(pattern).ReadAt(content, 0)
		require.NoError(t, err)
		var body struct{ To, Type, MediaURL, Filename string }
		worker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			require.Positive(t, r.ContentLength)
			require.NoError(t, json.NewDecoder(r.Body).Decode(&body))
			_, _ = io.WriteString(w, sentOK)
		}))
		defer worker.Close()

		sent, err := quick(t, httpworker.Config{}).Send(t.Context(), ports.WorkerRef{ID: "w1", Endpoint: worker.URL}, documentOf(bytes.NewReader(content), int64(size)))

		require.NoError(t, err)
		require.Equal(t, "3EB0", sent.WhatsAppID)
		require.Equal(t, "a.pdf", body.Filename)
		require.Equal(t, "data:application/pdf;base64,"+base64.StdEncoding.EncodeToString(content), body.MediaURL)
	}
}

// The first bytes of a document arrive before its last ones were read: the encoded
// document is nowhere in memory.
func TestSend_LargeUpload_IsStreamed(t *testing.T) {
	const size = 100 << 20
	content := &pattern{}
	read := make(chan int64, 1)
	worker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.CopyN(io.Discard, r.Body, 1<<20)
		require.NoError(t, err)
		// The buffers of the connection fill up, and then the client waits.
		before := int64(-1)
		for now := content.read.Load(); now != before; now = content.read.Load() {
			before = now
			time.Sleep(50 * time.Millisecond) // a shorter wait only weakens the test
		}
		read <- before
		n, err := io.Copy(io.Discard, r.Body)
		require.NoError(t, err)
		require.Equal(t, r.ContentLength, n+1<<20)
		_, _ = io.WriteString(w, sentOK)
	}))
	defer worker.Close()

	_, err := quick(t, httpworker.Config{}).Send(t.Context(), ports.WorkerRef{ID: "w1", Endpoint: worker.URL}, documentOf(content, size))

	require.NoError(t, err)
	require.Less(t, <-read, int64(size/2), "bytes read when the worker had a MiB")
	require.Equal(t, int64(size), content.read.Load())
}

// A worker that refuses a large request answers before it has read all, and closes.
func TestSend_UploadRefusedEarly_TellsTheReason(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.CopyN(io.Discard, conn, 1<<20)
		answer := `{"success":false,"error":"request entity too large"}`
		_, _ = io.WriteString(conn, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: "+
			"52\r\n\r\n"+answer)
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.CopyN(io.Discard, conn, 8<<20) // more than is under way
	}()
	content := &pattern{}
	_, err = quick(t, httpworker.Config{}).Send(t.Context(), ports.WorkerRef{ID: "w1", Endpoint: "http://" + listener.Addr().String()}, documentOf(content, 64<<20))
	require.Less(t, content.read.Load(), int64(64<<20), "the rest is not even read")
	e := failure(t, err, ports.WorkerRejected)
	require.Equal(t, http.StatusRequestEntityTooLarge, e.Status)
	require.Contains(t, e.Text, "too large")
	require.True(t, e.IsNotExecuted())
}

// A request that was not written to its end was not executed.
func TestSend_UploadCut_IsNotExecuted(t *testing.T) {
	given := make(chan struct{}) // closed when the client has given up
	for name, c := range map[string]struct {
		content *pattern
		limit   time.Duration
		serve   func(*http.Request)
	}{
		"connection ends": {&pattern{}, 0, func(r *http.Request) { _, _ = io.CopyN(io.Discard, r.Body, 1<<20) }},
		"worker hangs":    {&pattern{}, 300 * time.Millisecond, func(*http.Request) { <-given }},
		"upload is gone":  {&pattern{fail: 8 << 20}, 0, func(r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }},
	} {
		t.Run(name, func(t *testing.T) {
			calls := atomic.Int64{}
			worker := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				c.serve(r)
				panic(http.ErrAbortHandler)
			}))
			defer worker.Close()
			defer worker.CloseClientConnections()

			_, err := quick(t, httpworker.Config{CallLimit: c.limit}).Send(t.Context(), ports.WorkerRef{ID: "w1", Endpoint: worker.URL}, documentOf(c.content, 64<<20))

			if c.limit > 0 {
				close(given)
			}
			var e *ports.WorkerError
			require.True(t, errors.As(err, &e), "%v", err)
			require.True(t, e.IsNotExecuted(), "%v", err)
			require.False(t, strings.Contains(e.Message, "disk"), "no cause is told")
			require.Equal(t, int64(1), calls.Load(), "it is not repeated")
		})
	}
}
