package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/postgres/postgrestest"
	"github.com/switchyard-wa/switchyard/adapters/redis/redistest"
	"github.com/switchyard-wa/switchyard/adapters/simworker"
)

// A size says how much there is in a scene, and how quick it is.
type size struct {
	replicas, workers int
	capacity          int // of a worker
	users, each       int // each user has so many sessions
	scan              time.Duration
	timing            []string // flags of the replicas
	lease             time.Duration
}

// A scene is a control plane of several replicas with its PostgreSQL, Redis and
// workers, each a process, and a network of links between them.
type scene struct {
	t     testing.TB
	size  size
	dir   string // logs and state
	began time.Time

	links    map[string]*link
	machines map[string]*machine // replicas and workers
	postgres *postgrestest.Server
	redis    *redistest.Server
	dsn      string // of the store, by no link
	front    *balancer
	api      *server // the control plane as clients see it
	admin    client

	mu       sync.Mutex
	crashes  []crash
	diary    []string        // what was done to it
	faults   int             // under way
	turned   time.Time       // when one last began or ended
	doubtful map[string]bool // workers of which a drain had no clear answer
}

// newScene starts everything and waits until it is ready.
func newScene(t testing.TB, z size) *scene {
	t.Helper()
	s := &scene{
		t: t, size: z, dir: t.ArtifactDir(), began: time.Now(),
		links: make(map[string]*link), machines: make(map[string]*machine), doubtful: make(map[string]bool),
	}
	s.postgres = postgrestest.Start(t, "fsync=on", "full_page_writes=on")
	s.redis = redistest.Start(t)
	s.dsn = s.postgres.NewDatabase(t)
	for n := range z.replicas {
		s.addReplica(n + 1)
	}
	s.front = newBalancer(t, s)
	for n := range z.workers {
		s.addWorker(n + 1)
	}
	s.api = &server{url: s.front.url, web: &http.Client{
		Timeout:   12 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 128, DisableCompression: true},
	}}
	t.Cleanup(s.api.web.CloseIdleConnections)
	for n := range z.replicas {
		s.awaitDoor(s.machines[replica(n+1)])
	}
	a, err := s.api.anonymous().expect(http.StatusOK, "POST", "/auth/login", obj{"email": adminEmail, "password": adminPassword})
	require.NoError(t, err)
	s.admin = s.api.with(a.str("data.token"))
	waitFor(t, "all workers are online", func() (bool, any) {
		a, err := s.admin.expect(http.StatusOK, "GET", "/workers/statistics", nil)
		return err == nil && a.at("data.workers.online") == float64(z.workers), a
	})
	return s
}

// secretOfReplicas signs the access tokens of all replicas.
const secretOfReplicas = "what-all-replicas-of-the-test-share"

func (s *scene) addReplica(n int) {
	s.t.Helper()
	m := s.machine(replica(n))
	m.args = append([]string{
		"serve", "--addr", m.addr, "--store", s.linked(toPostgres(n), s.dsn), "--fabric", s.linked(toRedis(n), s.redis.URL()),
		"--jwt-secret", secretOfReplicas, "--worker-token", fleetToken, "--admin-password", adminPassword,
		"--rate-limits", "off", "--log-format", "json",
	}, s.size.timing...)
	m.leading = []*link{s.link(toReplica(n), m.addr)}
	require.NoError(s.t, m.start())
}

func (s *scene) addWorker(n int) {
	s.t.Helper()
	m := s.machine(worker(n))
	in, out := s.link(toWorker(n), m.addr), s.link(toControl(n), s.front.addr)
	m.args = []string{
		"worker", "--simulated", "--id", worker(n), "--addr", m.addr, "--endpoint", "http://" + in.addr,
		"--control-plane", "http://" + out.addr, "--token", fleetToken, "--state", s.stateDir(),
		"--max-sessions", fmt.Sprint(s.size.capacity), "--scan-after", s.size.scan.String(),
	}
	m.leading = []*link{in}
	require.NoError(s.t, m.start())
}

