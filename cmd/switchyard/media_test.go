package main_test

import (
	"encoding/base64"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/ports/conformance"
)

// privateURLs lead inside, or contain a password.
var privateURLs = []string{
	"http://127.0.0.1:8000/a", "http://2130706433/a", "http://0x7f.1/a", "http://localhost/a", "http://[::127.0.0.1]/a",
	"http://169.254.169.254/latest/meta-data", "http://metadata.google.internal/a", "http://user:secret@files.example.com/a",
}

func TestSend_PrivateURL_IsRefusedOnItsField(t *testing.T) {
	t.Parallel()
	s := serve(t)
	n := newNode(s, "Node")
	line := s.register().create("Line")
	line.link(n)
	sent := len(n.outbox())

	for route, field := range map[string]string{
		"/sendImage": "imageUrl", "/sendFile": "fileUrl", "/sendVoice": "audioUrl", "/sendVideo": "videoUrl", "/sendSticker": "stickerUrl",
		"/sendLink": "url",
	} {
		for _, url := range privateURLs {
			a := line.byKey().refused(http.StatusBadRequest, "VALIDATION_ERROR", "POST", route, obj{"to": someone, field: url})
			assert.Equal(t, []string{field}, a.fields(), a)
			assert.NotContains(t, string(a.raw), "secret")
		}
	}
	for _, c := range []struct {
		field string
		body  obj
	}{
		{"mediaUrl", obj{"type": "image", "mediaUrl": privateURLs[0]}},
		{"link.url", obj{"type": "link", "link": obj{"url": privateURLs[1]}}},
		{"link.thumbnail", obj{"type": "link", "link": obj{"url": "https://example.com", "thumbnail": privateURLs[2]}}},
	} {
		c.body["to"] = someone
		for _, who := range []client{line.client, line.byKey()} {
			a := who.refused(http.StatusBadRequest, "VALIDATION_ERROR", "POST", line.path("/send"), c.body)
			assert.Equal(t, []string{c.field}, a.fields(), a)
		}
	}
	assert.Len(t, n.outbox(), sent, "nothing reached the worker")
}

func TestSend_AllowPrivateMedia_PassesURLsOn(t *testing.T) {
	t.Parallel()
	s := serve(t, "--allow-private-media")
	n := newNode(s, "Node")
	line := s.register().create("Line")
	line.link(n)
	for _, url := range privateURLs {
		line.byKey().post("/sendImage", obj{"to": someone, "imageUrl": url})
		assert.Equal(t, url, n.last().body["mediaUrl"])
	}
}

// mediaRoute is a route that sends media, and content that it takes.
type mediaRoute struct{ path, kind, urlField, found, sample string }

var mediaRoutes = []mediaRoute{
	{"/sendImage", "image", "imageUrl", "image/png", conformance.MediaSample("image/png")},
	{"/sendFile", "document", "fileUrl", "application/pdf", conformance.MediaSample("application/pdf")},
	{"/sendVoice", "audio", "audioUrl", "audio/ogg", conformance.MediaSample("audio/ogg; codecs=opus")},
	{"/sendVideo", "video", "videoUrl", "video/mp4", conformance.MediaSample("video/mp4")},
	{"/sendSticker", "sticker", "stickerUrl", "image/webp", conformance.MediaSample("image/webp")},
}

func base64Of(content string) string { return base64.StdEncoding.EncodeToString([]byte(content)) }

// A worker learns the type of media by its content, whatever it was declared to be.
func TestSendMedia_Base64_SentByItsContent(t *testing.T) {
	t.Parallel()
	s := serve(t)
	n := newNode(s, "Node")
	line := s.register().create("Line")
	line.link(n)
	for _, r := range mediaRoutes {
		for _, head := range []string{"", "data:text/html;base64,"} {
			line.byKey().post(r.path, obj{"to": someone, "media": head + base64Of(r.sample)})
			assert.Equal(t, "data:"+r.found+";base64,"+base64Of(r.sample), n.last().body["mediaUrl"], r.path)
			line.byKey().post(line.path("/send"), obj{"to": someone, "type": r.kind, "media": head + base64Of(r.sample)})
			assert.Equal(t, "data:"+r.found+";base64,"+base64Of(r.sample), n.last().body["mediaUrl"], r.kind)
		}
	}
}

