package main_test

import (
	"cmp"
	"database/sql"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver to read the events
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
)

const (
	recovery = time.Minute // from the last fault until everything is repaired
	shown    = 3           // sessions shown in full for each violation
)

// verdict holds everything that is known at the end, and the violations.
type verdict struct {
	*workload
	entries []simworker.Entry // of all workers, with the crashes, in order of time
	record  record
	events  map[string][]op // recorded assignments by session
	failed  int
	later   map[string]int // outcomes of messages that were to be sent later
}

func (c *workload) verdict() *verdict {
	c.s.t.Helper()
	c.s.mu.Lock()
	crashes := slices.Clone(c.s.crashes)
	c.s.mu.Unlock()
	entries := c.s.journal()
	return &verdict{workload: c, entries: chronicle(entries, crashes), record: read(entries, crashes), events: c.s.events(), later: make(map[string]int)}
}

// violation reports a violation with everything that is known of the session.
func (v *verdict) violation(l *trackedSession, format string, args ...any) {
	v.failed++
	evidence := ""
	if v.failed <= shown {
		evidence = "\n" + v.evidence(l)
	}
	v.s.t.Errorf("%s: %s%s", l.id, fmt.Sprintf(format, args...), evidence)
}

// evidence returns all observations of a session in order of time.
func (v *verdict) evidence(l *trackedSession) string {
	v.s.mu.Lock()
	all := slices.Clone(v.s.eventLog)
	v.s.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, q := range l.asked {
		all = append(all, q.String())
	}
	for _, o := range slices.Concat(v.record.ops[l.id], v.events[l.id], l.seen) {
		all = append(all, o.String())
	}
	for _, p := range l.sends {
		if p.fate == unknown {
			all = append(all, fmt.Sprintf("%s: a send, %s", during(p.from, p.to), p.answer))
		}
	}
	slices.Sort(all)
	return strings.Join(append(all, v.s.row(l.id)), "\n")
}

// deviations returns the deviations from the expected final state. A session that
// should be up is connected as the phone of its card, and runs only on the worker that
// the API shows. Other sessions run nowhere; logged out ones have no number. Each id has
// a card, and no worker stores the credentials of a former one. No session is moving or
// waits for a move.
func (c *workload) deviations() (all []string) {
	states, err := c.states()
	if err != nil {
		return []string{err.Error()}
	}
	hosts, err := c.s.hosts()
	if err != nil {
		return []string{err.Error()}
	}
	for _, status := range []string{"PENDING", "RUNNING"} {
		a, err := c.s.admin.expect(http.StatusOK, "GET", "/admin/migrations?limit=100&status="+status, nil)
		if err != nil {
			return []string{err.Error()}
		}
		for _, m := range a.list("data.migrations") {
			all = append(all, fmt.Sprintf("%s has a move that has not ended: %v", text(m, "sessionId"), m))
		}
	}
	c.s.mu.Lock()
	crashes := slices.Clone(c.s.crashes)
	c.s.mu.Unlock()
	journals := read(c.s.journal(), crashes).running
	for _, l := range c.lines {
		l.mu.Lock()
		wanted, held := l.intent, l.card
		l.mu.Unlock()
		v := states[l.id].view
		status, worker, generation := text(v, "status"), text(v, "workerId"), int64(number(v, "generation"))
		running := journals[l.id]
		isUp := status == "CONNECTED" && slices.Equal(hosts[l.id], []string{worker}) && len(running) == 1 && running[worker] == generation
		isDown := status == "DISCONNECTED" && worker == "" && len(hosts[l.id]) == 0 && len(running) == 0
		phone, linked := text(v, "phoneNumber"), c.s.linkedPhone(l.id)
		isUp = isUp && held.isPhone(phone)
		isOwn := states[l.id].user == held.user && (phone == "" || held.isPhone(phone)) && (linked == "" || held.isPhone(linked))
		fits := map[intent]bool{up: isUp, down: isDown, out: isDown && phone == "", either: isUp || isDown}
		if !fits[wanted] || !isOwn {
			all = append(all, fmt.Sprintf("%s is wanted %s as %s of user %d, is %s as %q of user %d on %q with generation %d; workers have the credentials of %q; workers that say it runs there: %q; by their journals it runs on: %v",
				l.id, wanted, held.number, held.user, status, phone, states[l.id].user, worker, generation, linked, hosts[l.id], running))
		}
	}
	return all
}

