package main_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"
)

// What a user wants of a session.
type intent string

const (
	up     intent = "up"
	down   intent = "down"
	either intent = "up or down" // a call that would change it has had no clear answer
)

// A subject is a session under test, and what its user knows of it.
type subject struct {
	*card
	scene *scene

	turn   sync.Mutex // held by whoever changes what the user wants
	mu     sync.Mutex
	intent intent
	asked  []string // calls that change it, for whoever has to find out what went wrong
	sends  []*letter
	seen   []op
}

// What became of a send, as far as its caller knows.
type fate string

const (
	acknowledged fate = "acknowledged"
	refused      fate = "refused" // it was certainly not sent
	unknown      fate = "unknown"
)

// A letter is one message that somebody tried to send.
type letter struct {
	text     string
	from, to time.Time
	fate     fate
	answer   string
	id       string // the control plane's
	whatsApp string
}

// A crowd uses the scene: it sends over all lines, looks where they are, and
// changes its mind about some.
type crowd struct {
	s     *scene
	lines []*subject

	sending, looking, deciding *stream
}

// parallel does n things, some at a time.
func parallel(n, width int, fn func(i int) error) error {
	errs := make([]error, n)
	var next atomic.Int64
	var all sync.WaitGroup
	for range width {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				errs[i] = fn(i)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// expect makes a call that has to succeed with a status.
func (c client) expect(status int, method, path string, body any) (answer, error) {
	a, err := c.call(method, path, body)
	if err == nil && a.status != status {
		err = fmt.Errorf("%s", a)
	}
	return a, err
}

// newCrowd makes users with their sessions and waits until all are connected.
func newCrowd(s *scene) *crowd {
	s.t.Helper()
	c := &crowd{s: s, lines: make([]*subject, s.size.users*s.size.each)}
	const width = 6
	users := make([]client, s.size.users)
	require.NoError(s.t, parallel(len(users), width, func(i int) error {
		a, err := s.api.anonymous().expect(http.StatusCreated, "POST", "/auth/register",
			obj{"name": "Somebody", "email": fmt.Sprintf("chaos%d@example.com", i), "password": password})
		if err != nil {
			return err
		}
		users[i] = s.api.with(a.str("data.token"))
		_, err = c.s.admin.expect(http.StatusOK, "PUT", "/admin/users/"+a.str("data.user.id"), obj{"tier": "MAX"})
		return err
	}))
	require.NoError(s.t, parallel(len(c.lines), width, func(i int) error {
		user := users[i%len(users)]
		a, err := user.expect(http.StatusCreated, "POST", "/sessions", obj{"name": fmt.Sprint("Line ", i)})
		if err != nil {
			return err
		}
		c.lines[i] = &subject{scene: s, card: &card{user, a.str("data.id"), a.str("data.apiKey")}, intent: up}
		_, err = user.expect(http.StatusOK, "POST", c.lines[i].path("/connect"), nil)
		return err
	}))
	waitFor(s.t, "all sessions are connected", func() (bool, any) {
		states, err := c.states()
		connected := 0
		for _, v := range states {
			if text(v, "status") == "CONNECTED" {
				connected++
			}
		}
		return connected == len(c.lines), fmt.Sprint(connected, " are, ", err)
	})
	return c
}

// states gives all sessions as their users see them, by id.
func (c *crowd) states() (map[string]any, error) {
	states := make(map[string]any)
	var mu sync.Mutex
	err := parallel(c.s.size.users, 4, func(i int) error {
		a, err := c.lines[i].expect(http.StatusOK, "GET", "/sessions?limit=100", nil)
		mu.Lock()
		defer mu.Unlock()
		for _, v := range a.list("data.sessions") {
			states[text(v, "id")] = v
		}
		return err
	})
	return states, err
}

// begin has the crowd send so many messages a second over all lines, look where
// lines are, and change its mind about every fifth of them.
func (c *crowd) begin(rate int, seed uint64) {
	const most = 128 // requests under way
	every := time.Second / time.Duration(rate)
	c.sending = streaming(every, most, func(i int) {
		l := c.lines[i%len(c.lines)]
		l.send(fmt.Sprintf("%s, message %d", l.id, i))
	})
	c.looking = streaming(4*every, most, func(i int) { c.lines[i*7%len(c.lines)].look() })
	r := rand.New(rand.NewPCG(seed, 1))
	var mu sync.Mutex
	c.deciding = streaming(16*every, 16, func(int) {
		mu.Lock()
		l, choice := c.lines[r.IntN((len(c.lines)+4)/5)*5], r.IntN(6)
		mu.Unlock()
		if l.turn.TryLock() {
			defer l.turn.Unlock()
			c.change(l, choice)
		}
	})
	for _, s := range []*stream{c.sending, c.looking, c.deciding} {
		c.s.t.Cleanup(s.end)
	}
}

// A stream does something again and again.
type stream struct {
	stop context.CancelFunc
	work sync.WaitGroup
}

// streaming begins a stream of calls of fn, of which so many may be under way
// at the same time; others are left out.
func streaming(every time.Duration, most int, fn func(i int)) *stream {
	ctx, stop := context.WithCancel(context.Background())
	s := &stream{stop: stop}
	room := make(chan struct{}, most)
	s.work.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			select {
			case room <- struct{}{}:
				s.work.Go(func() {
					defer func() { <-room }()
					fn(i)
				})
			default:
			}
		}
	})
	return s
}

