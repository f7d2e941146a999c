package httpapi

import (
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// A query reads the parameters of a URL and collects what is wrong with them.
// Parameters that are missing or empty change nothing.
type query struct {
	values   url.Values
	problems domain.Problems
}

func (c *call) query() *query {
	values, err := url.ParseQuery(c.r.URL.RawQuery)
	q := &query{values: values}
	if err != nil {
		q.problems.Add("query", "Query string is not valid; escape it as in ?search=a%%20b")
	}
	return q
}

// end returns everything that was wrong, or nil.
func (q *query) end() error { return q.problems.Err() }

// only refuses parameters of other names, and those of these that do not say one
// thing, where it would do harm to overlook them.
func (q *query) only(names ...string) {
	for _, name := range slices.Sorted(maps.Keys(q.values)) {
		switch given := q.values[name]; {
		case !slices.Contains(names, name):
			q.problems.Add(clean(name, maxID), "Unknown parameter; use %s", strings.Join(names, ", "))
		case len(given) > 1 || strings.TrimSpace(given[0]) == "":
			q.problems.Add(name, "%s must be given once, with a value", name)
		}
	}
}

func (q *query) get(name string) string { return strings.TrimSpace(q.values.Get(name)) }

// text reads a text to look for.
func (q *query) text(name string, to *string) {
	s := q.get(name)
	if !searchable(s) {
		q.problems.Add(name, "%s must be plain text of at most %d bytes", name, maxID)
		return
	}
	*to = s
}

// searchable reports whether every store can be asked for a text.
func searchable(s string) bool {
	return len(s) <= maxID && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// parse reads a parameter by a function that may find it wrong.
func parse[T any](q *query, name string, to *T, read func(string) (T, error)) {
	s := q.get(name)
	if s == "" {
		return
	}
	v, err := read(s)
	if err != nil {
		q.problems.Check(name, err)
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

// integer reads a whole number within bounds.
func (q *query) integer(name string, to *int, least, most int) {
	s := q.get(name)
	if s == "" {
		return
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		if most == math.MaxInt32 {
			q.problems.Add(name, "%s must be a whole number of at least %d", name, least)
		} else {
			q.problems.Add(name, "%s must be a whole number from %d to %d", name, least, most)
		}
		return
	}
	*to = n
}

// flag reads a yes or no.
func (q *query) flag(name string, to *bool) {
	s := q.get(name)
	if s == "" {
		return
	}
	v, err := strconv.ParseBool(strings.ToLower(s))
	if err != nil {
		q.problems.Add(name, "%s must be true or false", name)
		return
	}
	*to = v
}

// time reads a point in time.
func (q *query) time(name string, to *time.Time) {
	s := q.get(name)
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
		q.problems.Add(name, "%s must be %s", name, timeRule)
		return
	}
	*to = t
}

// duration reads a length of time such as 10s, or a number of seconds.
func (q *query) duration(name string, to *time.Duration, most time.Duration) {
	s := q.get(name)
	if s == "" {
		return
	}
	d, err := time.ParseDuration(s)
	if n, notANumber := strconv.ParseFloat(s, 64); notANumber == nil {
		if d, err = -1, nil; n >= 0 && n <= most.Seconds() {
			d = time.Duration(n * float64(time.Second))
		}
	}
	if err != nil || d < 0 || d > most {
		q.problems.Add(name, "%s must be a length of time such as 10s, at most %s", name, spell(most))
		return
	}
	*to = d
}

// spell writes a duration without what is zero: 24h rather than 24h0m0s.
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

// A page is which part of a list is asked for.
type page struct {
	ports.Page
	number int
}

const (
	defaultLimit = 20
	maxLimit     = 100
)

// page reads page and limit, or offset and limit.
func (q *query) page() page {
	p := page{Page: ports.Page{Limit: defaultLimit}, number: 1}
	q.integer("limit", &p.Limit, 1, maxLimit)
	if q.get("page") != "" {
		q.integer("page", &p.number, 1, math.MaxInt32)
		p.Offset = (p.number - 1) * p.Limit
		return p
	}
	q.integer("offset", &p.Offset, 0, math.MaxInt32)
	p.number = p.Offset/p.Limit + 1
	return p
}

// pagination tells where a page is in its list.
type pagination struct {
	Total      int  `json:"total"`
	Page       int  `json:"page"`
	Limit      int  `json:"limit"`
	TotalPages int  `json:"totalPages"`
	HasNext    bool `json:"hasNext"`
	HasPrev    bool `json:"hasPrev"`
}

// of describes the page within a list of a given length.
func (p page) of(total int) pagination {
	return pagination{
		Total: total, Page: p.number, Limit: p.Limit,
		TotalPages: (total + p.Limit - 1) / p.Limit,
		HasNext:    p.Offset+p.Limit < total,
		HasPrev:    p.Offset > 0,
	}
}
