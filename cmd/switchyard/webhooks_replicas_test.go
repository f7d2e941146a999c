package main_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/postgres/postgrestest"
	"github.com/switchyard-wa/switchyard/adapters/redis/redistest"
)

// hookReplicas are two replicas of the server, on PostgreSQL and Redis, with sessions whose events a
// receiver gets.
type hookReplicas struct {
	t        *testing.T
	db       *sql.DB
	receiver *hookReceiver
	servers  [2]*server
	ids      [2]string // of the replicas
	lines    []*hookLine
}

// hookLine is a session with a webhook.
type hookLine struct {
	*testSession // as a client of the first replica
	path, hook   string
	owner        int // the replica that delivers its first event
}

// replicaWebhookTimeout is long enough for a replica to be paused or killed during its attempts. Another
// replica takes over ten seconds after it.
const replicaWebhookTimeout = 6 * time.Second

// newHookReplicas starts both replicas, and adds lines until each replica delivers for two of them.
func newHookReplicas(t *testing.T) *hookReplicas {
	dsn := postgrestest.Shared(t).NewDatabase(t)
	db, err := sql.Open("pgx", dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	h := &hookReplicas{t: t, db: db, receiver: receiveHooks(t, 0)}
	fabric := redistest.Start(t).URL()
	var known []string
	for i := range h.servers {
		h.servers[i] = serve(t, "--store", dsn, "--fabric", fabric, "--jwt-secret", secretOfReplicas,
			"--webhook-key", "what-encrypts-the-webhooks-of-the-test", "--rate-limits", "off", "--allow-private-webhooks",
			"--webhook-timeout", replicaWebhookTimeout.String(), "--webhook-retry", "100ms,100ms,100ms,100ms,100ms")
		waitFor(t, "the replica is in the store", func() (bool, any) {
			for _, id := range h.replicas() {
				if !slices.Contains(known, id) {
					h.ids[i] = id
				}
			}
			return h.ids[i] != "", known
		})
		known = append(known, h.ids[i])
	}
	worker := newNode(h.servers[0], "Node")
	user := h.servers[0].registerTier("MAX")
	for count := [2]int{}; count[0] < 2 || count[1] < 2; {
		l := h.addLine(user, worker)
		count[l.owner]++
	}
	return h
}

func (h *hookReplicas) replicas() (ids []string) {
	rows, err := h.db.QueryContext(h.t.Context(), "SELECT id FROM replicas")
	require.NoError(h.t, err)
	defer rows.Close()
	for rows.Next() {
		var id string
		require.NoError(h.t, rows.Scan(&id))
		ids = append(ids, id)
	}
	require.NoError(h.t, rows.Err())
	return ids
}

// addLine adds a session whose webhook is made by the other replica than that of the line before. The first
// event shows which replica delivers.
func (h *hookReplicas) addLine(user *person, worker *node) *hookLine {
	n := len(h.lines)
	l := &hookLine{testSession: user.create(fmt.Sprint("Line ", n)), path: fmt.Sprint("/", n)}
	l.link(worker)
	gate := h.receiver.hold(h.t, l.path, false)
	l.hook = h.through(n%2, l).hook(h.receiver, l.path, "message.sent")
	l.say("first")
	<-gate.entered
	l.owner = h.claimer(l)
	gate.release(http.StatusOK)
	h.lines = append(h.lines, l)
	return l
}

// claimer returns the replica that delivers to a line at the moment.
func (h *hookReplicas) claimer(l *hookLine) int {
	var claimedBy string
	require.NoError(h.t, h.db.QueryRowContext(h.t.Context(), "SELECT claimed_by FROM webhooks WHERE id = $1", l.hook).Scan(&claimedBy))
	claimer := slices.Index(h.ids[:], claimedBy)
	require.GreaterOrEqual(h.t, claimer, 0, "claimed by %q", claimedBy)
	return claimer
}

// through returns the session as a client of a replica.
func (h *hookReplicas) through(replica int, l *hookLine) *testSession {
	c := *l.testSession
	c.s = h.servers[replica]
	return &c
}

// hang makes an attempt hang at every line of one replica, the owner. It returns these lines with their
// gates. say sends what an attempt is about. Lines go from replica to replica when one of them is late: the
// owner is the replica that delivers to the first line now.
func (h *hookReplicas) hang(say func(l *hookLine)) (owner int, lines []*hookLine, gates []*hookGate) {
	for i, l := range h.lines {
		gate := h.receiver.hold(h.t, l.path, false)
		say(l)
		<-gate.entered
		claimer := h.claimer(l)
		if i == 0 {
			owner = claimer
		}
		if claimer != owner {
			gate.release(http.StatusOK)
			continue
		}
		lines, gates = append(lines, l), append(gates, gate)
	}
	return owner, lines, gates
}

// awaitAll waits until every event of a line was accepted, and requires that they were in order.
func (h *hookReplicas) awaitAll(l *hookLine, by int) {
	h.t.Helper()
	c := h.through(by, l)
	want := c.recorded("message.sent")
	waitFor(h.t, "every event arrives", func() (bool, any) {
		got := h.receiver.at(l.path)
		return len(got) > 0 && got[len(got)-1].position == want[len(want)-1], fmt.Sprintf("%d of %d", len(got), len(want))
	})
	h.receiver.requireInOrder(h.t, l.path, want)
	waitFor(h.t, "every outcome is recorded", func() (bool, any) {
		got := c.deliveries(l.hook, "delivered")
		return len(got) == len(want), len(got)
	})
}

// Two replicas share the webhooks. It does not matter which of them makes a webhook or sends a message. Then
// one replica is paused during an attempt, and later killed during one.
func TestWebhooks_TwoReplicas_TakeOverFromEachOther(t *testing.T) {
	t.Parallel()
	h := newHookReplicas(t)
	for i := range 20 {
		for n, l := range h.lines {
			h.through((i+n)%2, l).say(fmt.Sprint("message ", i))
		}
	}
	for _, l := range h.lines {
		h.awaitAll(l, 1)
		require.Len(t, h.receiver.tried(l.path), 21, "each event is delivered once")
	}
	h.raceCreations()
	h.pauseOwner()
	h.killOwner()
	h.receiver.requireVerified(t)
}

// raceCreations creates more webhooks at once than a session may have.
func (h *hookReplicas) raceCreations() {
	l := h.lines[0]
	tally, _ := atOnce(h.t, 20, func(i int) (answer, error) {
		return h.through(i%2, l).call("POST", l.testSession.path("/webhooks"), obj{"url": h.receiver.URL, "isActive": false})
	})
	require.Equal(h.t, map[string]int{"201 ": 4, "409 INVALID_STATE": 16}, tally)
}

// pauseOwner pauses a replica during an attempt until the other one has taken over. The replica resumes and
// hears that its attempt failed. It neither records that, nor delivers out of order.
func (h *hookReplicas) pauseOwner() {
	owner, lines, gates := h.hang(func(l *hookLine) { l.say("during the pause") })
	paused, other := h.servers[owner], 1-owner
	paused.pause()
	for _, l := range lines {
		for i := range 5 {
			h.through(other, l).say(fmt.Sprint("after the takeover ", i))
		}
		h.awaitAll(l, other)
	}
	for _, gate := range gates {
		gate.release(http.StatusInternalServerError)
	}
	paused.signal(syscall.SIGCONT)
	paused.awaitReady()
	for _, l := range lines {
		h.through(owner, l).say("after the pause")
		h.awaitAll(l, owner)
		for _, d := range h.through(owner, l).deliveries(l.hook, "") {
			require.EqualValues(h.t, 1, find(d, "attempts"), "%v: the outcome of the paused replica came too late", d)
		}
		hook := h.through(owner, l).get(l.testSession.path("/webhooks/" + l.hook))
		require.EqualValues(h.t, 0, hook.at("data.failures"), hook)
	}
}

// killOwner kills a replica during an attempt. The other one repeats it with the same webhook-id.
func (h *hookReplicas) killOwner() {
	before := make(map[string]int)
	owner, lines, _ := h.hang(func(l *hookLine) {
		before[l.path] = len(h.receiver.tried(l.path))
		l.say("during the attempt")
		l.say("waits for it")
	})
	other := 1 - owner
	h.servers[owner].crash()
	for _, l := range lines {
		h.awaitAll(l, other)
		tried := h.receiver.tried(l.path)[before[l.path]:]
		require.Len(h.t, tried, 3)
		require.Zero(h.t, tried[0].status, "the first attempt had no answer")
		require.Equal(h.t, tried[0].id, tried[1].id, "it is repeated with its id")
		require.Equal(h.t, "waits for it", tried[2].text)
	}
}