// stateDir is where all workers keep the credentials of their phones, so that a
// session that moves is linked on the next worker too, and their journal.
func (s *scene) stateDir() string { return filepath.Join(s.dir, "phones") }

func (s *scene) journal() []simworker.Entry {
	s.t.Helper()
	entries, err := simworker.ReadJournal(filepath.Join(s.stateDir(), "journal.jsonl"))
	require.NoError(s.t, err)
	return entries
}

// link lays a link to an address.
func (s *scene) link(name, target string) *link {
	s.t.Helper()
	l := newLink(s.t, name, target)
	s.links[name] = l
	return l
}

// linked is a URL by way of a link.
func (s *scene) linked(name, dsn string) string {
	s.t.Helper()
	u, err := url.Parse(dsn)
	require.NoError(s.t, err)
	u.Host = s.link(name, u.Host).addr
	return u.String()
}

// tell notes what is done, for whoever has to find out what went wrong.
func (s *scene) tell(format string, args ...any) {
	line := fmt.Sprintf("%s %6.2fs %s", time.Now().UTC().Format("15:04:05.000"), time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
	s.mu.Lock()
	s.diary = append(s.diary, line)
	s.mu.Unlock()
	s.t.Log(line)
}

// A machine is a process of the program that comes and goes.
type machine struct {
	s       *scene
	name    string
	addr    string // where it listens
	args    []string
	leading []*link // that lead to it
	log     *os.File

	turn  sync.Mutex // held by whoever does something to it
	mu    sync.Mutex
	cmd   *exec.Cmd // nil: it does not run
	ended chan struct{}
	meant bool // that it ends is meant
}

func (s *scene) machine(name string) *machine {
	s.t.Helper()
	l, err := net.Listen("tcp", address()+":0")
	require.NoError(s.t, err)
	m := &machine{s: s, name: name, addr: l.Addr().String()}
	l.Close() // nobody else uses this loopback address
	m.log, err = os.Create(filepath.Join(s.dir, name+".log"))
	require.NoError(s.t, err)
	s.machines[name] = m
	s.t.Cleanup(func() {
		m.kill()
		m.log.Close()
	})
	return m
}

// outlasting bounds waits for what may take until another fault is over.
const outlasting = longMost + patience

// start starts the process and waits until it listens. A replica may end before
// that, if its store is not there: then it is started again, as any supervisor
// would.
func (m *machine) start() error {
	for deadline := time.Now().Add(outlasting); ; time.Sleep(200 * time.Millisecond) {
		if err := m.launch(); err != nil {
			return err
		}
		if m.awaitListening(deadline) {
			return m.lead(true)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not start: %s", m.name, m.lastWords())
		}
	}
}

func (m *machine) launch() error {
	fmt.Fprintf(m.log, "--- %s starts\n", time.Now().UTC().Format(time.RFC3339Nano))
	cmd := exec.Command(binary, m.args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = m.s.dir, environment(), m.log, m.log
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	m.mu.Lock()
	m.cmd, m.ended, m.meant = cmd, ended, true
	m.mu.Unlock()
	go func() {
		_ = cmd.Wait() // how it ended is in ProcessState
		close(ended)
		m.mu.Lock()
		defer m.mu.Unlock()
		if !m.meant {
			m.s.t.Errorf("%s has ended by itself: %v: %s", m.name, cmd.ProcessState, m.lastWords())
		}
	}()
	return nil
}

func (m *machine) awaitListening(deadline time.Time) bool {
	for time.Now().Before(deadline) {
		if c, err := net.Dial("tcp", m.addr); err == nil {
			c.Close()
			m.mu.Lock()
			m.meant = false
			m.mu.Unlock()
			return true
		}
		if isOpen(m.ended) {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
	m.kill()
	return false
}

func (m *machine) lead(up bool) error {
	var errs []error
	for _, l := range m.leading {
		errs = append(errs, l.leads(up))
	}
	return errors.Join(errs...)
}

// kill is kill -9, of a process that may have ended already. It ended between
// two times.
func (m *machine) kill() (from, to time.Time) {
	m.mu.Lock()
	cmd, ended := m.cmd, m.ended
	m.meant = true
	m.mu.Unlock()
	from = time.Now()
	if cmd != nil {
		_ = cmd.Process.Kill() // it may end at this moment
		<-ended
	}
	to = time.Now()
	if err := m.lead(false); err != nil {
		m.s.t.Error(err)
	}
	return from, to
}

// end is SIGTERM, and waits for the end.
func (m *machine) end() error {
	m.mu.Lock()
	cmd, ended := m.cmd, m.ended
	m.meant = true
	m.mu.Unlock()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	select {
	case <-ended:
	case <-time.After(patience):
		m.signal(syscall.SIGQUIT) // its log shows what it waits for
		select {
		case <-ended:
		case <-time.After(time.Second):
		}
		m.s.crash(m)
		return fmt.Errorf("%s has not ended %v after SIGTERM; what it was doing is in %s", m.name, patience, m.log.Name())
	}
	if err := m.lead(false); err != nil {
		return err
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%s ended with %d after SIGTERM: %s", m.name, code, m.lastWords())
	}
	return nil
}

func (m *machine) signal(sig os.Signal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = m.cmd.Process.Signal(sig) // it may have ended
}

// said is everything that the process and those before it have written.
func (m *machine) said() []byte {
	b, err := os.ReadFile(m.log.Name())
	if err != nil {
		m.s.t.Error(err)
	}
	return b
}

func (m *machine) lastWords() string {
	lines := bytes.Split(bytes.TrimSpace(m.said()), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-5):], []byte("\n")))
}

// A balancer passes requests on to replicas that are ready, in rotation. It
// passes a request on once, unless there was no connection to send it over.
type balancer struct {
	addr, url string
	doors     []*door
	turn      atomic.Uint64
}

// A door is the way to one replica.
type door struct {
	link      *link
	ready     atomic.Bool
	transport *http.Transport
}

// viaBalancer is a header of answers: which replica they are from, or that they
// are the balancer's own.
const viaBalancer = "X-Balancer"

var errNobody = errors.New("no replica is ready")

func newBalancer(t testing.TB, s *scene) *balancer {
	t.Helper()
	listener, err := net.Listen("tcp", address()+":0")
	require.NoError(t, err)
	b := &balancer{addr: listener.Addr().String()}
	b.url = "http://" + b.addr
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	for n := range s.size.replicas {
		d := &door{link: s.links[toReplica(n+1)], transport: &http.Transport{MaxIdleConnsPerHost: 128, DisableCompression: true}}
		b.doors = append(b.doors, d)
		work.Go(func() { d.watch(ctx) })
	}
	proxy := &httputil.ReverseProxy{
		Transport: b,
		Rewrite:   func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", b.addr },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			status := http.StatusBadGateway // it may or may not have arrived
			if errors.Is(err, errNobody) {
				status = http.StatusServiceUnavailable
			}
			w.Header().Set(viaBalancer, err.Error())
			w.WriteHeader(status)
		},
	}
	web := &http.Server{Handler: proxy, ReadHeaderTimeout: patience}
	work.Go(func() { _ = web.Serve(listener) })
	t.Cleanup(func() {
		web.Close()
		cancel()
		work.Wait()
		for _, d := range b.doors {
			d.transport.CloseIdleConnections()
		}
	})
	return b
}

