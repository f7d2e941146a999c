package httpapi

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gorilla/mux"
)

// A mounted route is a route and what serves it.
type mounted struct {
	route  *route
	server http.Handler
}

// A resource is a path of the table with the routes of its methods.
type resource struct {
	path      string
	variables []string // at most two
	routes    []mounted
	allow     []string // the value of the Allow header
}

// method returns the route for a method, or nil. HEAD is answered by GET.
func (res *resource) method(name string) *mounted {
	if name == http.MethodHead {
		name = http.MethodGet
	}
	for i := range res.routes {
		if res.routes[i].route.method == name {
			return &res.routes[i]
		}
	}
	return nil
}

// A router finds the resource that a path belongs to. The table's paths are
// gorilla/mux routes, fixed ones before those with variables, so that
// /workers/statistics is never taken for a worker's id, whatever the method.
//
// As mux tries one regular expression after the other, two maps made from the
// same table come first. They know the usual shapes: no variable, or one
// as the second segment. That they agree with mux is tested.
type router struct {
	fixed  map[string]*resource
	second map[shape]*resource
	mux    *mux.Router
	named  map[string]*resource // what mux finds, by path
}

// A shape is a path around its second segment: sessions and send for
// /sessions/{id}/send.
type shape struct{ first, rest string }

func newRouter(routes []mounted) *router {
	rt := &router{
		fixed:  make(map[string]*resource),
		second: make(map[shape]*resource),
		mux:    mux.NewRouter().UseEncodedPath().SkipClean(true),
		named:  make(map[string]*resource),
	}
	var all []*resource
	for _, m := range routes {
		res := rt.named[m.route.path]
		if res == nil {
			res = &resource{path: m.route.path, variables: variables(m.route.path)}
			rt.named[res.path] = res
			all = append(all, res)
		}
		if res.method(m.route.method) != nil {
			panic("httpapi: " + m.route.method + " " + m.route.path + " is in the table twice")
		}
		res.routes = append(res.routes, m)
	}
	slices.SortStableFunc(all, func(a, b *resource) int {
		return cmp.Compare(len(a.variables), len(b.variables))
	})
	for _, res := range all {
		res.allow = []string{allowed(res)}
		rt.mux.NewRoute().Path(res.path).Name(res.path)
		first, segment, rest := segments(res.path)
		switch {
		case len(res.variables) == 0:
			rt.fixed[res.path] = res
		case len(res.variables) == 1 && strings.HasPrefix(segment, "{"):
			rt.second[shape{first, rest}] = res
		}
	}
	return rt
}

// find returns the resource for a path, with the values of its variables, or
// nil. raw is the path as it was escaped, if that differs from the usual way. A
// slash at the end does not matter.
func (rt *router) find(path, raw string) (res *resource, params [2]string) {
	if len(path) > 1 {
		path, raw = strings.TrimSuffix(path, "/"), strings.TrimSuffix(raw, "/")
	}
	if raw == "" {
		if res, params = rt.index(path); res != nil {
			return res, params
		}
	}
	return rt.search(path, raw)
}

// index looks into the two maps.
func (rt *router) index(path string) (*resource, [2]string) {
	if res := rt.fixed[path]; res != nil {
		return res, [2]string{}
	}
	first, segment, rest := segments(path)
	if segment == "" {
		return nil, [2]string{}
	}
	return rt.second[shape{first, rest}], [2]string{segment}
}

// search asks mux.
func (rt *router) search(path, raw string) (*resource, [2]string) {
	var match mux.RouteMatch
	r := http.Request{URL: &url.URL{Path: path, RawPath: raw}}
	if !rt.mux.Match(&r, &match) || match.Route == nil {
		return nil, [2]string{}
	}
	res := rt.named[match.Route.GetName()]
	var params [2]string
	for i, name := range res.variables {
		value, err := url.PathUnescape(match.Vars[name])
		if err != nil {
			return nil, [2]string{}
		}
		params[i] = value
	}
	return res, params
}

// segments cuts /first/segment/rest.
func segments(path string) (first, segment, rest string) {
	first, after, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	segment, rest, slash := strings.Cut(after, "/")
	if slash && rest == "" {
		return "", "", "" // ends with a slash, which is another path
	}
	return first, segment, rest
}

// variables lists the names in a path such as /sessions/{id}/messages/{messageId}.
func variables(path string) []string {
	var names []string
	for part := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			names = append(names, strings.TrimSuffix(name, "}"))
		}
	}
	if len(names) > len([2]string{}) {
		panic("httpapi: " + path + " has too many variables")
	}
	return names
}

// allowed lists the methods of a resource for the Allow header.
func allowed(res *resource) string {
	methods := []string{http.MethodOptions}
	for _, m := range res.routes {
		methods = append(methods, m.route.method)
		if m.route.method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	slices.Sort(methods)
	return strings.Join(methods, ", ")
}
