package httpapi

import (
	"cmp"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// parseQuery parses the parameters of the URL. It collects the problems of all parameters. A parameter of
// the route that is given twice is a problem: the caller may mean either value.
func (c *requestContext) parseQuery() {
	if c.r.URL.RawQuery == "" {
		return
	}
	var err error
	c.query, err = url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		c.queryProblems.add("query", "Query string is not valid; escape it as in ?search=a%%20b")
	}
	for _, name := range slices.Sorted(maps.Keys(c.query)) {
		if _, isKnown := c.route.params[name]; isKnown && len(c.query[name]) > 1 {
			c.queryProblems.add(name, "%s must be given once", name)
		}
	}
}

// only refuses parameters of other names, and those without a value, where it would do harm to overlook
// them.
func (p *problems) only(query url.Values, names ...string) {
	for _, name := range slices.Sorted(maps.Keys(query)) {
		switch given := query[name]; {
		case !slices.Contains(names, name):
			p.add(clean(name, maxID), "Unknown parameter; use %s", strings.Join(names, ", "))
		case len(given) == 1 && strings.TrimSpace(given[0]) == "":
			p.add(name, "%s must have a value", name)
		}
	}
}

// searchText returns a text to look for.
func (p *problems) searchText(name, s string) string {
	if !searchable(s) {
		p.add(name, "%s must be plain text of at most %d bytes", name, maxID)
		return ""
	}
	return s
}

// searchable reports whether every store can be asked for a text.
func searchable(s string) bool {
	return len(s) <= maxID && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// parse reads a parameter, unless it is empty, by a function that may find it
// wrong.
func parse[T any](p *problems, name, s string, to *T, read func(string) (T, error)) {
	if s == "" {
		return
	}
	v, err := read(s)
	if err != nil {
		p.check(name, err)
		return
	}
	*to = v
}

// oneOf returns a reader that accepts certain words in any case.
func oneOf[T ~string](words ...T) func(string) (T, error) {
	return func(s string) (T, error) {
		for _, w := range words {
			if strings.EqualFold(s, string(w)) {
				return w, nil
			}
		}
		names := make([]string, len(words))
		for i, w := range words {
			names[i] = string(w)
		}
		return "", domain.Errorf(domain.Invalid, domain.CodeValidation, "Use one of %s", strings.Join(names, ", "))
	}
}

const timeRule = "a time such as 2025-01-31T10:00:00Z"

// time reads a point in time: RFC 3339, a date, or a number of milliseconds (or
// seconds) since 1970.
func (p *problems) time(name, s string, to *time.Time) {
	if s == "" {
		return
	}
	t, ok := parseTime(s)
	if day, err := time.Parse(time.DateOnly, s); err == nil {
		t, ok = day, inRange(day)
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		t, ok = unixTime(f)
	}
	if !ok {
		p.add(name, "%s must be %s", name, timeRule)
		return
	}
	*to = t
}

func parseTime(s string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, false
	}
	t = t.UTC()
	return t, inRange(t)
}

func unixTime(f float64) (time.Time, bool) {
	if f < 1e11 { // in seconds until the year 5138; in milliseconds before 1973
		f *= 1000
	}
	if !(f >= 0 && f < 1e15) {
		return time.Time{}, false
	}
	t := time.UnixMilli(int64(f)).UTC()
	return t, inRange(t)
}

// inRange keeps to times that every store can hold.
func inRange(t time.Time) bool { return t.Year() >= 1970 && t.Year() <= 9999 }

// duration reads a length of time such as 10s, or a number of seconds.
func (p *problems) duration(name, s string, to *time.Duration, most time.Duration) {
	if s == "" {
		return
	}
	d, err := time.ParseDuration(s)
	if n, notANumber := strconv.ParseFloat(s, 64); notANumber == nil {
		d, err = -1, nil
		if n >= 0 && n <= most.Seconds() {
			d = time.Duration(n * float64(time.Second))
		}
	}
	if err != nil || d < 0 || d > most {
		p.add(name, "%s must be a length of time such as 10s, at most %s", name, spell(most))
		return
	}
	*to = d
}

// spell writes a duration without its zero parts: 24h rather than 24h0m0s.
func spell(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

const (
	defaultLimit = 20
	maxLimit     = 100
)

// PageInput says which part of a list is asked for.
type PageInput struct {
	Limit  int `query:"limit" minimum:"1" maximum:"100" doc:"How many to return; 20 if it is not given" example:"20"`
	Page   int `query:"page" minimum:"1" maximum:"2147483647" doc:"Which page, from 1" example:"1"`
	Offset int `query:"offset" minimum:"0" maximum:"2147483647" doc:"How many to pass over, for callers without pages; page takes precedence" example:"0"`
}

func (in *PageInput) page() ports.Page {
	p := ports.Page{Limit: cmp.Or(in.Limit, defaultLimit), Offset: in.Offset}
	if in.Page > 0 {
		p.Offset = (in.Page - 1) * p.Limit
	}
	return p
}

// pagination tells where a page is in its list.
type pagination struct {
	Total      int  `json:"total" example:"42"`
	Page       int  `json:"page" example:"1"`
	Limit      int  `json:"limit" example:"20"`
	TotalPages int  `json:"totalPages" example:"3"`
	HasNext    bool `json:"hasNext"`
	HasPrev    bool `json:"hasPrev"`
}

// paginationOf describes a page of a list with so many entries in all.
func paginationOf(p ports.Page, total int) pagination {
	return pagination{
		Total: total, Page: p.Offset/p.Limit + 1, Limit: p.Limit,
		TotalPages: (total + p.Limit - 1) / p.Limit,
		HasNext:    p.Offset+p.Limit < total,
		HasPrev:    p.Offset > 0,
	}
}

// An optionalBool is a parameter that may be true, false or missing.
type optionalBool struct{ value, isSet bool }

// Receiver makes huma parse the parameter into value.
func (b *optionalBool) Receiver() reflect.Value { return reflect.ValueOf(&b.value).Elem() }

// OnParamSet notes whether the parameter is there.
func (b *optionalBool) OnParamSet(isSet bool, _ any) { b.isSet = isSet }

// Schema describes the parameter.
func (*optionalBool) Schema(huma.Registry) *huma.Schema { return &huma.Schema{Type: huma.TypeBoolean} }