// watch asks the replica whether it is ready, all the time.
func (d *door) watch(ctx context.Context) {
	web := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		req, err := http.NewRequestWithContext(ctx, "GET", "http://"+d.link.addr+"/readyz", nil)
		if err != nil {
			panic(err)
		}
		resp, err := web.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		d.ready.Store(err == nil && resp.StatusCode == http.StatusOK)
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return
		}
	}
}

// RoundTrip implements http.RoundTripper.
func (b *balancer) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	err := errNobody
	if req.Body != nil {
		var e error
		if body, e = io.ReadAll(req.Body); e != nil {
			return nil, e
		}
	}
	for range b.doors {
		d := b.doors[b.turn.Add(1)%uint64(len(b.doors))]
		if !d.ready.Load() {
			continue
		}
		try := req.Clone(req.Context())
		try.URL.Host = d.link.addr
		if req.Body != nil {
			try.Body = io.NopCloser(bytes.NewReader(body))
		}
		var resp *http.Response
		if resp, err = d.transport.RoundTrip(try); err == nil {
			resp.Header.Set(viaBalancer, d.link.name)
			return resp, nil
		}
		var dialing *net.OpError
		if !errors.As(err, &dialing) || dialing.Op != "dial" {
			return nil, err
		}
		err = errors.Join(errNobody, err)
	}
	return nil, err
}

