package httpapi

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// mediaMessages answers with media that a test makes.
type mediaMessages struct {
	stubMessages
	open func(ctx context.Context, part service.MediaPart) (*service.InboundMedia, error)
}

func (m mediaMessages) OpenMedia(ctx context.Context, _, _, _ string, part service.MediaPart) (*service.InboundMedia, error) {
	return m.open(ctx, part)
}

func newMediaAPI(open func(ctx context.Context, part service.MediaPart) (*service.InboundMedia, error)) *api {
	cfg := config(&stub{})
	cfg.Messages = mediaMessages{stubMessages{&stub{}}, open}
	return newAPI(cfg)
}

const mediaPath = "/api/v1/sessions/support/messages/m1/media"

// closing is content that counts how often it is closed.
type closingContent struct {
	io.Reader
	closed atomic.Int64
}

func (c *closingContent) Close() error { c.closed.Add(1); return nil }

func getMedia(a *api, method string, header http.Header) *httptest.ResponseRecorder {
	r := request(method, mediaPath, userToken, "")
	for name := range header {
		r.Header.Set(name, header.Get(name))
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	return w
}

func TestMedia_Whole_IsSafeToSave(t *testing.T) {
	content := &closingContent{Reader: strings.NewReader("<html>")}
	a := newMediaAPI(func(_ context.Context, part service.MediaPart) (*service.InboundMedia, error) {
		require.Zero(t, part)
		return &service.InboundMedia{
			Media:    ports.Media{Content: content, Length: 6, Type: "Text/HTML; charset=utf-8", ETag: `"abc"`},
			Filename: `räport "1".html`,
		}, nil
	})
	got := getMedia(a, get, http.Header{"Accept-Encoding": {"gzip"}})
	require.Equal(t, http.StatusOK, got.Code, got.Body)
	require.Equal(t, "<html>", got.Body.String())
	h := got.Header()
	assert.Equal(t, "text/html; charset=utf-8", h.Get("Content-Type"))
	assert.Equal(t, `attachment; filename="r_port _1_.html"; filename*=UTF-8''r%C3%A4port%20%221%22.html`, h.Get("Content-Disposition"))
	assert.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
	assert.Contains(t, h.Get("Content-Security-Policy"), "sandbox")
	assert.Equal(t, `"abc"`, h.Get("ETag"))
	assert.Equal(t, "6", h.Get("Content-Length"))
	assert.Equal(t, "bytes", h.Get("Accept-Ranges"))
	assert.Empty(t, h.Get("Content-Encoding"))
	require.Positive(t, content.closed.Load())
	require.Zero(t, a.queues[downloading].Depth())
}

func TestMedia_HostileHeadOfWorker_IsNotRepeated(t *testing.T) {
	for contentType, want := range map[string]string{
		"": "application/octet-stream", "nonsense": "application/octet-stream", "text/html\r\nX-Evil: 1": "application/octet-stream", "image/png": "image/png",
	} {
		a := newMediaAPI(func(context.Context, service.MediaPart) (*service.InboundMedia, error) {
			return &service.InboundMedia{Media: ports.Media{Content: io.NopCloser(strings.NewReader("x")), Length: -1, Type: contentType, ETag: "\"a\"\r\nX-Evil: 1"}, Filename: "a\r\nb"}, nil
		})
		got := getMedia(a, get, nil)
		assert.Equal(t, want, got.Header().Get("Content-Type"))
		assert.Empty(t, got.Header().Get("ETag"))
		assert.NotContains(t, got.Header().Get("Content-Disposition"), "\n")
		assert.Empty(t, got.Header().Get("Content-Length"), "not stated")
	}
}

func TestAttachment_AnyName_ParsesBack(t *testing.T) {
	for _, name := range []string{"a.pdf", "résumé.pdf", "a b.png", `q"uo\te.txt`, "100%.txt", "李.jpg", "a;b.txt", "🎉"} {
		disposition, params, err := mime.ParseMediaType(attachment(name))
		require.NoError(t, err, name)
		require.Equal(t, "attachment", disposition)
		require.Equal(t, name, params["filename"], attachment(name))
	}
}

func TestMedia_Range_AnswersThePart(t *testing.T) {
	a := newMediaAPI(func(_ context.Context, part service.MediaPart) (*service.InboundMedia, error) {
		media := ports.Media{Content: io.NopCloser(strings.NewReader("0123456789")), Length: 10}
		if part.Range != nil {
			offset, length, ok := part.Range.Within(10)
			if !ok {
				f := &ports.WorkerError{Failure: ports.WorkerRangeInvalid}
				return nil, domain.Errorf(domain.Invalid, domain.CodeValidation, "no such part").WithCause(f)
			}
			media = ports.Media{Content: io.NopCloser(strings.NewReader("0123456789"[offset : offset+length])), Length: length, Part: &ports.MediaPart{Offset: offset, Size: 10}}
		}
		return &service.InboundMedia{Media: media, Filename: "a"}, nil
	})
	for _, c := range []struct {
		header, ifRange string
		status          int
		body, where     string
	}{
		{"bytes=0-3", "", 206, "0123", "bytes 0-3/10"}, {"bytes=-3", "", 206, "789", "bytes 7-9/10"}, {"bytes=8-", "", 206, "89", "bytes 8-9/10"},
		{"bytes=0-99", "", 206, "0123456789", "bytes 0-9/10"}, {"bytes=0-1,4-5", "", 200, "0123456789", ""}, {"lines=1-2", "", 200, "0123456789", ""},
		{"bytes=0-3", `"abc"`, 206, "0123", "bytes 0-3/10"}, {"bytes=0-3", "Tue, 01 Mar 2026 12:00:00 GMT", 200, "0123456789", ""},
		{"bytes=0-3", `W/"abc"`, 200, "0123456789", ""}, {"bytes=10-", "", 416, "", ""},
	} {
		h := http.Header{"Range": {c.header}}
		if c.ifRange != "" {
			h.Set("If-Range", c.ifRange)
		}
		got := getMedia(a, get, h)
		require.Equal(t, c.status, got.Code, "%+v: %s", c, got.Body)
		assert.Equal(t, c.where, got.Header().Get("Content-Range"), "%+v", c)
		if c.status != 416 {
			assert.Equal(t, c.body, got.Body.String(), "%+v", c)
		} else {
			assert.Contains(t, got.Body.String(), `"VALIDATION_ERROR"`)
		}
	}
	head := getMedia(a, http.MethodHead, http.Header{"Range": {"bytes=0-3"}})
	require.Equal(t, http.StatusOK, head.Code)
	require.Equal(t, "10", head.Header().Get("Content-Length"))
	require.Empty(t, head.Body.String())
}

// A client gets the first bytes while the worker still has the last, and hears when the
// worker stops in the middle.
func TestMedia_SlowWorker_IsStreamed(t *testing.T) {
	reader, writer := io.Pipe()
	a := newMediaAPI(func(context.Context, service.MediaPart) (*service.InboundMedia, error) {
		return &service.InboundMedia{Media: ports.Media{Content: reader, Length: 10}, Filename: "a"}, nil
	})
	server := httptest.NewServer(a)
	defer server.Close()
	go func() { _, _ = io.WriteString(writer, "01234") }()
	r := request(get, server.URL+mediaPath, userToken, "")
	r.RequestURI = ""
	got, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer got.Body.Close()
	half := make([]byte, 5)
	_, err = io.ReadFull(got.Body, half)
	require.NoError(t, err, "the first half arrives before the second is there")
	require.Equal(t, "01234", string(half))
	_ = writer.CloseWithError(errors.New("the worker is gone"))
	_, err = io.ReadAll(got.Body)
	require.Error(t, err, "a part must not look complete")
	require.Eventually(t, func() bool { return a.queues[downloading].Depth() == 0 }, 5*time.Second, time.Millisecond)
}

// A worker that sends less than it announced is a failure too.
func TestMedia_ShortContent_EndsTheConnection(t *testing.T) {
	a := newMediaAPI(func(context.Context, service.MediaPart) (*service.InboundMedia, error) {
		return &service.InboundMedia{Media: ports.Media{Content: io.NopCloser(strings.NewReader("0123")), Length: 10}, Filename: "a"}, nil
	})
	require.PanicsWithError(t, http.ErrAbortHandler.Error(), func() { getMedia(a, get, nil) })
}

// A client that hangs up cancels the call to the worker, and frees its place in the queue.
func TestMedia_ClientHangsUp_CancelsTheWorker(t *testing.T) {
	cancelled := make(chan struct{})
	a := newMediaAPI(func(ctx context.Context, _ service.MediaPart) (*service.InboundMedia, error) {
		reader, writer := io.Pipe()
		context.AfterFunc(ctx, func() {
			close(cancelled)
			_ = writer.CloseWithError(ctx.Err())
		})
		return &service.InboundMedia{Media: ports.Media{Content: reader, Length: -1}, Filename: "a"}, nil
	})
	server := httptest.NewServer(a)
	defer server.Close()
	ctx, hangUp := context.WithCancel(t.Context())
	r := request(get, server.URL+mediaPath, userToken, "").WithContext(ctx)
	r.RequestURI = ""
	go func() {
		got, err := http.DefaultClient.Do(r)
		if err == nil {
			_ = got.Body.Close()
		}
	}()
	require.Eventually(t, func() bool { return a.queues[downloading].Depth() == 1 }, 5*time.Second, time.Millisecond)
	hangUp()
	select {
	case <-cancelled:
	case <-time.After(10 * time.Second):
		require.Fail(t, "the call to the worker goes on")
	}
	require.Eventually(t, func() bool { return a.queues[downloading].Depth() == 0 }, 5*time.Second, time.Millisecond)
}

func TestMedia_FifthDownloadOfAUser_IsOverloaded(t *testing.T) {
	a := newMediaAPI(func(context.Context, service.MediaPart) (*service.InboundMedia, error) {
		return &service.InboundMedia{Media: ports.Media{Content: io.NopCloser(strings.NewReader("x")), Length: 1}, Filename: "a"}, nil
	})
	var releases []func()
	for range 4 {
		release, err := a.queues[downloading].Acquire(t.Context(), "user:u1")
		require.NoError(t, err)
		releases = append(releases, release)
	}
	got := getMedia(a, get, nil)
	require.Equal(t, http.StatusServiceUnavailable, got.Code, got.Body)
	require.Contains(t, got.Body.String(), `"OVERLOADED"`)
	releases[0]()
	require.Equal(t, http.StatusOK, getMedia(a, get, nil).Code)
}

func TestInboundMedia_Reference_IsKeptOrMissing(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	for body, want := range map[string]domain.MediaRef{
		`{"id":"m-1","mime":"Image/JPEG","size":12,"sha256":"` + strings.ToUpper(sum) + `"}`:      {ID: "m-1", Type: "image/jpeg", Size: 12, SHA256: sum},
		`{"id":7,"size":"12","sha256":"q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=","new":[{}]}`: {ID: "7", Size: 12, SHA256: sum},
		`{"id":"m-1","mime":"evil\r\nX: 1","size":-5,"sha256":"short"}`:                           {ID: "m-1"},
		`{"id":"` + strings.Repeat("x", 300) + `"}`:                                               {}, `{"id":null,"mime":"image/png"}`: {}, `"m-1"`: {}, `null`: {}, `[]`: {}, `7`: {},
	} {
		got, s := ask(t, "POST", "/api/v1/webhooks/message-received", fleetToken,
			`{"sessionId":"support","messageId":"3EB0","from":"628","type":"image","media":`+body+`,"caption":"c"}`)
		require.Equal(t, http.StatusOK, got.Code, got.Body)
		received := s.last.(service.InboundMessage)
		require.Equal(t, want, received.Media, body)
		require.Equal(t, "c", received.Caption, "what follows is read")
	}
}
