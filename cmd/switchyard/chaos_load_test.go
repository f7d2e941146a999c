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

// intent is the state that a user wants for a session.
type intent string

const (
	up     intent = "up"
	down   intent = "down"
	out    intent = "logged out"
	either intent = "up or down"   // the outcome of a call that changes it is unknown
	gone   intent = "deleted"      // by its user; the id is used again as soon as it is free
	unsure intent = "there or not" // the outcome of a deletion or creation is unknown
)

// intentAfter maps calls to the intent after their success.
var intentAfter = map[string]intent{"connect": up, "disconnect": down, "logout": out}

// callSequences holds calls by the user or an administrator about a session that
// should be up. Each call waits for a definite outcome of the call before it.
var callSequences = [][]string{
	{"disconnect"}, {"disconnect", "connect"}, {"logout"}, {"logout", "connect"},
	{"restart"}, {"restart"}, {"migrate"}, {"migrate"}, {"delete"}, {"delete"},
}

// trackedSession is a session id under test with its user's knowledge of it.
type trackedSession struct {
	id    string
	index int // among all lines
	scene *scene
	users []client

	intentMu     sync.Mutex // held while somebody changes the intent
	mu           sync.Mutex
	card         *card   // the present one, or the latest if it is deleted
	former       []*card // deleted ones, oldest first
	limited      int     // users who could create no further session
	intent       intent
	unknownSince time.Time // time of the latest call with an unknown outcome
	asked        []request
	sends        []*sentMessage
	seen         []op
}

// request is one call of a sequence.
type request struct {
	from, to time.Time
	what     string
	answer   string
	err      error
}

func (q request) String() string {
	return fmt.Sprintf("%s: %s: %s %v", during(q.from, q.to), q.what, q.answer, q.err)
}

// fate is the outcome of a send as its caller knows it.
type fate string

const (
	acknowledged fate = "acknowledged"
	refused      fate = "refused" // certainly not sent
	unknown      fate = "unknown"
	accepted     fate = "accepted" // to be sent later
)

// sentMessage is one attempted message.
type sentMessage struct {
	card     *card
	text     string
	key      string // Idempotency-Key; empty: none
	from, to time.Time
	fate     fate
	answer   string
	id       string // the control plane's id
	whatsApp string
	status   string // by the first acknowledgement
	later    obj    // members of the body that have it sent later; nil: it is sent at once
}

// workload is the load on a scene. Its users send over all sessions, look at their
// sessions, and change the intent for some.
type workload struct {
	s     *scene
	users []client
	lines []*trackedSession

	sending, looking, deciding *stream
	readers                    []*eventReader // one for each user
	hooks                      *hookLoad
}

// parallel runs fn n times, at most width of them concurrently.
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

// expect makes a call and returns an error unless the status is as given.
func (c client) expect(status int, method, path string, body any) (answer, error) {
	a, err := c.call(method, path, body)
	if err == nil && a.status != status {
		err = fmt.Errorf("%s", a)
	}
	return a, err
}

// clear reports whether the outcome of a call is definite.
func (a answer) clear() bool {
	return a.status >= 200 && a.status < 500 || strings.HasPrefix(a.header.Get(viaBalancer), errNobody.Error())
}

// newWorkload creates users with their sessions, and waits until all are connected.
func newWorkload(s *scene) *workload {
	s.t.Helper()
	c := &workload{s: s, lines: make([]*trackedSession, s.size.users*s.size.each)}
	const width = 6
	users := make([]client, s.size.users)
	c.users = users
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
		l := &trackedSession{id: a.str("data.id"), index: i, scene: s, users: users, intent: up}
		l.card = l.newCard(i%len(users), 0)
		l.card.key = a.str("data.apiKey")
		c.lines[i] = l
		_, err = user.expect(http.StatusOK, "POST", l.card.path("/connect"), l.card.pairing())
		return err
	}))
	waitFor(s.t, "all sessions are connected", func() (bool, any) {
		states, err := c.states()
		connected := 0
		for _, v := range states {
			if text(v.view, "status") == "CONNECTED" {
				connected++
			}
		}
		return connected == len(c.lines), fmt.Sprint(connected, " are, ", err)
	})
	return c
}

// shownSession is a session as the API shows it to a user.
type shownSession struct {
	view any
	user int
}

