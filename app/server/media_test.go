package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// mediaKit is a server over HTTP with one session on a simulated worker.
type mediaKit struct {
	t      *testing.T
	server *Server
	worker *simworker.Worker
	stop   context.CancelFunc // ends the worker
	userID string
	token  string
}

func newMediaKit(t *testing.T, c simworker.Config) *mediaKit {
	k := &mediaKit{t: t, server: runServer(t, Config{Store: "memory:", WorkerToken: one})}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	control := simworker.NewControl(k.server.URL(), one)
	if c.Legacy {
		control = simworker.NewLegacyControl(k.server.URL(), one)
	}
	c.ID, c.ScanAfter = "worker-1", time.Millisecond
	k.worker = simworker.New(c, control)
	ctx, cancel := context.WithCancel(context.Background())
	k.stop = cancel
	ended := make(chan error, 1)
	go func() {
		ended <- simworker.Serve(ctx, listener, k.worker, simworker.ServeConfig{Token: one, Log: slog.New(slog.DiscardHandler)})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, simworker.ErrCrashed) {
			assert.NoError(t, err)
		}
		control.Close()
	})
	require.Eventually(t, k.worker.Registered, 10*time.Second, time.Millisecond)
	u, err := k.server.Accounts.CreateUser(t.Context(), "Ada", "ada@example.com", "correct-horse-1", domain.TierBasic, domain.RoleUser)
	require.NoError(t, err)
	k.userID, k.token = u.ID, k.login("ada@example.com")
	_, err = k.server.Orchestrator.Sessions.Create(t.Context(), u.ID, service.CreateSessionParams{ID: "support", Name: "Support"})
	require.NoError(t, err)
	_, err = k.server.Orchestrator.Sessions.Connect(t.Context(), u.ID, "support", service.ConnectOptions{Wait: 10 * time.Second})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		s, err := k.server.Orchestrator.Sessions.Get(t.Context(), u.ID, "support")
		return err == nil && s.Status == domain.Connected
	}, 10*time.Second, time.Millisecond)
	return k
}

func (k *mediaKit) login(email string) string {
	tokens, err := k.server.Accounts.Login(k.t.Context(), email, "correct-horse-1")
	require.NoError(k.t, err)
	return tokens.Token
}

// receive lets the session receive media, and returns the id of the message.
func (k *mediaKit) receive(kind domain.MessageType, size int64) (messageID string, ref domain.MediaRef) {
	k.t.Helper()
	ref, err := k.worker.ReceiveMedia(k.t.Context(), "support", "6289999999999@s.whatsapp.net", kind, size)
	require.NoError(k.t, err)
	return k.newest()["id"].(string), ref
}

// newest returns the newest message as its user sees it.
func (k *mediaKit) newest() map[string]any {
	k.t.Helper()
	resp := k.get("/sessions/support/messages?limit=1", nil)
	defer resp.Body.Close()
	var a struct {
		Data struct{ Messages []map[string]any }
	}
	require.NoError(k.t, json.NewDecoder(resp.Body).Decode(&a))
	require.Len(k.t, a.Data.Messages, 1)
	return a.Data.Messages[0]
}

