package console

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed assets
var embedded embed.FS

// policy allows the console's own modules and styles, the public API, and pictures and sounds of
// messages, which are fetched by a script. Nothing is inline and nothing comes from elsewhere.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src blob:; " +
	"connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// pages are the first segments of the paths of pages. The module app.js has the same list.
var pages = []string{"", "sign-in", "register", "forgot-password", "reset-password", "sessions", "usage", "account", "admin"}

// assetsPath precedes the version and the name of each asset.
const assetsPath = "/assets/"

const (
	forever     = "public, max-age=31536000, immutable"
	revalidated = "no-cache"
)

// asset is a file of the console.
type asset struct {
	contentType string
	content     []byte
	compressed  func() []byte // by gzip
}

// site holds the embedded console.
type site struct {
	version string // of the content
	assets  map[string]*asset
	page    *asset // the document of every page
}

var theSite = sync.OnceValue(newSite)

// newSite reads the embedded files. They are part of the program, so none can be missing.
func newSite() *site {
	s := &site{assets: make(map[string]*asset)}
	files := make(map[string][]byte)
	_ = fs.WalkDir(embedded, "assets", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files[strings.TrimPrefix(name, "assets/")], err = embedded.ReadFile(name)
		}
		return err
	})
	names := slices.Sorted(maps.Keys(files))
	hash := sha256.New()
	for _, name := range names {
		sum := sha256.Sum256(files[name])
		hash.Write([]byte(name + "\x00"))
		hash.Write(sum[:])
		s.assets[name] = newAsset(typeOf(name), files[name])
	}
	s.version = hex.EncodeToString(hash.Sum(nil))[:16]
	s.page = newAsset("text/html; charset=utf-8", s.document(names))
	delete(s.assets, "index.html")
	return s
}

// document returns the page. It names the modules that every page needs, so that the browser
// fetches them side by side; those of administrators follow on demand.
func (s *site) document(names []string) []byte {
	data := struct {
		Base            string
		Modules, Styles []string
	}{Base: assetsPath + s.version}
	for _, name := range names {
		switch {
		case path.Ext(name) == ".css":
			data.Styles = append(data.Styles, name)
		case path.Ext(name) == ".js" && !strings.HasPrefix(name, "admin/"):
			data.Modules = append(data.Modules, name)
		}
	}
	var out bytes.Buffer
	t := template.Must(template.New("index.html").ParseFS(embedded, "assets/index.html"))
	if err := t.Execute(&out, data); err != nil {
		panic(err) // the template is part of the program
	}
	return out.Bytes()
}

// newAsset returns an asset that is compressed when it is first asked for.
func newAsset(contentType string, content []byte) *asset {
	return &asset{contentType, content, sync.OnceValue(func() []byte {
		var out bytes.Buffer
		w, _ := gzip.NewWriterLevel(&out, gzip.BestCompression) // the level is valid
		_, _ = w.Write(content)                                 // a buffer takes everything
		_ = w.Close()
		return out.Bytes()
	})}
}

// typeOf returns the type of a file by its name. The types of the system differ from machine to
// machine.
func typeOf(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".webmanifest":
		return "application/manifest+json"
	}
	return "text/plain; charset=utf-8"
}

// New returns a handler that serves the console and leaves every other request to api.
func New(api http.Handler) http.Handler {
	s := theSite()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.serve(w, r) {
			api.ServeHTTP(w, r)
		}
	})
}

// serve answers a request for a page or an asset. It reports whether the request was for one.
func (s *site) serve(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, assetsPath); ok {
		version, name, _ := strings.Cut(rest, "/")
		a := s.assets[name]
		if a == nil {
			return false
		}
		caching := forever
		if version != s.version {
			caching = revalidated // a page from before an upgrade
		}
		s.send(w, r, a, caching)
		return true
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if !slices.Contains(pages, first) {
		return false
	}
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("X-Frame-Options", "DENY")
	s.send(w, r, s.page, revalidated)
	return true
}

// send answers with an asset, compressed for clients that accept it.
func (s *site) send(w http.ResponseWriter, r *http.Request, a *asset, caching string) {
	h := w.Header()
	h.Set("X-Request-Id", requestID(r))
	h.Set("Content-Type", a.contentType)
	h.Set("Cache-Control", caching)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Vary", "Accept-Encoding")
	if r.TLS != nil {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
	tag := `"` + s.version + `"`
	body := a.content
	if acceptsGzip(r.Header) {
		tag = `"` + s.version + `-gzip"`
		body = a.compressed()
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", tag)
	if strings.Contains(r.Header.Get("If-None-Match"), tag) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(body) // a client that is gone cannot be told
	}
}

// safeRequestID matches a request id that can stand in a header and a log.
var safeRequestID = regexp.MustCompile(`^[0-9A-Za-z._-]{1,64}$`)

// requestID returns the caller's id of a request if it is safe to repeat, otherwise a new one.
func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); safeRequestID.MatchString(id) {
		return id
	}
	return rand.Text()
}

// acceptsGzip reports whether the client accepts gzip. The quality 0 means not acceptable.
func acceptsGzip(h http.Header) bool {
	for part := range strings.SplitSeq(strings.Join(h.Values("Accept-Encoding"), ","), ",") {
		coding, quality, hasQuality := strings.Cut(strings.TrimSpace(part), ";")
		if !strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			continue
		}
		if !hasQuality {
			return true
		}
		q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(quality), "q="), 64)
		return err == nil && q > 0
	}
	return false
}