// states returns all sessions by id, as the API shows them.
func (c *workload) states() (map[string]shownSession, error) {
	states := make(map[string]shownSession)
	var mu sync.Mutex
	err := parallel(len(c.users), 4, func(i int) error {
		a, err := c.users[i].expect(http.StatusOK, "GET", "/sessions?limit=100", nil)
		mu.Lock()
		defer mu.Unlock()
		for _, v := range a.list("data.sessions") {
			id := text(v, "id")
			if other, isTwice := states[id]; isTwice {
				return fmt.Errorf("%s belongs to users %d and %d", id, other.user, i)
			}
			states[id] = shownSession{v, i}
		}
		return err
	})
	return states, err
}

// begin starts the load: rate messages a second over all sessions, status requests,
// and a change of intent for every fifth session.
func (c *workload) begin(rate int, seed uint64) {
	const most = 128 // concurrent requests
	every := time.Second / time.Duration(rate)
	c.sending = streaming(every, most, func(i int) {
		l := c.lines[i%len(c.lines)]
		switch {
		case i%laterOneIn == 0:
			l.sendLater(fmt.Sprint("message ", i), i/laterOneIn)
		case i%keyedOneIn == 0:
			l.sendKeyed(fmt.Sprint("message ", i))
		default:
			l.send(fmt.Sprint("message ", i))
		}
	})
	c.looking = streaming(4*every, most, func(i int) { c.lines[i*7%len(c.lines)].look() })
	r := rand.New(rand.NewPCG(seed, 1))
	var mu sync.Mutex
	c.deciding = streaming(16*every, 16, func(int) {
		mu.Lock()
		l, calls, target := c.lines[r.IntN((len(c.lines)+4)/5)*5], callSequences[r.IntN(len(callSequences))], 1+r.IntN(2*c.s.size.workers)
		mu.Unlock()
		if l.intentMu.TryLock() {
			defer l.intentMu.Unlock()
			l.change(calls, target)
		}
	})
	for _, s := range []*stream{c.sending, c.looking, c.deciding} {
		c.s.t.Cleanup(s.end)
	}
	c.readers = make([]*eventReader, len(c.users))
	for i, user := range c.users {
		c.readers[i] = readEvents(c.s, user)
	}
}

// stream repeats a call.
type stream struct {
	stop context.CancelFunc
	work sync.WaitGroup
}

// streaming starts a stream that calls fn at an interval, at most so many
// concurrently. It skips further calls.
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

// end stops the stream and waits for the calls in progress.
func (s *stream) end() {
	s.stop()
	s.work.Wait()
}

// look reads which worker has the session, and which phone it is.
func (l *trackedSession) look() {
	c, o := l.current(), op{kind: seen, from: time.Now()}
	a, err := c.call("GET", c.path("/status"), nil)
	o.to = time.Now()
	if err != nil || a.status != http.StatusOK {
		return
	}
	if phone := a.str("data.phoneNumber"); phone != "" && !c.isPhone(phone) {
		l.scene.t.Errorf("%s is the phone %s, not %s: %s", c, phone, c.number, a)
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

// change makes a sequence of calls. A move goes to the worker of the given number, or to any
// worker for 0. A session that should be down is connected instead, unless it is
// deleted. The caller holds intentMu.
func (l *trackedSession) change(calls []string, target int) {
	if (l.intent == either || l.intent == unsure) && !l.scene.calmSince(l.unknownSince) {
		return // an earlier call may still arrive and undo another
	}
	if l.intent == gone || l.intent == unsure || calls[0] == "delete" {
		l.replaceCard()
		return
	}
	if l.intent != up {
		calls = []string{"connect"}
	}
	for _, what := range calls {
		l.ask(what, target)
		if l.intent == either {
			return
		}
	}
}

// ask makes one call and updates the intent from its outcome.
func (l *trackedSession) ask(what string, target int) {
	c := l.current()
	by, path, body := c.client, c.path("/"+what), obj{}
	switch what {
	case "connect":
		body = c.pairing()
	case "migrate":
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
	switch wish := intentAfter[what]; {
	case wish == "":
	case a.status/100 == 2, code == "SESSION_ALREADY_CONNECTED":
		l.intent = wish
	case a.clear() && code != "SESSION_CONNECTING":
		// The call was refused: nothing has changed.
	default:
		l.intent, l.unknownSince = either, q.to
	}
}