func (k *mediaKit) get(path string, header http.Header) *http.Response {
	k.t.Helper()
	r, err := http.NewRequestWithContext(k.t.Context(), http.MethodGet, k.server.URL()+"/api/v1"+path, nil)
	require.NoError(k.t, err)
	if header != nil {
		r.Header = header
	}
	r.Header.Set("Authorization", "Bearer "+k.token)
	resp, err := http.DefaultClient.Do(r)
	require.NoError(k.t, err)
	k.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func (k *mediaKit) refused(path string, status int, code domain.Code, words string) {
	k.t.Helper()
	resp := k.get(path, nil)
	body, err := io.ReadAll(resp.Body)
	require.NoError(k.t, err)
	require.Equal(k.t, status, resp.StatusCode, string(body))
	require.Contains(k.t, string(body), `"code":"`+string(code)+`"`)
	require.Contains(k.t, string(body), words)
	require.NotContains(k.t, string(body), "127.0.0.1", "no address of a worker")
}

func mediaPath(messageID string) string {
	return "/sessions/support/messages/" + messageID + "/media"
}

func TestMedia_ReceivedMessage_IsStreamedFromItsWorker(t *testing.T) {
	k := newMediaKit(t, simworker.Config{})
	for kind, want := range map[domain.MessageType][2]string{
		domain.TypeImage: {"image/jpeg", ".jpg"}, domain.TypeAudio: {"audio/ogg; codecs=opus", ".ogg"}, domain.TypeVideo: {"video/mp4", ".mp4"},
		domain.TypeDocument: {"application/pdf", ".pdf"}, domain.TypeSticker: {"image/webp", ".webp"},
	} {
		id, ref := k.receive(kind, 10_000)
		view := k.newest()
		require.Equal(t, "/api/v1"+mediaPath(id), view["mediaUrl"])
		require.Equal(t, map[string]any{"type": want[0], "size": 10_000.0, "sha256": ref.SHA256}, view["media"])
		content := make([]byte, 10_000)
		_, err := simworker.MediaContent(ref.ID).ReadAt(content, 0)
		require.NoError(t, err)

		resp := k.get(mediaPath(id), nil)
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.True(t, bytes.Equal(content, got))
		require.Equal(t, want[0], resp.Header.Get("Content-Type"))
		require.Equal(t, int64(10_000), resp.ContentLength)
		require.Equal(t, `attachment; filename="`+string(kind)+"-"+id+want[1]+`"`, resp.Header.Get("Content-Disposition"))
		etag := resp.Header.Get("ETag")
		require.Equal(t, `"`+ref.SHA256+`"`, etag)

		for _, c := range []struct {
			ranges, ifRange string
			status          int
			from, to        int
		}{
			{"bytes=100-199", "", 206, 100, 200}, {"bytes=-10", etag, 206, 9_990, 10_000}, {"bytes=9999-", "", 206, 9_999, 10_000},
			{"bytes=100-199", `"other"`, 200, 0, 10_000}, {"bytes=0-1,5-6", "", 200, 0, 10_000},
		} {
			h := http.Header{"Range": {c.ranges}}
			if c.ifRange != "" {
				h.Set("If-Range", c.ifRange)
			}
			resp := k.get(mediaPath(id), h)
			got, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, c.status, resp.StatusCode, "%+v", c)
			require.True(t, bytes.Equal(content[c.from:c.to], got), "%+v", c)
		}
		require.Equal(t, http.StatusRequestedRangeNotSatisfiable, k.get(mediaPath(id), http.Header{"Range": {"bytes=10000-"}}).StatusCode)
	}
}

// A download of 64 MiB costs no more memory than one of 1 MiB: the first bytes come before
// the worker has sent the last.
func TestMedia_Of64MiB_TakesNoMemory(t *testing.T) {
	k := newMediaKit(t, simworker.Config{})
	id, ref := k.receive(domain.TypeDocument, 64<<20)
	var before, after runtime.MemStats
	resp := k.get(mediaPath(id), nil)
	first := make([]byte, 1<<20)
	_, err := io.ReadFull(resp.Body, first)
	require.NoError(t, err)
	runtime.ReadMemStats(&before)
	rest, err := io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	runtime.ReadMemStats(&after)
	require.Equal(t, int64(63<<20), rest)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20), "bytes allocated by worker, server and client for 63 MiB")
	want := make([]byte, 1<<20)
	_, _ = simworker.MediaContent(ref.ID).ReadAt(want, 0)
	require.True(t, bytes.Equal(want, first))
}