// end begins nothing new and waits for what is under way.
func (s *stream) end() {
	s.stop()
	s.work.Wait()
}

// send sends a text, once.
func (l *subject) send(text string) *letter {
	p := &letter{text: text, from: time.Now()}
	a, err := l.byKey().call("POST", "/sendText", obj{"to": someone, "message": text})
	p.to, p.answer = time.Now(), fmt.Sprint(a.status, " ", a.str("error.code"), " ", err)
	switch {
	case err == nil && a.status < 300:
		p.fate, p.id, p.whatsApp = acknowledged, a.str("data.id"), a.str("data.messageId")
	case a.status == http.StatusServiceUnavailable, err == nil && a.status < 500, err == nil && a.status == http.StatusBadGateway:
		p.fate = refused
	default:
		p.fate = unknown
		p.answer += " " + a.header.Get(viaBalancer)
	}
	if err != nil && errors.Unwrap(err) == nil && strings.HasPrefix(a.header.Get(viaBalancer), clients) {
		l.scene.t.Errorf("an answer that breaks the ground rules: %v", err)
	}
	l.mu.Lock()
	l.sends = append(l.sends, p)
	l.mu.Unlock()
	return p
}

// look asks where the session is.
func (l *subject) look() {
	o := op{deed: seen, from: time.Now()}
	a, err := l.call("GET", l.path("/status"), nil)
	o.to = time.Now()
	if err != nil || a.status != http.StatusOK {
		return
	}
	generation, _ := a.at("data.generation").(float64)
	o.worker, o.generation = a.str("data.workerId"), int64(generation)
	o.source = fmt.Sprintf("%s %s", a.header.Get(viaBalancer), a.str("data.status"))
	if o.worker == "" {
		o.deed = released
	}
	l.mu.Lock()
	l.seen = append(l.seen, o)
	l.mu.Unlock()
}

// change is a user who changes their mind, or an administrator who moves the
// session. Whoever calls it has the line's turn.
func (c *crowd) change(l *subject, choice int) {
	by, path := l.client, l.path("/connect")
	switch {
	case l.intent != up: // it goes up, or becomes clear
	case choice < 2:
		path = l.path("/disconnect")
	case choice < 4:
		path = l.path("/restart")
	default:
		by, path = c.s.admin, "/admin/sessions/"+l.id+"/migrate"
	}
	began := time.Now()
	a, err := by.call("POST", path, obj{})
	code := a.str("error.code")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, fmt.Sprintf("%s to %s: POST %s: %d %s %v",
		began.UTC().Format("15:04:05.000000"), time.Now().UTC().Format("15:04:05.000000"), path, a.status, code, err))
	clear := err == nil && a.status < 500
	switch path {
	case l.path("/disconnect"):
		if l.intent = either; clear {
			l.intent = down
		}
	case l.path("/connect"):
		if l.intent = either; clear { // also if it is connected already
			l.intent = up
		}
	case l.path("/restart"):
		if code == "INVALID_STATE" {
			c.s.t.Errorf("%s is wanted up, but cannot be restarted: %s", l.id, a)
		}
	}
}
