package httpapi

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// uploads records the message of a send and the content of its upload.
type uploads struct {
	stubMessages
	message *domain.Outgoing
	content []byte
	during  func(*domain.Outgoing)
}

func (u *uploads) Send(ctx context.Context, s service.Sender, m *domain.Outgoing) (*domain.Message, error) {
	if m.Validate() == nil {
		u.message = m
	}
	if m.Upload != nil {
		u.content, _ = io.ReadAll(io.NewSectionReader(m.Upload.Content, 0, m.Upload.Size))
	}
	if u.during != nil {
		u.during(m)
	}
	return u.stubMessages.Send(ctx, s, m)
}

func newUploadAPI(t *testing.T) (*api, *uploads) {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	s := &stub{}
	cfg := config(s)
	u := &uploads{stubMessages: stubMessages{s}}
	cfg.Messages = u
	return newAPI(cfg), u
}

const boundary = "b0undary"

// field and file return parts of a form; closed ends it.
func field(name, value string) string {
	return fmt.Sprintf("--%s\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", boundary, name, value)
}

func file(name, filename, content string) string {
	return fmt.Sprintf("--%s\r\nContent-Disposition: form-data; name=%q; filename=%q\r\nContent-Type: application/pdf\r\n\r\n%s\r\n", boundary, name, filename, content)
}

func closed(parts ...string) string { return strings.Join(parts, "") + "--" + boundary + "--\r\n" }

func postForm(t *testing.T, a *api, path, body string) reply {
	t.Helper()
	r := request(post, path, keyText, body)
	r.Header.Set("Content-Type", "multipart/form-data; boundary="+boundary)
	return serve(t, a, r)
}

const formTo = "6289999999999"

func TestForm_FileAndFields_AreTheMessage(t *testing.T) {
	a, u := newUploadAPI(t)
	large := strings.Repeat("0123456789abcdef", 4<<10)
	for name, c := range map[string]struct {
		path, body string
		want       domain.Outgoing
		content    string
	}{
		"file": {
			"/api/v1/sendFile", closed(field("to", formTo), field("caption", "Grüße"), field("humanSimulation", "True"), file("media", "a.pdf", "%PDF-1.7")),
			domain.Outgoing{Type: domain.TypeDocument, Caption: "Grüße", Filename: "a.pdf", HumanSimulation: true}, "%PDF-1.7",
		},
		"name in a field": {
			"/api/v1/sendFile", closed(file("file", "a.pdf", large), field("filename", "b.pdf"), field("to", formTo)),
			domain.Outgoing{Type: domain.TypeDocument, Filename: "b.pdf"}, large,
		},
		"generic": {
			"/api/v1/sessions/support/send", closed(field("to", formTo), field("type", "Document"), field("location", `{"latitude":1,"longitude":2}`), file("media", `C:\temp\x\a.pdf`, "x")),
			domain.Outgoing{Type: domain.TypeDocument, Filename: "a.pdf", Location: &domain.Location{Latitude: 1, Longitude: 2}}, "x",
		},
		"image": {
			"/api/v1/sendImage", closed(field("to", formTo), field("unknown", "passes"), file("media", "../../etc/passwd", "x")),
			domain.Outgoing{Type: domain.TypeImage}, "x",
		},
		"no file, but a URL": {
			"/api/v1/sendImage", closed(field("to", formTo), field("imageUrl", "https://e.com/a.png"), file("media", "", "")),
			domain.Outgoing{Type: domain.TypeImage, MediaURL: "https://e.com/a.png"}, "",
		},
		"base64 in a field": {
			"/api/v1/sendVoice", closed(field("to", formTo), field("media", "aGVsbG8=")),
			domain.Outgoing{Type: domain.TypeAudio, Media: "aGVsbG8="}, "",
		},
		"file without a name": {
			"/api/v1/sendVideo", closed(field("to", formTo), "--"+boundary+"\r\nContent-Disposition: form-data; name=media\r\nContent-Type: video/mp4\r\n\r\nxyz\r\n"),
			domain.Outgoing{Type: domain.TypeVideo}, "xyz",
		},
	} {
		t.Run(name, func(t *testing.T) {
			u.content = nil
			got := postForm(t, a, c.path, c.body)
			require.Equal(t, http.StatusOK, got.Code, got.Body)
			sent := *u.message
			if c.content != "" {
				require.Equal(t, int64(len(c.content)), sent.Upload.Size)
				require.Len(t, sent.Upload.SHA256, 64)
			}
			sent.Upload = nil
			c.want.To = formTo
			require.Equal(t, c.want, sent)
			require.Equal(t, c.content, string(u.content))
		})
	}
}