// postForm sends a form with a file by the session's key. The exchange is not held against
// the document, which would read the body as a whole.
func (c *testSession) postForm(path string, fields map[string]string, filename string, content io.Reader) (int, string) {
	c.s.t.Helper()
	reader, writer := io.Pipe()
	form := multipart.NewWriter(writer)
	go func() {
		for name, value := range fields {
			_ = form.WriteField(name, value)
		}
		part, _ := form.CreateFormFile("media", filename)
		_, err := io.Copy(part, content)
		_ = form.Close()
		_ = writer.CloseWithError(err)
	}()
	r, err := http.NewRequestWithContext(c.s.t.Context(), http.MethodPost, c.s.url+"/api/v1"+path, reader)
	require.NoError(c.s.t, err)
	r.Header.Set("Content-Type", form.FormDataContentType())
	r.Header.Set("Authorization", "Bearer "+c.key)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(c.s.t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(c.s.t, err)
	return answer.StatusCode, string(text)
}

func TestSendMedia_Form_SentByItsContent(t *testing.T) {
	t.Parallel()
	s := serve(t)
	n := newNode(s, "Node")
	line := s.register().create("Line")
	line.link(n)
	for _, r := range mediaRoutes {
		for path, fields := range map[string]map[string]string{
			r.path:             {"to": someone},
			line.path("/send"): {"to": someone, "type": r.kind},
		} {
			status, text := line.postForm(path, fields, "../a b.html", strings.NewReader(r.sample))
			require.Equal(t, http.StatusOK, status, text)
			assert.Equal(t, "data:"+r.found+";base64,"+base64Of(r.sample), n.last().body["mediaUrl"], path)
			if r.kind == "document" {
				assert.Equal(t, "a b.html", n.last().body["filename"])
				continue
			}
			status, text = line.postForm(path, fields, "a.png", strings.NewReader("<html>"))
			assert.Equal(t, http.StatusBadRequest, status, text)
			assert.Contains(t, text, `"field":"media"`)
		}
	}
}

func TestSendMedia_ContentOfAnotherType_IsRefusedOnItsField(t *testing.T) {
	t.Parallel()
	s := serve(t)
	n := newNode(s, "Node")
	line := s.register().create("Line")
	line.link(n)
	sent := len(n.outbox())
	for _, r := range mediaRoutes {
		if r.kind == "document" {
			continue // may be anything
		}
		for _, media := range []string{"data:text/html;base64," + base64Of("<html><script>"), "data:" + r.found + ";base64," + base64Of("hello"), base64Of(conformance.MediaSample("image/gif"))} {
			for _, path := range []string{r.path, line.path("/send")} {
				a := line.byKey().refused(http.StatusBadRequest, "VALIDATION_ERROR", "POST", path, obj{"to": someone, "type": r.kind, "media": media})
				assert.Equal(t, []string{"media"}, a.fields(), a)
				assert.Contains(t, a.str("error.message"), "by its content", a)
			}
		}
	}
	a := line.byKey().refused(http.StatusBadRequest, "VALIDATION_ERROR", "POST", "/sendLink",
		obj{"to": someone, "url": "https://example.com", "thumbnail": base64Of("<html>")})
	assert.Equal(t, []string{"thumbnail"}, a.fields(), a)
	a = line.byKey().refused(http.StatusBadRequest, "VALIDATION_ERROR", "POST", "/sendSticker",
		obj{"to": someone, "media": base64Of(conformance.MediaSample("image/webp") + strings.Repeat("\x00", 1<<20))})
	assert.Contains(t, a.str("error.message"), "at most 1 MiB", a)
	assert.Len(t, n.outbox(), sent, "nothing reached the worker")
}