// hosts asks every worker which sessions run on it.
func (s *scene) hosts() (where map[string][]string, err error) {
	where = make(map[string][]string)
	for n := range s.size.workers {
		m := s.machines[worker(n+1)]
		req, err := http.NewRequest("GET", "http://"+m.addr+"/api/sessions", nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+fleetToken)
		resp, err := s.api.web.Do(req)
		if err != nil {
			return nil, err
		}
		var list struct {
			Data struct {
				Sessions []struct{ SessionID, Status string }
			}
		}
		err = json.NewDecoder(resp.Body).Decode(&list)
		resp.Body.Close()
		if err != nil {
			return nil, err
		}
		for _, r := range list.Data.Sessions {
			if r.Status == "connected" {
				where[r.SessionID] = append(where[r.SessionID], m.name)
			}
		}
	}
	return where, nil
}

// aftermath is how long what a fault has held up takes to arrive after it.
const aftermath = time.Second

// calmSince reports whether nothing that was under way at a time can still have
// an effect: there is no fault any more, and what they held up has arrived.
func (s *scene) calmSince(t time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults == 0 && time.Since(s.turned) > aftermath && time.Since(t) > aftermath
}

// count counts the faults that are under way.
func (s *scene) count(by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.turned = s.faults+by, time.Now()
}

// do carries out a fault and undoes it when its time is over.
func (s *scene) do(f fault) {
	s.count(1)
	defer s.count(-1)
	s.tell("%s", f)
	defer s.tell("over: %s", f)
	for _, name := range f.on {
		if m := s.machines[name]; m != nil {
			m.turn.Lock()
			defer m.turn.Unlock()
		}
	}
	each := func(fn func(*machine)) {
		var all sync.WaitGroup
		for _, name := range f.on {
			if m := s.machines[name]; m != nil {
				all.Go(func() { fn(m) })
			}
		}
		all.Wait()
	}
	wires := func(fn func(*link)) {
		for _, name := range f.on {
			if l := s.links[name]; l != nil {
				fn(l)
			}
		}
	}
	must := func(err error) {
		if err != nil {
			s.t.Errorf("%s: %v", f, err)
		}
	}
	kill := func() {
		each(func(m *machine) { s.crash(m) })
		s.server(f.on, func(p *postgrestest.Server) { p.Kill() }, func(r *redistest.Server) { r.Kill() })
		must(s.serve(f.on, false))
	}
	revive := func() {
		s.server(f.on, func(p *postgrestest.Server) { must(p.Restart()) }, func(r *redistest.Server) { must(r.Restart()) })
		must(s.serve(f.on, true))
		each(func(m *machine) { must(m.start()) })
	}
	switch f.action {
	case killing:
		kill()
		time.Sleep(f.lasts)
		revive()
	case freezing:
		each(func(m *machine) { m.signal(syscall.SIGSTOP) })
		s.server(f.on, func(p *postgrestest.Server) { p.Pause() }, func(r *redistest.Server) { r.Pause() })
		time.Sleep(f.lasts)
		s.server(f.on, func(p *postgrestest.Server) { p.Resume() }, func(r *redistest.Server) { r.Resume() })
		each(func(m *machine) { m.signal(syscall.SIGCONT) })
	case restarting, rolling:
		for _, name := range f.on {
			m := s.machines[name]
			must(m.end())
			must(m.start())
			if f.action == rolling {
				s.awaitDoor(m)
			}
		}
	case silencing, cutting, muting, deafening:
		wires(func(l *link) { l.cut(ways[f.action]...) })
		time.Sleep(f.lasts / 2)
		if f.then == killing {
			kill() // for the other half
		}
		time.Sleep(f.lasts / 2)
		if f.then == resetting {
			wires((*link).reset)
		}
		wires((*link).heal)
		if f.then == killing {
			revive()
		}
	case resetting:
		wires((*link).reset)
	case flushing:
		if err := s.redis.FlushAll(); err != nil {
			s.tell("Redis was not flushed: %v", err)
		}
	case draining:
		s.drain(f)
	case balancing:
		if a, err := s.admin.expect(http.StatusOK, "POST", "/admin/rebalance", nil); err != nil {
			s.tell("not rebalanced: %v", err)
		} else {
			s.tell("a rebalance moves %d sessions", len(a.list("data.moves")))
		}
	}
}