// awaitFinalState waits for the final state, and then sends over every session that is up.
// It returns the time since the last fault.
func (c *workload) awaitFinalState(last time.Time) time.Duration {
	for told := last; ; {
		c.settleCards()
		all := c.deviations()
		if len(all) == 0 {
			break
		}
		if time.Since(last) > recovery {
			c.s.t.Errorf("%d sessions are forgotten %v after the last fault:\n%s", len(all), recovery, strings.Join(all[:min(len(all), 10)], "\n"))
			for v, i := c.verdict(), 0; i < len(c.lines) && v.failed < shown; i++ {
				if l := c.lines[i]; strings.Contains(strings.Join(all, " "), l.id+" ") {
					v.violation(l, "forgotten")
				}
			}
			break
		}
		if time.Since(told) > 5*time.Second && len(all) > 0 {
			told = time.Now()
			c.s.logEvent("%d sessions are not as they should be, such as: %s", len(all), all[0])
		}
		time.Sleep(100 * time.Millisecond)
	}
	took := time.Since(last)
	if err := parallel(len(c.lines), 6, func(i int) error {
		l := c.lines[i]
		if l.intent != up {
			return nil
		}
		// The circuit of a worker that could not be reached stays open for some seconds.
		deadline := time.Now().Add(patience)
		for try := 0; ; try++ {
			p := l.send(fmt.Sprint("at last ", try))
			if p.fate == acknowledged {
				return nil
			}
			if p.fate != refused || !strings.Contains(p.answer, "WORKER_UNREACHABLE") || time.Now().After(deadline) {
				return fmt.Errorf("%s is connected, but does not send: %s", l.id, p.answer)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}); err != nil {
		c.s.t.Error(err)
	}
	return took
}

// judge checks everything that was recorded. Nothing is in progress any more.
func (c *workload) judge() {
	t := c.s.t
	t.Helper()
	v := c.verdict()
	v.owners()
	v.intents()
	v.messages()
	v.cards()
	v.log()
	v.webhooks()
	v.processes()
}

// owners checks that no session had two owners, and that the assignments are
// linearizable.
func (v *verdict) owners() {
	lines := make(map[string]*trackedSession)
	for _, l := range v.lines {
		lines[l.id] = l
	}
	var longest time.Duration
	for _, o := range simworker.Overlaps(v.entries) {
		end := o.To
		if end.IsZero() {
			end = time.Now()
		}
		longest = max(longest, end.Sub(o.From))
		v.violation(lines[o.Session], "two owners, %v, from %v for %v", o.Workers, o.From, end.Sub(o.From))
	}
	v.s.t.Logf("the longest time with two owners: %v", longest)
	starts := 0
	for _, l := range v.lines {
		starts += len(v.record.ops[l.id])
		history := slices.Concat(v.events[l.id], v.record.ops[l.id], l.seen)
		if ok, why := linearizable(history); !ok {
			v.violation(l, "%s", why)
		}
	}
	for _, e := range simworker.SendsAfterStop(v.entries) {
		v.violation(lines[e.Session], "%s sent %q at %v, but it did not run there, or not alone", e.Worker, e.Text, e.Time)
	}
	v.s.t.Logf("%d starts and stops", starts)
}

// intents logs the final states, which awaitFinalState has checked.
func (v *verdict) intents() {
	wanted := make(map[intent]int)
	answers := make(map[string]int)
	for _, l := range v.lines {
		wanted[l.intent]++
		for _, q := range l.asked {
			answers[q.what+": "+q.answer]++
		}
	}
	v.s.t.Logf("sessions wanted: %v", wanted)
	v.list(answers)
}

// list logs the number of each kind of outcome.
func (v *verdict) list(answers map[string]int) {
	for _, answer := range slices.Sorted(maps.Keys(answers)) {
		v.s.t.Logf("%6d %s", answers[answer], answer)
	}
}

// messages checks the sends. An acknowledged message was sent once and is in the
// history of its card. A refused one was not sent. No message was sent twice.
func (v *verdict) messages() {
	t := v.s.t
	out := make(map[string][]simworker.Entry) // by text
	for _, e := range v.entries {
		if e.Event == simworker.SentOut {
			out[e.Text] = append(out[e.Text], e)
		}
	}
	kept := make(map[string]any) // history by the control plane's id
	var mu sync.Mutex
	require.NoError(t, parallel(len(v.lines), 6, func(i int) error {
		page, err := v.lines[i].card.everything()
		mu.Lock()
		defer mu.Unlock()
		for _, m := range page {
			kept[text(m, "id")] = m
		}
		return err
	}))
	fates := make(map[fate]int)
	answers := make(map[string]int)
	for _, l := range v.lines {
		for _, p := range l.sends {
			fates[p.fate]++
			sent, m := out[p.text], kept[p.id]
			delete(out, p.text)
			if len(sent) > 1 {
				v.violation(l, "sent %d times: %+v; the caller was told %s", len(sent), sent, cmp.Or(p.answer, p.id))
				continue
			}
			switch p.fate {
			case accepted:
				v.scheduled(l, p, sent, kept[p.id])
				continue
			case acknowledged:
				switch {
				case len(sent) == 0:
					v.violation(l, "%q was acknowledged, but no worker has sent it", p.text)
				case sent[0].MessageID != p.whatsApp || sent[0].ClientMessageID != p.id:
					v.violation(l, "%q was acknowledged as %s, %s, but is %+v", p.text, p.id, p.whatsApp, sent[0])
				case p.card != l.card: // its history is deleted
				case !slices.Contains([]string{"SENT", "DELIVERED", "READ"}, text(m, "status")) || text(m, "messageId") != p.whatsApp:
					v.violation(l, "%q was acknowledged as %s, %s, but the history has %v", p.text, p.id, p.whatsApp, m)
				}
				continue
			case refused:
				if len(sent) > 0 {
					v.violation(l, "%q was refused (%s), but went out: %+v", p.text, p.answer, sent)
				}
			}
			answers[fmt.Sprintf("%s: %.60s", p.fate, p.answer)]++
			for _, e := range sent {
				if m := kept[e.ClientMessageID]; p.card == l.card && text(m, "content") != p.text {
					v.violation(l, "it was forwarded without being recorded: %+v; the history has %v", e, m)
				}
			}
		}
	}
	for text, sent := range out {
		t.Errorf("%q was sent by nobody, but went out: %+v", text, sent)
	}
	if again := simworker.Repeats(v.entries); len(again) > 0 {
		t.Errorf("sent again: %+v", again)
	}
	t.Logf("sends: %v", fates)
	v.list(answers)
	t.Logf("sent later:")
	v.list(v.later)
}

// everything returns the history of a card.
func (c *card) everything() (all []any, err error) {
	for cursor := ""; ; {
		a, err := c.expect(http.StatusOK, "GET", c.path("/messages?limit=100&cursor="+cursor), nil)
		if err != nil {
			return all, err
		}
		all = append(all, a.list("data.messages")...)
		cursor = a.str("data.nextCursor")
		if cursor == "" {
			return all, nil
		}
	}
}

// processes checks that all processes run, logged nothing forbidden, and end
// gracefully.
func (v *verdict) processes() {
	t := v.s.t
	for _, d := range v.s.front.backends {
		if !d.ready.Load() {
			t.Errorf("%s: the replica is not ready", d.link.name)
		}
	}
	a, err := v.s.admin.expect(http.StatusOK, "GET", "/workers?limit=100", nil)
	require.NoError(t, err)
	online := 0
	for _, w := range a.list("data.workers") {
		if status := text(w, "status"); status == "ONLINE" || status == "MAINTENANCE" && v.s.uncertainDrains[text(w, "id")] {
			online++
		}
	}
	if online != v.s.size.workers {
		t.Errorf("%d of %d workers are online: %s", online, v.s.size.workers, a)
	}
	for _, kind := range [][]string{all(v.s.size.workers, worker), all(v.s.size.replicas, replica)} {
		if err := parallel(len(kind), len(kind), func(i int) error { return v.s.machines[kind[i]].end() }); err != nil {
			t.Error(err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.s.machines)) {
		said := string(v.s.machines[name].output())
		for _, bad := range []string{"DATA RACE", "panic:", "panic in a request", "fatal error:", "goroutine "} {
			if i := strings.Index(said, bad); i >= 0 {
				t.Errorf("%s has said: %s", name, said[max(0, i-500):min(len(said), i+3000)])
			}
		}
		if s := secrets.FindString(said); s != "" {
			t.Errorf("%s has a secret in its log", name)
		}
	}
}

// events reads the recorded assignments.
func (s *scene) events() map[string][]op {
	s.t.Helper()
	db, err := sql.Open("pgx", s.dsn)
	require.NoError(s.t, err)
	defer db.Close()
	rows, err := db.Query(`SELECT type, seq, occurred_at, session_id, worker_id, generation FROM outbox
		WHERE type IN ('session.placed', 'session.migrated', 'session.failed_over') ORDER BY seq`)
	require.NoError(s.t, err)
	defer rows.Close()
	events := make(map[string][]op)
	for rows.Next() {
		var kind, session string
		var seq, micros int64
		o := op{kind: assigned}
		require.NoError(s.t, rows.Scan(&kind, &seq, &micros, &session, &o.worker, &o.generation))
		o.from, o.source = time.UnixMicro(micros).UTC(), fmt.Sprintf("event %d, %s", seq, kind)
		events[session] = append(events[session], o)
	}
	require.NoError(s.t, rows.Err())
	return events
}

// row returns a session as it is stored.
func (s *scene) row(id string) (row string) {
	db, err := sql.Open("pgx", s.dsn)
	require.NoError(s.t, err)
	defer db.Close()
	require.NoError(s.t, db.QueryRow("SELECT row_to_json(s)::jsonb - 'qr_image' FROM sessions s WHERE id = $1", id).Scan(&row))
	return row
}
