package httpapi

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humamux"
	"github.com/gorilla/mux"
)

// A surface is the API without a configuration: the routes, their router and
// their document. It is made once, as huma derives schemas by reflection, and
// every handler that [New] returns shares it.
type surface struct {
	routes  []*route
	routers segmentRouters
	huma    huma.API
}

var theSurface = sync.OnceValue(func() *surface { return newSurface(routes()) })

// newSurface registers the routes with huma and gorilla/mux. Of two paths the one
// with fewer variables comes first: /workers/statistics is never taken for a
// worker's id, whatever the method.
func newSurface(table []route) *surface {
	s := &surface{routers: make(segmentRouters)}
	s.huma = huma.NewAPI(humaConfig(), s.routers)
	byPath := make(map[string][]*route)
	for i := range table {
		r := &table[i]
		r.index = i
		s.routes = append(s.routes, r)
		byPath[r.fullPath()] = append(byPath[r.fullPath()], r)
	}
	paths := make([]string, 0, len(byPath))
	for path := range byPath {
		paths = append(paths, path)
	}
	slices.SortFunc(paths, func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.Count(a, "{"), strings.Count(b, "{")), cmp.Compare(a, b))
	})
	for _, path := range paths {
		for _, r := range byPath[path] {
			r.register(s.huma, r)
		}
		s.routers.of(path).Path(path).Handler(otherMethods(byPath[path]))
	}
	for _, path := range pagePaths {
		s.routers.of(path).Path(path).Methods(http.MethodGet).HandlerFunc(servePage)
		s.routers.of(path).Path(path).Handler(otherMethods([]*route{{method: http.MethodGet}}))
	}
	return s
}

// serve finds the route of a request and calls it. It matches by itself because
// mux.Router.ServeHTTP copies the request twice, to add the route and the variables.
func (s *surface) serve(c *requestContext) {
	r := c.rewrite()
	var match mux.RouteMatch
	router := s.routers[segment(r.URL.EscapedPath())]
	if router == nil || !router.Match(r, &match) || match.Handler == nil {
		c.fail(errNoRoute(c.r))
		return
	}
	c.variables = match.Vars
	match.Handler.ServeHTTP(c.w, r)
}

// segmentRouters is huma's adapter for gorilla/mux, with one router for each first
// segment of a path. A router tries one regular expression after the other.
type segmentRouters map[string]*mux.Router

// Handle adds a route.
func (s segmentRouters) Handle(op *huma.Operation, handler func(huma.Context)) {
	humamux.NewAdapter(s.of(op.Path)).Handle(op, handler)
}

// ServeHTTP completes huma's interface; [surface.serve] finds routes.
func (s segmentRouters) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.of(r.URL.Path).ServeHTTP(w, r)
}

// of returns the router for a path.
func (s segmentRouters) of(path string) *mux.Router {
	name := segment(path)
	if s[name] == nil {
		s[name] = mux.NewRouter().UseEncodedPath()
	}
	return s[name]
}

// segment returns the first segment of a path below the base path, or the first
// segment of any other path with a slash in front.
func segment(path string) string {
	rest, isBelow := strings.CutPrefix(path, basePath)
	first, _, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	if isBelow {
		return first
	}
	return rest[:min(len(first)+1, len(rest))]
}

func humaConfig() huma.Config {
	config := huma.Config{
		OpenAPI:       newDocument(),
		Formats:       map[string]huma.Format{"application/json": {Marshal: marshal, Unmarshal: unmarshal}, "json": {Marshal: marshal, Unmarshal: unmarshal}},
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{transform},
	}
	config.AllowAdditionalPropertiesByDefault = true // unknown members pass
	return config
}

// otherMethods answers OPTIONS, and refuses the methods that a path has no route
// for. gorilla/mux would do the latter without an Allow header.
func otherMethods(routes []*route) http.Handler {
	methods := []string{http.MethodOptions}
	for _, r := range routes {
		methods = append(methods, r.method)
		if r.method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	slices.Sort(methods)
	allow := []string{strings.Join(methods, ", ")}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := contextOf(r.Context())
		w.Header()["Allow"] = allow
		if c.r.Method == http.MethodOptions {
			c.send(http.StatusNoContent, nil, nil)
			return
		}
		c.fail(errMethod(c.r, allow[0]))
	})
}

// rewrite returns the request as the router takes it: /api becomes /api/v1, HEAD
// becomes GET, and a slash at the end goes.
func (c *requestContext) rewrite() *http.Request {
	r := c.r.WithContext(c)
	if r.Method == http.MethodHead {
		r.Method = http.MethodGet
	}
	path, raw := canonicalPath(r.URL.Path), r.URL.RawPath
	if raw != "" {
		// An escaped slash separates no segments: the path follows from the raw one.
		raw = canonicalPath(unescapeUnreserved(raw))
		path, _ = url.PathUnescape(raw) // it was valid before
	}
	if path != r.URL.Path || raw != r.URL.RawPath {
		u := url.URL{Path: path, RawPath: raw, RawQuery: r.URL.RawQuery}
		r.URL = &u
	}
	return r
}

// unescapeUnreserved decodes escaped letters, digits and the marks that RFC 3986 calls
// unreserved: with and without the escape they mean the same.
func unescapeUnreserved(raw string) string {
	if !strings.Contains(raw, "%") {
		return raw
	}
	var b strings.Builder
	for i := 0; i < len(raw); i++ {
		if raw[i] == '%' && i+2 < len(raw) {
			c, err := strconv.ParseUint(raw[i+1:i+3], 16, 8)
			if err == nil && isUnreserved(byte(c)) {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(raw[i])
	}
	return b.String()
}

func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

func canonicalPath(path string) string {
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	rest, ok := strings.CutPrefix(path, "/api/")
	if !ok || strings.HasPrefix(rest, "v1/") {
		return path
	}
	return basePath + "/" + rest
}
