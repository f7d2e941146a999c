package main_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
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