func TestForm_HostileName_BecomesAName(t *testing.T) {
	a, u := newUploadAPI(t)
	for name, want := range map[string]string{
		`"../../../etc/passwd"`: "passwd", `"..\\..\\boot.ini"`: "boot.ini", `".."`: "document", `"   "`: "document",
		"\"ab\u202egpj.exe\"": "abgpj.exe", `"` + strings.Repeat("x", 300) + `.pdf"`: strings.Repeat("x", 251) + ".pdf",
		`"caf\xe9.pdf"`: "caf.pdf",
	} {
		name = strings.ReplaceAll(name, `\xe9`, "\xe9")
		body := field("to", formTo) + "--" + boundary + "\r\nContent-Disposition: form-data; name=\"media\"; filename=" + name + "\r\n\r\nx\r\n"
		got := postForm(t, a, "/api/v1/sendFile", closed(body))
		require.Equal(t, http.StatusOK, got.Code, "%q: %s", name, got.Body)
		require.Equal(t, want, u.message.Filename, "%q", name)
	}
	extended := field("to", formTo) + "--" + boundary + "\r\nContent-Disposition: form-data; name=media; filename*=UTF-8''r%C3%A9sum%C3%A9.pdf\r\n\r\nx\r\n"
	require.Equal(t, http.StatusOK, postForm(t, a, "/api/v1/sendFile", closed(extended)).Code)
	require.Equal(t, "résumé.pdf", u.message.Filename)
}

func TestForm_Malformed_SaysWhatIsWrong(t *testing.T) {
	a, u := newUploadAPI(t)
	part := func(head, content string) string {
		return "--" + boundary + "\r\n" + head + "\r\n\r\n" + content + "\r\n"
	}
	to := field("to", formTo)
	for name, c := range map[string]struct {
		body    string
		status  int
		field   string
		message string
	}{
		"no media":           {closed(to), 400, "imageUrl", "A URL or base64 media is required"},
		"no recipient":       {closed(file("media", "a", "x")), 400, "to", "international format"},
		"empty file":         {closed(to, file("media", "a.png", "")), 400, "media", "Media must not be empty"},
		"two files":          {closed(to, file("media", "a", "x"), file("file", "b", "y")), 400, "media", "one file"},
		"file and URL":       {closed(to, field("imageUrl", "https://e.com/a"), file("media", "a", "x")), 400, "imageUrl", "not both"},
		"file and base64":    {closed(to, field("media", "aGVsbG8="), file("media", "a", "x")), 400, "media", "not both"},
		"another name":       {closed(to, file("picture", "a", "x")), 400, "picture", "name its part media"},
		"field twice":        {closed(to, to), 400, "to", "twice"},
		"not UTF-8":          {closed(to, field("caption", "\xff")), 400, "caption", "UTF-8"},
		"no disposition":     {closed(part("X-Y: z", "v")), 400, "body", "Content-Disposition: form-data"},
		"no name":            {closed(part("Content-Disposition: form-data", "v")), 400, "body", "Content-Disposition: form-data"},
		"an attachment":      {closed(part("Content-Disposition: attachment; name=to", "v")), 400, "body", "Content-Disposition: form-data"},
		"encoded part":       {closed(to, part("Content-Disposition: form-data; name=media; filename=a\r\nContent-Transfer-Encoding: base64", "eA==")), 400, "media", "without Content-Transfer-Encoding"},
		"no last boundary":   {to + file("media", "a", "x"), 400, "body", "last boundary"},
		"cut in a head":      {to + "--" + boundary + "\r\nContent-Dispo", 400, "body", ""},
		"no form at all":     {"hello", 400, "body", "last boundary"},
		"another boundary":   {strings.ReplaceAll(closed(to), boundary, "other"), 400, "body", ""},
		"wrong flag":         {closed(to, field("imageUrl", "https://e.com/a"), field("humanSimulation", "maybe")), 400, "humanSimulation", ""},
		"many parts":         {closed(strings.Repeat(field("x", "y"), 65)), 400, "body", "64 parts"},
		"long fields":        {closed(to, field("caption", strings.Repeat("x", maxForm))), 413, "body", "1 MiB together"},
		"long head":          {closed(part("Content-Disposition: form-data; name=to\r\nX-Y: "+strings.Repeat("z", maxForm), "v")), 413, "body", "1 MiB together"},
		"many heads":         {closed(part(strings.Repeat("X: y\r\n", 200_000)+"Content-Disposition: form-data; name=to", "v")), 413, "body", "1 MiB together"},
		"boundaries galore":  {strings.Repeat("--"+boundary+"\r\n", 60_000), 400, "body", ""},
		"nearly a boundary":  {closed(to, file("media", "a.png", strings.Repeat("\r\n--b0undarx", 10_000))), 200, "", ""},
		"file of 16 MiB":     {closed(to, file("media", "a", strings.Repeat("x", 16<<20))), 200, "", ""},
		"file over 16 MiB":   {closed(to, file("media", "a", strings.Repeat("x", 16<<20+1))), 413, "media", "at most 16 MiB"},
		"file far too large": {closed(to, file("media", "a", strings.Repeat("x", 18<<20))), 413, "media", "at most 16 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			u.message = nil
			got := postForm(t, a, "/api/v1/sendImage", c.body)
			require.Equal(t, c.status, got.Code, got.Body)
			if c.status == 200 {
				return
			}
			require.Nil(t, u.message, "nothing is sent")
			require.Equal(t, domain.CodeValidation, got.Error.Code)
			require.Contains(t, got.fields(), c.field, got.Body)
			require.Contains(t, got.Body.String(), c.message)
		})
	}
	require.Equal(t, int64(defaultUploadDisk), a.uploads.left(), "all disk space is given back")
	require.Equal(t, int64(defaultBodyMemory), a.bodies.left(), "all memory is given back")
}

