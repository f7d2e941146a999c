package httpworker_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/httpworker"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// mediaServer answers every request for media.
func mediaServer(t *testing.T, answer http.HandlerFunc) ports.WorkerRef {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections)
	return ports.WorkerRef{ID: "w1", Endpoint: s.URL, Capabilities: []domain.Capability{domain.CapMedia}}
}

var wanted = ports.MediaRequest{SessionID: "one", MediaID: "a/b 1"}

func TestOpenMedia_Request_NamesMediaAndToken(t *testing.T) {
	w := mediaServer(t, func(rw http.ResponseWriter, r *http.Request) {
		require.Equal(t, "/api/one/media/a%2Fb%201", r.URL.EscapedPath())
		require.Equal(t, "Bearer secret-token", r.Header.Get("Authorization"))
		require.Equal(t, "identity", r.Header.Get("Accept-Encoding"))
		_, _ = io.WriteString(rw, "content")
	})
	media, err := quick(t, httpworker.Config{}).OpenMedia(t.Context(), w, wanted)
	require.NoError(t, err)
	got, err := io.ReadAll(media.Content)
	require.NoError(t, err)
	require.Equal(t, "content", string(got))
	require.NoError(t, media.Content.Close())
}

func TestOpenMedia_Refused_IsClassified(t *testing.T) {
	redirected := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { redirected = true }))
	defer elsewhere.Close()
	for name, c := range map[string]struct {
		status int
		head   http.Header
		body   string
		want   ports.WorkerFailure
	}{
		"no such media":   {404, nil, `{"success":false,"error":{"code":"MEDIA_NOT_FOUND","message":"Media not found"}}`, ports.WorkerMediaNotFound},
		"gone":            {410, nil, `{"success":false,"error":"expired"}`, ports.WorkerMediaNotFound},
		"no such session": {404, nil, `{"success":false,"error":"Session not found"}`, ports.WorkerSessionNotFound},
		"a page":          {404, nil, `<html>404 page not found`, ports.WorkerRouteMissing},
		"range":           {416, nil, ``, ports.WorkerRangeInvalid},
		"busy":            {429, http.Header{"Retry-After": {"7"}}, `{"success":false,"error":"slow down"}`, ports.WorkerBusy},
		"fails":           {500, nil, `{"success":false,"error":"no disk"}`, ports.WorkerFailed},
		"redirect":        {302, http.Header{"Location": {elsewhere.URL}}, ``, ports.WorkerFailed},
		"encoded":         {200, http.Header{"Content-Encoding": {"br"}}, `x`, ports.WorkerFailed},
		"part unasked":    {206, http.Header{"Content-Range": {"bytes 0-0/1"}}, `x`, ports.WorkerFailed},
		"no content":      {204, nil, ``, ports.WorkerFailed},
	} {
		t.Run(name, func(t *testing.T) {
			w := mediaServer(t, func(rw http.ResponseWriter, _ *http.Request) {
				for k := range c.head {
					rw.Header().Set(k, c.head.Get(k))
				}
				rw.WriteHeader(c.status)
				_, _ = io.WriteString(rw, c.body)
			})
			_, err := quick(t, httpworker.Config{}).OpenMedia(t.Context(), w, wanted)
			e := failure(t, err, c.want)
			require.NotContains(t, e.Message, "127.0.0.1")
			if c.status == 429 {
				require.Equal(t, 7*time.Second, e.Retry)
			}
		})
	}
	require.False(t, redirected, "the token goes nowhere else")
}

func TestOpenMedia_ContentRangeThatLies_IsNoMedia(t *testing.T) {
	for _, header := range []string{"", "bytes 5-1/10", "bytes 0-9/5", "bytes a-b/c", "bytes 0-1", "items 0-1/2", "bytes 0-99999999999999999999/*", "bytes 0-5/10"} {
		w := mediaServer(t, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Range", header)
			rw.Header().Set("Content-Length", "2")
			rw.WriteHeader(http.StatusPartialContent)
			_, _ = io.WriteString(rw, "xy")
		})
		r := wanted
		r.Range = &domain.ByteRange{First: 0, Last: 1}
		_, err := quick(t, httpworker.Config{}).OpenMedia(t.Context(), w, r)
		failed(t, err, ports.WorkerFailed)
	}
}

// A worker that stops sending fails the download after the time limit, however long the
// download took before.
func TestOpenMedia_WorkerStalls_TimesOut(t *testing.T) {
	const limit = 300 * time.Millisecond
	released := make(chan struct{})
	defer close(released)
	w := mediaServer(t, func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "silent") {
			<-released
			return
		}
		rw.Header().Set("Content-Length", "100")
		for i := range 5 { // longer than the limit in all
			_, _ = fmt.Fprintf(rw, "%d", i)
			_ = http.NewResponseController(rw).Flush()
			select {
			case <-released:
			case <-time.After(limit / 3):
			}
		}
		<-released
	})
	c := quick(t, httpworker.Config{CallLimit: limit})
	media, err := c.OpenMedia(t.Context(), w, wanted)
	require.NoError(t, err)
	got, err := io.ReadAll(media.Content)
	failed(t, err, ports.WorkerTimedOut)
	require.Equal(t, "01234", string(got))
	require.NoError(t, media.Content.Close())

	_, err = c.OpenMedia(t.Context(), w, ports.MediaRequest{SessionID: "one", MediaID: "silent"})
	failed(t, err, ports.WorkerTimedOut)
}

func TestOpenMedia_CallerGoes_EndsTheRequest(t *testing.T) {
	gone := make(chan struct{}, 2)
	w := mediaServer(t, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, "x")
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
		gone <- struct{}{}
	})
	c := quick(t, httpworker.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	media, err := c.OpenMedia(ctx, w, wanted)
	require.NoError(t, err)
	cancel()
	_, err = io.ReadAll(media.Content)
	require.Error(t, err)
	<-gone

	media, err = c.OpenMedia(t.Context(), w, wanted)
	require.NoError(t, err)
	require.NoError(t, media.Content.Close())
	<-gone
}

func TestOpenMedia_ConnectionBreaks_IsAFailure(t *testing.T) {
	w := mediaServer(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(rw, "01234")
		_ = http.NewResponseController(rw).Flush()
		panic(http.ErrAbortHandler)
	})
	media, err := quick(t, httpworker.Config{}).OpenMedia(t.Context(), w, wanted)
	require.NoError(t, err)
	_, err = io.ReadAll(media.Content)
	failed(t, err, ports.WorkerConnectionLost)
}
