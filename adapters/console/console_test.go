package console_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/console"
)

// get answers a request to the console in front of an API that knows nothing.
func get(t *testing.T, method, path string, header ...string) *http.Response {
	t.Helper()
	api := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	console.New(api).ServeHTTP(w, r)
	return w.Result()
}

func read(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(b)
}

func TestConsole_PathOfAPage_IsTheDocument(t *testing.T) {
	for _, path := range []string{"/", "/sign-in", "/register", "/forgot-password", "/reset-password", "/sessions/support/send", "/usage", "/account", "/admin/fleet"} {
		resp := get(t, "GET", path)
		require.Equal(t, http.StatusOK, resp.StatusCode, path)
		require.Equal(t, "text/html; charset=utf-8", resp.Header.Get("Content-Type"), path)
		require.Contains(t, read(t, resp), `<script type="module"`, path)
	}
}

func TestConsole_OtherRequest_GoesToTheAPI(t *testing.T) {
	for _, c := range [][2]string{
		{"GET", "/api/v1/sessions"}, {"GET", "/api/sessions"}, {"GET", "/health"}, {"GET", "/docs"}, {"GET", "/openapi.json"}, {"GET", "/metrics"},
		{"GET", "/nothing"}, {"GET", "/index.html"}, {"GET", "/assets/x/index.html"}, {"GET", "/assets/x/none.js"}, {"GET", "/assets/"},
		{"POST", "/"}, {"DELETE", "/sessions/support"}, {"OPTIONS", "/"},
	} {
		resp := get(t, c[0], c[1])
		require.Equal(t, http.StatusNotFound, resp.StatusCode, c)
		require.Empty(t, read(t, resp))
	}
}

func TestConsole_Document_HasAStrictPolicy(t *testing.T) {
	resp := get(t, "GET", "/")
	page := read(t, resp)
	policy := resp.Header.Get("Content-Security-Policy")
	for _, directive := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
		require.Contains(t, policy, directive)
	}
	require.NotContains(t, policy, "unsafe")
	require.NotContains(t, policy, "http")
	require.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"))
	require.Equal(t, "no-referrer", resp.Header.Get("Referrer-Policy"))
	require.Equal(t, "no-cache", resp.Header.Get("Cache-Control"))
	require.NotRegexp(t, `<style|style=|<script[^>]*>[^<]|\son[a-z]+=|https?://`, page, "nothing inline, nothing from elsewhere")
}

var reference = regexp.MustCompile(`(?:href|src)="(/assets/[^"]+)"`)

func TestConsole_Assets_AreCachedForEverByTheirVersion(t *testing.T) {
	found := reference.FindAllStringSubmatch(read(t, get(t, "GET", "/")), -1)
	require.Greater(t, len(found), 20)
	for _, m := range found {
		resp := get(t, "GET", m[1])
		require.Equal(t, http.StatusOK, resp.StatusCode, m[1])
		require.Equal(t, "public, max-age=31536000, immutable", resp.Header.Get("Cache-Control"), m[1])
		require.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"), m[1])
		require.NotContains(t, resp.Header.Get("Content-Type"), "plain", m[1])
		read(t, resp)
	}
	former := get(t, "GET", "/assets/0123456789abcdef/app.js")
	require.Equal(t, http.StatusOK, former.StatusCode, "of a page from before an upgrade")
	require.Equal(t, "no-cache", former.Header.Get("Cache-Control"))
	read(t, former)
}

func TestConsole_RequestID_IsKeptIfSane(t *testing.T) {
	require.Equal(t, "req-1", get(t, "GET", "/", "X-Request-Id", "req-1").Header.Get("X-Request-Id"))
	require.Regexp(t, `^[0-9A-Za-z]{10,}$`, get(t, "GET", "/", "X-Request-Id", "<script>").Header.Get("X-Request-Id"))
}

func TestConsole_SameETag_IsNotSentAgain(t *testing.T) {
	first := get(t, "GET", "/", "Accept-Encoding", "gzip, br")
	require.Equal(t, "gzip", first.Header.Get("Content-Encoding"))
	zipped, err := gzip.NewReader(strings.NewReader(read(t, first)))
	require.NoError(t, err)
	page, err := io.ReadAll(zipped)
	require.NoError(t, err)
	require.Contains(t, string(page), "<!doctype html>")

	again := get(t, "GET", "/", "Accept-Encoding", "gzip", "If-None-Match", first.Header.Get("ETag"))
	require.Equal(t, http.StatusNotModified, again.StatusCode)
	require.Empty(t, read(t, again))
	require.Empty(t, get(t, "GET", "/", "Accept-Encoding", "gzip;q=0, br").Header.Get("Content-Encoding"))
	head := get(t, "HEAD", "/")
	require.NotEmpty(t, head.Header.Get("Content-Length"))
	require.Empty(t, read(t, head))
}

// All of the console, administrators' pages included, is smaller than 150 kB when it is compressed.
func TestConsole_AllAssets_AreSmall(t *testing.T) {
	total := 0
	for name, content := range assets(t) {
		if strings.HasPrefix(filepath.Base(name), "LICENSE") {
			continue
		}
		var out bytes.Buffer
		w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
		require.NoError(t, err)
		_, err = w.Write(content)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		total += out.Len()
	}
	t.Logf("%.1f kB", float64(total)/1000)
	require.Less(t, total, 150_000)
}

// TestConsole_Modules_KeepTheRules checks the rules of package console's comment in every module.
func TestConsole_Modules_KeepTheRules(t *testing.T) {
	for name, content := range assets(t) {
		text := string(content)
		isOwn := !strings.Contains(name, "vendor")
		if isOwn && strings.HasSuffix(name, ".js") {
			require.LessOrEqual(t, strings.Count(text, "\n"), 300, "%s: a module has at most 300 lines", name)
			require.NotRegexp(t, `innerHTML|dangerouslySetInnerHTML|\beval\(|new Function|document\.write`, text, name)
			require.Regexp(t, `^// [a-z_]+ `, text, "%s: begins with what the module does", name)
		}
		if isOwn && strings.HasSuffix(name, ".css") {
			require.NotRegexp(t, `(?m)[{;\s](margin|padding|border)-(left|right|top|bottom)|[{;\s](left|right|width|height|text-align: (left|right)):`, text, "%s: logical properties", name)
		}
		require.NotContains(t, text, "sourceMappingURL", name)
		require.NotRegexp(t, `from ?["'](?:[a-z@]|https?:)`, text, "%s: modules are imported by their path", name)
	}
}

// assets returns the files of the console by name.
func assets(t *testing.T) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	require.NoError(t, filepath.WalkDir("assets", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files[path], err = os.ReadFile(path)
		}
		return err
	}))
	return files
}
