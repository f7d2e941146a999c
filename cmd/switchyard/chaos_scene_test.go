package main_test

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/postgres/postgrestest"
	"github.com/switchyard-wa/switchyard/adapters/redis/redistest"
	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/domain"
)

// size configures the number of parts of a scene and their timing.
type size struct {
	replicas, workers int
	capacity          int // sessions per worker
	users, each       int // each user has so many sessions
	scan              time.Duration
	timing            []string // flags of the replicas
	lease             time.Duration
}

// scene is a control plane of several replicas with PostgreSQL, Redis and workers.
// Each is a process. Links connect them.
type scene struct {
	t     testing.TB
	size  size
	dir   string // logs and state
	began time.Time

	links    map[string]*link
	machines map[string]*machine // replicas and workers
	postgres *postgrestest.Server
	redis    *redistest.Server
	dsn      string // direct DSN of the store
	front    *balancer
	api      *server // the control plane as clients see it
	admin    client

	mu              sync.Mutex
	crashes         []crash
	eventLog        []string        // events so far
	faults          int             // in progress
	lastFaultAt     time.Time       // latest start or end of a fault
	uncertainDrains map[string]bool // workers whose drain has an unknown outcome
}

// newScene starts everything and waits until it is ready.
func newScene(t testing.TB, z size) *scene {
	t.Helper()
	s := &scene{
		t: t, size: z, dir: t.ArtifactDir(), began: time.Now(),
		links: make(map[string]*link), machines: make(map[string]*machine), uncertainDrains: make(map[string]bool),
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
		Transport: documented(t, &http.Transport{MaxIdleConnsPerHost: 128, DisableCompression: true}),
	}}
	t.Cleanup(s.api.web.CloseIdleConnections)
	for n := range z.replicas {
		s.awaitBackend(s.machines[replica(n+1)])
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
		"--rate-limits", "off", "--log-format", "json", "--allow-private-webhooks", "--webhook-key", secretOfReplicas,
		"--webhook-timeout", "1s", "--webhook-retry", "200ms,200ms,200ms,200ms,200ms,200ms,200ms,200ms",
	}, s.size.timing...)
	m.inboundLinks = []*link{s.link(toReplica(n), m.addr)}
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
	m.inboundLinks = []*link{in}
	require.NoError(s.t, m.start())
}

// stateDir returns the directory that all workers share. It holds the credentials
// of phones, so that a moved session stays linked, and the journal.
func (s *scene) stateDir() string { return filepath.Join(s.dir, "phones") }

func (s *scene) journal() []simworker.Entry {
	s.t.Helper()
	entries, err := simworker.ReadJournal(filepath.Join(s.stateDir(), "journal.jsonl"))
	require.NoError(s.t, err)
	return entries
}

// link adds a link to an address.
func (s *scene) link(name, target string) *link {
	s.t.Helper()
	l := newLink(s.t, name, target)
	s.links[name] = l
	return l
}

// linked returns a URL whose host is a link.
func (s *scene) linked(name, dsn string) string {
	s.t.Helper()
	u, err := url.Parse(dsn)
	require.NoError(s.t, err)
	u.Host = s.link(name, u.Host).addr
	return u.String()
}

// logEvent appends an event to the eventLog, for the analysis of failures.
func (s *scene) logEvent(format string, args ...any) {
	line := fmt.Sprintf("%s %6.2fs %s", time.Now().UTC().Format("15:04:05.000"), time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
	s.mu.Lock()
	s.eventLog = append(s.eventLog, line)
	s.mu.Unlock()
	s.t.Log(line)
}

// hosts returns the sessions that run on each worker.
func (s *scene) hosts() (where map[string][]string, err error) {
	where = make(map[string][]string)
	db, err := sql.Open("pgx", s.dsn)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	for n := range s.size.workers {
		m := s.machines[worker(n+1)]
		var epoch string
		if err := db.QueryRow("SELECT token_epoch FROM workers WHERE id = $1", m.name).Scan(&epoch); err != nil {
			return nil, err
		}
		req, err := http.NewRequest("GET", "http://"+m.addr+"/api/sessions", nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+domain.NewWorkerTokens(fleetToken).Call(m.name, epoch))
		resp, err := (&http.Client{Timeout: 12 * time.Second}).Do(req)
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
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s answered %d", m.name, resp.StatusCode)
		}
		for _, r := range list.Data.Sessions {
			if r.Status == "connected" {
				where[r.SessionID] = append(where[r.SessionID], m.name)
			}
		}
	}
	return where, nil
}

