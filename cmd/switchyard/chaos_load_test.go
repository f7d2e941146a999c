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
	out    intent = "logged out"
	either intent = "up or down" // a call that would change it has had no clear answer
)

// wishes are the calls that change it, and what it is once they are acknowledged.
var wishes = map[string]intent{"connect": up, "disconnect": down, "logout": out}

// whims are what happens to a session that is wanted up: calls of its user or
// of an administrator, each made when the one before has had a clear answer.
var whims = [][]string{
	{"disconnect"}, {"disconnect", "connect"}, {"logout"}, {"logout", "connect"},
	{"restart"}, {"restart"}, {"migrate"}, {"migrate"},
}

// A trackedSession is a session under test, and what its user knows of it.
type trackedSession struct {
	*card
	scene *scene

	turn    sync.Mutex // held by whoever changes what the user wants
	mu      sync.Mutex
	intent  intent
	unclear time.Time // when a call had no clear answer
	asked   []request
	sends   []*sentMessage
	seen    []op
}

// A request is one call out of a whim.
type request struct {
	from, to time.Time
	what     string
	answer   string
	err      error
}

func (q request) String() string {
	return fmt.Sprintf("%s: %s: %s %v", during(q.from, q.to), q.what, q.answer, q.err)
}

// What became of a send, as far as its caller knows.
type fate string

const (
	acknowledged fate = "acknowledged"
	refused      fate = "refused" // it was certainly not sent
	unknown      fate = "unknown"
)

// A sentMessage is one message that somebody tried to send.
type sentMessage struct {
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
	lines []*trackedSession

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

// clear reports whether a call has certainly been carried out, or certainly not.
func (a answer) clear() bool {
	return a.status >= 200 && a.status < 500 || strings.HasPrefix(a.header.Get(viaBalancer), errNobody.Error())
}

// newCrowd makes users with their sessions and waits until all are connected.
func newCrowd(s *scene) *crowd {
	s.t.Helper()
	c := &crowd{s: s, lines: make([]*trackedSession, s.size.users*s.size.each)}
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
		c.lines[i] = &trackedSession{scene: s, card: &card{user, a.str("data.id"), a.str("data.apiKey")}, intent: up}
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
		l, whim, target := c.lines[r.IntN((len(c.lines)+4)/5)*5], whims[r.IntN(len(whims))], 1+r.IntN(2*c.s.size.workers)
		mu.Unlock()
		if l.turn.TryLock() {
			defer l.turn.Unlock()
			l.change(whim, target)
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
func (l *trackedSession) send(text string) *sentMessage {
	p := &sentMessage{text: text, from: time.Now()}
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
func (l *trackedSession) look() {
	o := op{kind: seen, from: time.Now()}
	a, err := l.call("GET", l.path("/status"), nil)
	o.to = time.Now()
	if err != nil || a.status != http.StatusOK {
		return
	}
	generation, _ := a.at("data.generation").(float64)
	o.worker, o.generation = a.str("data.workerId"), int64(generation)
	o.source = fmt.Sprintf("%s %s", a.header.Get(viaBalancer), a.str("data.status"))
	if o.worker == "" {
		o.kind = released
	}
	l.mu.Lock()
	l.seen = append(l.seen, o)
	l.mu.Unlock()
}

// change is a user who changes their mind, or an administrator who moves the
// session: to the worker of the given number, or to any if there is none. A
// session that is not wanted up goes up. Whoever calls it has the line's turn.
func (l *trackedSession) change(whim []string, target int) {
	if l.intent == either && !l.scene.calmSince(l.unclear) {
		return // the call may still be on its way, and would undo another
	}
	if l.intent != up {
		whim = []string{"connect"}
	}
	for _, what := range whim {
		if l.ask(what, target); l.intent == either {
			return
		}
	}
}

// ask makes one call, and notes what that says of the intent.
func (l *trackedSession) ask(what string, target int) {
	by, path, body := l.client, l.path("/"+what), obj{}
	if what == "migrate" {
		by, path = l.scene.admin, "/admin/sessions/"+l.id+"/migrate"
		if target <= l.scene.size.workers {
			body["targetWorkerId"] = worker(target)
		}
	}
	q := request{what: what, from: time.Now()}
	a, err := by.call("POST", path, body)
	code := a.str("error.code")
	q.to, q.answer, q.err = time.Now(), fmt.Sprint(a.status, " ", code), err
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, q)
	isUp := code == "SESSION_CONNECTING" || code == "SESSION_ALREADY_CONNECTED"
	isDown := strings.Contains(a.str("error.message"), "is not running")
	if isDown && l.intent == up || isUp && (l.intent == down || l.intent == out) {
		l.scene.t.Errorf("%s is wanted %s, but: %s", l.id, l.intent, a)
	}
	switch wish := wishes[what]; {
	case wish == "":
	case a.status/100 == 2, code == "SESSION_ALREADY_CONNECTED":
		l.intent = wish
	case a.clear() && code != "SESSION_CONNECTING":
		// It was refused: nothing has changed.
	default:
		l.intent, l.unclear = either, q.to
	}
}