func TestForm_Boundary_IsBounded(t *testing.T) {
	a, _ := newUploadAPI(t)
	for contentType, want := range map[string]int{
		"multipart/form-data": 400, "multipart/form-data; boundary=": 400, "multipart/form-data; boundary=" + strings.Repeat("b", 71): 400,
		"Multipart/Form-Data; charset=utf-8; boundary=\"" + boundary + "\"": 200, "multipart/mixed; boundary=" + boundary: 415, "text/plain": 415,
	} {
		r := request(post, "/api/v1/sendImage", keyText, closed(field("to", formTo), file("media", "a", "x")))
		r.Header.Set("Content-Type", contentType)
		require.Equal(t, want, serve(t, a, r).Code, contentType)
	}
	r := request(post, "/api/v1/sendText", keyText, closed(field("to", formTo), field("message", "x")))
	r.Header.Set("Content-Type", "multipart/form-data; boundary="+boundary)
	require.Equal(t, http.StatusUnsupportedMediaType, serve(t, a, r).Code, "a route without media takes no forms")
}

// A large file is on disk, without a name, and is gone after the answer.
func TestForm_LargeFile_IsOnDiskOnly(t *testing.T) {
	a, u := newUploadAPI(t)
	var held int64
	u.during = func(*domain.Outgoing) { held = int64(defaultUploadDisk) - a.uploads.left() }
	content := strings.Repeat("0123456789abcdef", 1<<20)
	got := postForm(t, a, "/api/v1/sendFile", closed(field("to", formTo), file("media", "a.bin", content)))
	require.Equal(t, http.StatusOK, got.Code, got.Body)
	require.Equal(t, content, string(u.content))
	require.Equal(t, int64(16<<20), held)
	require.Equal(t, int64(defaultUploadDisk), a.uploads.left())
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "*"))
	require.NoError(t, err)
	require.Empty(t, left, "no file is left")
	_, err = u.message.Upload.Content.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestForm_DiskUsedUp_IsOverloaded(t *testing.T) {
	a, u := newUploadAPI(t)
	a.uploads = newBodyMemory(1 << 20)
	body := closed(field("to", formTo), file("media", "a.bin", strings.Repeat("x", 1<<20)))
	got := postForm(t, a, "/api/v1/sendFile", body)
	require.Equal(t, http.StatusServiceUnavailable, got.Code)
	require.Equal(t, domain.CodeOverloaded, got.Error.Code)
	require.Nil(t, u.message)

	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	a.uploads = newBodyMemory(defaultUploadDisk)
	got = postForm(t, a, "/api/v1/sendFile", body)
	require.Equal(t, http.StatusServiceUnavailable, got.Code)
	require.NotContains(t, got.Body.String(), "missing", "no path is told")
}