func TestMedia_NotThere_SaysWhy(t *testing.T) {
	k := newMediaKit(t, simworker.Config{})
	id, ref := k.receive(domain.TypeImage, 100)
	require.NoError(t, k.worker.Receive(t.Context(), "support", "6289999999999@s.whatsapp.net", "hello"))
	text := k.newest()["id"].(string)
	require.Nil(t, k.newest()["media"])
	k.refused(mediaPath(text), 404, domain.CodeMessageNotFound, "has no media")
	k.refused(mediaPath("unknown"), 404, domain.CodeMessageNotFound, "")
	k.refused("/sessions/other/messages/"+id+"/media", 404, domain.CodeSessionNotFound, "")

	_, err := k.server.Accounts.CreateUser(t.Context(), "Bo", "bo@example.com", "correct-horse-1", domain.TierBasic, domain.RoleUser)
	require.NoError(t, err)
	own := k.token
	k.token = k.login("bo@example.com")
	k.refused(mediaPath(id), 404, domain.CodeSessionNotFound, "")
	k.token = own

	k.worker.ForgetMedia(ref.ID)
	k.refused(mediaPath(id), 404, domain.CodeMessageNotFound, "no longer has this media")

	_, err = k.server.Orchestrator.Sessions.Disconnect(t.Context(), k.userID, "support")
	require.NoError(t, err)
	k.refused(mediaPath(id), 409, domain.CodeSessionNotConnected, "connect it")
}

func TestMedia_WorkerOffline_Is503(t *testing.T) {
	k := newMediaKit(t, simworker.Config{})
	id, _ := k.receive(domain.TypeImage, 100)
	k.worker.Crash()
	require.Eventually(t, func() bool {
		resp := k.get(mediaPath(id), nil)
		return resp.StatusCode == http.StatusServiceUnavailable
	}, 10*time.Second, 50*time.Millisecond)
}

// A legacy worker hands out no media, and its own addresses are shown to nobody.
func TestMedia_LegacyWorker_IsTooOld(t *testing.T) {
	k := newMediaKit(t, simworker.Config{Legacy: true})
	report := func(n int, body string) map[string]any {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, k.server.URL()+"/api/webhooks/message-received", strings.NewReader(
			fmt.Sprintf(`{"sessionId":"support","messageId":"3EB%d","from":"6289999999999@s.whatsapp.net","type":"imageMessage",%s}`, n, body)))
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+one)
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode)
		return k.newest()
	}
	for i, inside := range []string{"http://127.0.0.1:8001/media/1", "http://worker-1:8001/m", "http://10.0.0.5/m", k.worker.Endpoint() + "/m", "file:///etc/passwd"} {
		require.Nil(t, report(i, `"mediaUrl":"`+inside+`"`)["mediaUrl"], inside)
	}
	public := report(10, `"mediaUrl":"https://cdn.example.com/a.jpg"`)
	require.Equal(t, "https://cdn.example.com/a.jpg", public["mediaUrl"])
	k.refused(mediaPath(public["id"].(string)), 404, domain.CodeMessageNotFound, "has no media")
	withRef := report(11, `"media":{"id":"m-1","mime":"image/jpeg","size":5}`)
	k.refused(mediaPath(withRef["id"].(string)), 502, domain.CodeWorkerCommunication, "too old")
}

// A document over the bound of JSON bodies goes through a form to a simulated worker.
func TestSendFile_DocumentOf20MiBAsForm_IsSent(t *testing.T) {
	k := newMediaKit(t, simworker.Config{})
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	require.NoError(t, form.WriteField("to", "6289999999999"))
	require.NoError(t, form.WriteField("type", "document"))
	part, err := form.CreateFormFile("media", "report.pdf")
	require.NoError(t, err)
	_, err = io.WriteString(part, "%PDF-1.7\n"+strings.Repeat("0123456789abcdef", 20<<16))
	require.NoError(t, err)
	require.NoError(t, form.Close())
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, k.server.URL()+"/api/v1/sessions/support/send", &body)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+k.token)
	r.Header.Set("Content-Type", form.FormDataContentType())
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, string(text))
	assert.Contains(t, string(text), `"status":"SENT"`)
	assert.Equal(t, "report.pdf", k.newest()["filename"])
}