// ways are the directions that are cut.
var ways = map[action][]direction{silencing: {forth, back}, cutting: {forth, back}, muting: {forth}, deafening: {back}}

// crash kills a process, and notes when: it cannot do so itself.
func (s *scene) crash(m *machine) crash {
	from, to := m.kill()
	c := crash{m.name, from, to}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.crashes = append(s.crashes, c)
	return c
}

// server does something to PostgreSQL or Redis, if they are meant.
func (s *scene) server(names []string, toPostgres func(*postgrestest.Server), toRedis func(*redistest.Server)) {
	if slices.Contains(names, postgres) {
		toPostgres(s.postgres)
	}
	if slices.Contains(names, redis) {
		toRedis(s.redis)
	}
}

// serve says whether PostgreSQL or Redis, if they are meant, can be reached.
func (s *scene) serve(names []string, up bool) (err error) {
	for _, l := range s.links {
		for _, name := range []string{postgres, redis} {
			if slices.Contains(names, name) && strings.HasSuffix(l.name, between("", name)) {
				err = errors.Join(err, l.leads(up))
			}
		}
	}
	return err
}

// awaitDoor waits until the balancer passes requests on to a replica.
func (s *scene) awaitDoor(m *machine) {
	for deadline := time.Now().Add(outlasting); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for _, d := range s.front.doors {
			if d.link == m.leading[0] && d.ready.Load() {
				return
			}
		}
	}
	s.t.Errorf("%s is not ready after %v", m.name, outlasting)
}

// drain has a worker drained, and activates it when the time is over, or as
// soon after that as it answers: other faults may happen to it meanwhile.
func (s *scene) drain(f fault) {
	over := time.Now().Add(f.lasts)
	name := strings.TrimPrefix(f.on[0], between(operator, ""))
	ask := func(what string, until time.Time) error {
		for ; ; time.Sleep(100 * time.Millisecond) {
			a, err := s.admin.expect(http.StatusOK, "POST", "/workers/"+name+"/"+what, nil)
			if what == "drain" && !a.clear() {
				s.mu.Lock()
				s.doubtful[name] = true // it may come after the activation
				s.mu.Unlock()
			}
			if err == nil || time.Now().After(until) {
				return err
			}
		}
	}
	if err := ask("drain", over); err != nil {
		s.tell("not drained: %v", err) // whatever is in the way is another fault's
	}
	time.Sleep(time.Until(over))
	if err := ask("activate", time.Now().Add(outlasting)); err != nil {
		s.t.Errorf("%s: %v", f, err)
	}
}