// aftermath bounds the delay of messages that a fault has held up.
const aftermath = time.Second

// calmSince reports whether everything that was in progress at a time has ended:
// there is no fault, and delayed messages have arrived.
func (s *scene) calmSince(t time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults == 0 && time.Since(s.lastFaultAt) > aftermath && time.Since(t) > aftermath
}

// count counts the faults in progress.
func (s *scene) count(by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.lastFaultAt = s.faults+by, time.Now()
}

// do runs a fault and reverts it when its time is over.
func (s *scene) do(f fault) {
	s.count(1)
	defer s.count(-1)
	s.logEvent("%s", f)
	defer s.logEvent("over: %s", f)
	for _, name := range f.on {
		if m := s.machines[name]; m != nil {
			m.opMu.Lock()
			defer m.opMu.Unlock()
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
				s.awaitBackend(m)
			}
		}
	case silencing, cutting, muting, deafening:
		wires(func(l *link) { l.cut(ways[f.action]...) })
		time.Sleep(f.lasts / 2)
		if f.then == killing {
			kill() // the remaining half
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
			s.logEvent("Redis was not flushed: %v", err)
		}
	case draining:
		s.drain(f)
	case balancing:
		if a, err := s.admin.expect(http.StatusOK, "POST", "/admin/rebalance", nil); err != nil {
			s.logEvent("not rebalanced: %v", err)
		} else {
			s.logEvent("a rebalance moves %d sessions", len(a.list("data.moves")))
		}
	}
}

// ways maps an action to the directions that it cuts.
var ways = map[action][]direction{silencing: {forth, back}, cutting: {forth, back}, muting: {forth}, deafening: {back}}

// crash kills a process and returns when.
func (s *scene) crash(m *machine) crash {
	from, to := m.kill()
	c := crash{m.name, from, to}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.crashes = append(s.crashes, c)
	return c
}

// server runs an action on PostgreSQL or Redis if they are among the names.
func (s *scene) server(names []string, toPostgres func(*postgrestest.Server), toRedis func(*redistest.Server)) {
	if slices.Contains(names, postgres) {
		toPostgres(s.postgres)
	}
	if slices.Contains(names, redis) {
		toRedis(s.redis)
	}
}

// serve sets whether PostgreSQL or Redis can be reached, if they are among the names.
func (s *scene) serve(names []string, up bool) (err error) {
	for _, l := range s.links {
		for _, name := range []string{postgres, redis} {
			if slices.Contains(names, name) && strings.HasSuffix(l.name, between("", name)) {
				err = errors.Join(err, l.setTargetUp(up))
			}
		}
	}
	return err
}

// awaitBackend waits until the balancer forwards requests to a replica.
func (s *scene) awaitBackend(m *machine) {
	for deadline := time.Now().Add(longFaultWait); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for _, d := range s.front.backends {
			if d.link == m.inboundLinks[0] && d.ready.Load() {
				return
			}
		}
	}
	s.t.Errorf("%s is not ready after %v", m.name, longFaultWait)
}

// drain drains a worker and activates it when the time is over. It retries the
// activation while other faults prevent it.
func (s *scene) drain(f fault) {
	over := time.Now().Add(f.lasts)
	name := strings.TrimPrefix(f.on[0], between(operator, ""))
	ask := func(what string, until time.Time) error {
		for ; ; time.Sleep(100 * time.Millisecond) {
			a, err := s.admin.expect(http.StatusOK, "POST", "/workers/"+name+"/"+what, nil)
			if what == "drain" && !a.clear() {
				s.mu.Lock()
				s.uncertainDrains[name] = true // the drain may still arrive after the activation
				s.mu.Unlock()
			}
			if err == nil || time.Now().After(until) {
				return err
			}
		}
	}
	if err := ask("drain", over); err != nil {
		s.logEvent("not drained: %v", err) // another fault prevents it
	}
	time.Sleep(time.Until(over))
	if err := ask("activate", time.Now().Add(longFaultWait)); err != nil {
		s.t.Errorf("%s: %v", f, err)
	}
}