// A form that arrives too slowly is a 408; the time grows with what has arrived.
func TestForm_SlowSender_RunsOutOfTime(t *testing.T) {
	a, _ := newUploadAPI(t)
	r := request(post, "/api/v1/sendFile", keyText, "")
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader(field("to", formTo)), errorReader{os.ErrDeadlineExceeded}))
	r.ContentLength = 1 << 20
	r.Header.Set("Content-Type", "multipart/form-data; boundary="+boundary)
	deadlines := &deadlineRecorder{ResponseRecorder: httptest.NewRecorder()}
	a.ServeHTTP(deadlines, r)
	require.Equal(t, http.StatusRequestTimeout, deadlines.Code)

	deadlines = &deadlineRecorder{ResponseRecorder: httptest.NewRecorder()}
	began := time.Now()
	r = request(post, "/api/v1/sendFile", keyText, closed(field("to", formTo), file("media", "a", strings.Repeat("x", 1<<20))))
	r.Header.Set("Content-Type", "multipart/form-data; boundary="+boundary)
	a.ServeHTTP(deadlines, r)
	require.Equal(t, http.StatusOK, deadlines.Code, deadlines.Body)
	require.GreaterOrEqual(t, len(deadlines.reads), 16)
	assert.WithinDuration(t, began.Add(bodyTime(deadlineStep)), deadlines.reads[0], 5*time.Second)
	require.True(t, deadlines.reads[len(deadlines.reads)-1].IsZero(), "the server sets the next deadline")
	last := deadlines.reads[len(deadlines.reads)-2]
	assert.WithinDuration(t, began.Add(bodyTime(1<<20)), last, 5*time.Second)
}

type errorReader struct{ err error }

func (e errorReader) Read([]byte) (int, error) { return 0, e.err }

// deadlineRecorder records the deadlines of a connection.
type deadlineRecorder struct {
	*httptest.ResponseRecorder
	reads []time.Time
}

func (d *deadlineRecorder) SetReadDeadline(at time.Time) error {
	d.reads = append(d.reads, at)
	return nil
}

func TestForm_Document_IsDescribed(t *testing.T) {
	for _, r := range theSurface().routes {
		form := operationAt(theSurface().huma.OpenAPI(), r).RequestBody
		if r.file == 0 {
			continue
		}
		content := form.Content["multipart/form-data"]
		require.NotNil(t, content, r.path)
		assert.Equal(t, "binary", content.Schema.Properties["media"].Format, r.path)
		assert.Contains(t, content.Schema.Required, "to", r.path)
		assert.NotEqual(t, "binary", resolve(form.Content["application/json"].Schema, r.registry).Properties["media"].Format, "JSON has base64")
	}
}

// Whatever a form holds, the answer is a success or a refusal, and nothing is left of it.
func FuzzForm(f *testing.F) {
	for _, body := range []string{
		closed(field("to", formTo), file("media", "a.pdf", "%PDF-1.7")), closed(field("to", formTo), field("type", "image"), field("media", "aGVsbG8=")),
		closed(field("poll", `{"question":"?","options":["a","b"]}`), field("location", "{")), field("to", formTo), "--" + boundary + "--", "", "\r\n",
		closed("--" + boundary + "\r\nContent-Disposition: form-data; name*=UTF-8''%00; filename*0=a\r\n\r\n\r\n"),
	} {
		f.Add([]byte(body), false)
		f.Add([]byte(body), true)
	}
	f.Setenv("TMPDIR", f.TempDir())
	a := newAPI(config(&stub{}))
	f.Fuzz(func(t *testing.T, body []byte, generic bool) {
		path := "/api/v1/sendFile"
		if generic {
			path = "/api/v1/sessions/support/send"
		}
		r := request(post, path, keyText, string(body))
		r.Header.Set("Content-Type", "multipart/form-data; boundary="+boundary)
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		if w.Code >= 500 || w.Code < 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if w.Code == 200 && len(body) > 0 {
			// What is accepted is a form by the standard library's reading too.
			if _, err := multipart.NewReader(bytes.NewReader(body), boundary).ReadForm(1 << 20); err != nil {
				t.Fatalf("accepted, though %v", err)
			}
		}
		if a.uploads.left() != defaultUploadDisk || a.bodies.left() != defaultBodyMemory {
			t.Fatal("something is left")
		}
	})
}
