package webhook_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/webhook"
	"github.com/switchyard-wa/switchyard/domain"
)

// A small compressed answer stands for much text. It is shown as it came.
func TestPost_CompressedAnswer_IsNotInflated(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, err := z.Write(bytes.Repeat([]byte("boom "), 1<<20))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" {
			t.Error("compression is asked for")
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	}))
	defer server.Close()
	answer, err := newSender(t, webhook.Config{}).Post(t.Context(), call(server.URL))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.Code)
	require.NotContains(t, answer.Body, "boom boom")
	require.LessOrEqual(t, len(answer.Body), 1024)
}

// The receiver announces an answer for ever.
func TestPost_EndlessInterimAnswers_Fails(t *testing.T) {
	url := raw(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		for {
			if _, err := io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"); err != nil {
				return
			}
		}
	})
	require.NotEmpty(t, message(t, newSender(t, webhook.Config{}), call(url)))
}

// The receiver reads one byte at a time, of an event that does not fit into the buffers of the connection.
func TestPost_ReceiverHardlyReads_TimesOut(t *testing.T) {
	url := raw(t, func(c net.Conn) {
		_ = c.(*net.TCPConn).SetReadBuffer(4096)
		for {
			if _, err := c.Read(make([]byte, 1)); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond) // the receiver is slow by design
		}
	})
	c := call(url)
	c.Timeout = 200 * time.Millisecond
	c.Event = &domain.Event{Type: domain.EventMessageSent, Message: &domain.Message{ID: "m1", Content: strings.Repeat("x", 16<<20)}}
	began := time.Now()
	require.Contains(t, message(t, newSender(t, webhook.Config{}), c), "in time")
	require.Less(t, time.Since(began), 5*time.Second)
}

// An answer whose body is longer or shorter than it says, and a connection that is used again after it.
func TestPost_LengthIsWrong_StatusDecidesAndNextAttemptIsClean(t *testing.T) {
	for name, answer := range map[string]string{
		"too short": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
		"too long":  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 500 Smuggled\r\nContent-Length: 0\r\n\r\n",
		"chunked":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			url := raw(t, func(c net.Conn) {
				for {
					if _, err := c.Read(make([]byte, 4096)); err != nil {
						return
					}
					_, _ = io.WriteString(c, answer)
				}
			})
			s := newSender(t, webhook.Config{})
			for range 3 {
				got, err := s.Post(t.Context(), call(url))
				require.NoError(t, err)
				require.Equal(t, http.StatusOK, got.Code)
			}
		})
	}
}
