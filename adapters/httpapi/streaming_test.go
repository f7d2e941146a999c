package httpapi

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDetachedWriter_ClientTakesNothing_IsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, client := net.Pipe()
		defer func() { _, _ = conn.Close(), client.Close() }()
		began := time.Now()
		_, err := (&detachedWriter{conn}).Write([]byte("data"))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, 10*time.Second, time.Since(began))
	})
}

// writeDeadlines records the deadline of writes.
type writeDeadlines struct {
	*httptest.ResponseRecorder
	at time.Time
}

func (d *writeDeadlines) SetWriteDeadline(at time.Time) error {
	d.at = at
	return nil
}

func TestStreamWriter_EachWriteAndFlush_MovesTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &writeDeadlines{ResponseRecorder: httptest.NewRecorder()}
		w := &streamWriter{&requestContext{w: d}, http.NewResponseController(d)}
		for range 3 {
			_, err := w.Write([]byte("data"))
			require.NoError(t, err)
			require.Equal(t, time.Now().Add(10*time.Second), d.at)
			time.Sleep(time.Minute)
			require.NoError(t, w.Flush())
			require.Equal(t, time.Now().Add(10*time.Second), d.at)
		}
	})
}
