package simworker_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Two processes share a directory: each opens it by itself.
func TestState_InDirectory_IsSharedByProcesses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	a, err := simworker.OpenState(dir)
	require.NoError(t, err)
	defer a.Close()
	b, err := simworker.OpenState(dir)
	require.NoError(t, err)
	defer b.Close()

	require.NoError(t, a.Link("one", "628123", 3))
	phone, linked := b.Phone("one")
	require.True(t, linked)
	require.Equal(t, "628123", phone)
	require.NoError(t, b.Unlink("one"))
	require.NoError(t, b.Unlink("one"), "again")
	_, linked = a.Phone("one")
	require.False(t, linked)

	require.NoError(t, a.Link("one", "628123", 3))
	require.NoError(t, b.UnlinkUpTo("one", 2), "a late wipe of an older generation")
	_, linked = a.Phone("one")
	require.True(t, linked)
	require.NoError(t, b.UnlinkUpTo("one", 3))
	_, linked = a.Phone("one")
	require.False(t, linked)

	for _, id := range []string{"", "..", "../one", "a/b", "One", "x"} {
		require.Error(t, a.Link(id, "628123", 3), id)
		require.Error(t, a.Unlink(id), id)
		_, linked = a.Phone(id)
		require.False(t, linked)
	}

	const each = 200
	var wg sync.WaitGroup
	for i, s := range []*simworker.State{a, b} {
		wg.Go(func() {
			for n := range each {
				_ = s.Record(simworker.Entry{Time: began, Event: simworker.SentOut, Worker: fmt.Sprint(i), MessageID: fmt.Sprint(n), Text: strings.Repeat("x", n)})
			}
		})
	}
	wg.Wait()
	entries, err := b.Journal()
	require.NoError(t, err)
	require.Len(t, entries, 2*each, "every line is whole")

	path := filepath.Join(dir, "journal.jsonl")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"time":"2026`)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	entries, err = simworker.ReadJournal(path)
	require.NoError(t, err, "a line that is being written")
	require.Len(t, entries, 2*each)
	last := simworker.Entry{Time: began, Event: simworker.SentOut, Worker: "0", Text: `{"time":"now"}`}
	require.NoError(t, a.Record(last))
	entries, err = a.Journal()
	require.NoError(t, err, "it was killed before the line was whole, and another went on")
	require.Equal(t, last, entries[2*each])
}

// A killed process leaves its sent messages and its number to the next one.
// Workers that share a directory do not disturb each other.
func TestState_KilledProcess_NextProcessContinues(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) func() *simworker.State{
		"memory": func(*testing.T) func() *simworker.State {
			state := simworker.NewState()
			return func() *simworker.State { return state }
		},
		"directory": func(t *testing.T) func() *simworker.State {
			dir := t.TempDir()
			return func() *simworker.State {
				state, err := simworker.OpenState(dir)
				require.NoError(t, err)
				t.Cleanup(func() { _ = state.Close() })
				return state
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			open := open(t)
			w := newWorld(t, simworker.Config{State: open()})
			w.connected("one", 1)
			first, err := w.send("one", "m1")
			require.NoError(t, err)

			next := newWorld(t, simworker.Config{State: open()})
			again, err := next.send("one", "m1")
			require.NoError(t, err, "before the session runs again")
			require.Equal(t, first, again)
			next.connected("one", 1)
			_, err = next.send("one", "m2")
			require.NoError(t, err)

			neighbour := simworker.New(simworker.Config{ID: "w/2", State: open()}, nil)
			_, err = neighbour.Start(t.Context(), ports.Start{SessionID: "one", Generation: 2})
			require.NoError(t, err)
			entries, err := w.state.Journal()
			require.NoError(t, err)
			require.Len(t, entries, 5)
			for i, process := range []int64{1, 1, 2, 2, 1} {
				require.Equal(t, process, entries[i].Process)
			}
			require.NotEqual(t, entries[1].MessageID, entries[3].MessageID)
		})
	}
}

// Only the end of a long journal is read, line by line.
func TestState_LongJournal_DedupesRecentSends(t *testing.T) {
	dir := t.TempDir()
	state, err := simworker.OpenState(dir)
	require.NoError(t, err)
	defer state.Close()
	text := strings.Repeat("x", 1<<20)
	for i := range 10 {
		require.NoError(t, state.Record(simworker.Entry{Time: began, Event: simworker.SentOut, Worker: "w1", Session: "one",
			ClientMessageID: fmt.Sprint("m", i), MessageID: fmt.Sprint("3EB0", i), Text: text}))
	}
	w := newWorld(t, simworker.Config{State: state})
	sent, err := w.send("one", "m9")
	require.NoError(t, err)
	require.Equal(t, "3EB09", sent.WhatsAppID)
	_, err = w.send("one", "m0")
	failed(t, err, ports.WorkerSessionNotFound)
}

// A worker that cannot read its blocked generations starts nothing and is not
// served.
func TestState_Damaged_StartsNothing(t *testing.T) {
	dir := t.TempDir()
	state, err := simworker.OpenState(dir)
	require.NoError(t, err)
	defer state.Close()
	w := newWorld(t, simworker.Config{State: state})
	require.NoError(t, w.Disconnect(t.Context(), "one", 5))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "worker-w1", "ended", "one"), []byte("five"), 0o600))
	w.Crash()
	w.Boot()
	w.plane.assigned = []service.AssignedSession{{Session: &domain.Session{ID: "one", Generation: 5}}}
	w.step()
	require.Equal(t, service.RecoverySkipped, w.plane.results[0].Status)
	_, err = w.Start(t.Context(), ports.Start{SessionID: "two", Generation: 1})
	failed(t, err, ports.WorkerFailed)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.ErrorContains(t, simworker.Serve(t.Context(), ln, w.Worker, simworker.ServeConfig{}), "ended/one does not hold a number")
	_, err = ln.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestJournal_Entry_HasJSONForm(t *testing.T) {
	dir := t.TempDir()
	state, err := simworker.OpenState(dir)
	require.NoError(t, err)
	defer state.Close()
	w := newWorld(t, simworker.Config{State: state})
	w.connected("one", 4)
	sent, err := w.send("one", "m1")
	require.NoError(t, err)
	b, err := os.ReadFile(filepath.Join(dir, "journal.jsonl"))
	require.NoError(t, err)
	require.Equal(t, `{"time":"2026-01-02T03:04:05Z","event":"start","worker":"w1","process":1,"sessionId":"one","generation":4}
{"time":"2026-01-02T03:04:05Z","event":"send","worker":"w1","process":1,"sessionId":"one","generation":4,"messageId":"`+sent.WhatsAppID+
		`","clientMessageId":"m1","to":"6281234567890@s.whatsapp.net","text":"hello"}
`, string(b))
	w.now = w.now.Add(time.Minute)
	require.NoError(t, w.Health(t.Context()))
	b, err = os.ReadFile(filepath.Join(dir, "journal.jsonl"))
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(string(b), `
{"time":"2026-01-02T03:05:05Z","event":"stop","worker":"w1","process":1,"effective":"2026-01-02T03:04:50Z","sessionId":"one","generation":4,"reason":"the lease ran out"}
`))
}

func TestOverlaps_TwoOwners_AreFound(t *testing.T) {
	at := func(s int) time.Time { return began.Add(time.Duration(s) * time.Second) }
	entry := func(s int, e simworker.Event, worker, session string) simworker.Entry {
		return simworker.Entry{Time: at(s), Event: e, Worker: worker, Session: session}
	}
	clean := []simworker.Entry{
		entry(0, simworker.Started, "a", "one"), entry(0, simworker.Started, "b", "two"), entry(1, simworker.Started, "a", "one"),
		entry(2, simworker.Stopped, "a", "one"), entry(2, simworker.Stopped, "a", "one"), entry(3, simworker.Started, "b", "one"),
		entry(4, simworker.Crashed, "b", ""), entry(5, simworker.Started, "a", "one"), entry(5, simworker.Started, "a", "two"),
	}
	require.Empty(t, simworker.Overlaps(clean))
	require.Equal(t, []simworker.Overlap{
		{Session: "one", Workers: [2]string{"a", "b"}, From: at(6), To: at(8)},
		{Session: "two", Workers: [2]string{"a", "b"}, From: at(7)},
	}, simworker.Overlaps(append(clean, entry(6, simworker.Started, "b", "one"), entry(7, simworker.Started, "b", "two"),
		entry(8, simworker.Stopped, "a", "one"), entry(9, simworker.Stopped, "b", "one"))))
}

// A stop that is written late counts from its effective time. A run of a former
// process ends at the latest when the next process starts it.
func TestOverlaps_AfterPause_CountsEffectiveTime(t *testing.T) {
	at := func(s int) time.Time { return began.Add(time.Duration(s) * time.Second) }
	entry := func(s int, e simworker.Event, worker string, process int64) simworker.Entry {
		return simworker.Entry{Time: at(s), Event: e, Worker: worker, Process: process, Session: "one"}
	}
	late := func(written, effective int) simworker.Entry {
		e := entry(written, simworker.Stopped, "a", 1)
		e.Effective = at(effective)
		return e
	}
	entries := []simworker.Entry{entry(0, simworker.Started, "a", 1), entry(46, simworker.Started, "b", 1)}
	require.Empty(t, simworker.Overlaps(append(entries, late(60, 45))))
	require.Empty(t, simworker.Overlaps(append(entries, late(60, 46))))
	require.Equal(t, []simworker.Overlap{{Session: "one", Workers: [2]string{"a", "b"}, From: at(46), To: at(47)}},
		simworker.Overlaps(append(entries, late(60, 47))))
	require.Equal(t, []simworker.Overlap{{Session: "one", Workers: [2]string{"a", "b"}, From: at(46)}}, simworker.Overlaps(entries))

	killed := simworker.Entry{Time: at(60), Effective: at(40), Event: simworker.Crashed, Worker: "a"}
	require.Empty(t, simworker.Overlaps(append(entries, killed)), "it was paused before")

	sameInstant := []simworker.Entry{entry(0, simworker.Started, "a", 1), entry(5, simworker.Started, "b", 1), entry(5, simworker.Stopped, "a", 1)}
	require.Len(t, simworker.Overlaps(sameInstant), 1, "the order of the journal tells what came first")

	restarted := []simworker.Entry{
		entry(0, simworker.Started, "a", 1), entry(10, simworker.Started, "a", 2), entry(20, simworker.Continued, "a", 2),
		entry(30, simworker.Stopped, "a", 2), entry(31, simworker.Started, "b", 1),
	}
	require.Empty(t, simworker.Overlaps(restarted))
}

func TestSendsAfterStop_OutsideRun_AreFound(t *testing.T) {
	at := func(s int) time.Time { return began.Add(time.Duration(s) * time.Second) }
	entry := func(s int, e simworker.Event, worker string) simworker.Entry {
		return simworker.Entry{Time: at(s), Event: e, Worker: worker, Process: 1, Session: "one"}
	}
	stop := entry(60, simworker.Stopped, "a")
	stop.Effective = at(45)
	entries := []simworker.Entry{
		entry(0, simworker.SentOut, "a"), // before the start
		entry(1, simworker.Started, "a"),
		entry(2, simworker.SentOut, "a"),
		entry(3, simworker.SentOut, "b"),  // another worker
		entry(45, simworker.SentOut, "a"), // after the lease
		stop,
		entry(61, simworker.SentOut, "a"), // after the stop
		entry(62, simworker.Started, "a"),
		entry(63, simworker.SentOut, "a"),
	}
	require.Equal(t, []simworker.Entry{entries[0], entries[3], entries[4], entries[6]}, simworker.SendsAfterStop(entries))
}

func TestRepeats_SameMessage_IsFound(t *testing.T) {
	send := func(worker, session, id, text string) simworker.Entry {
		return simworker.Entry{Event: simworker.SentOut, Worker: worker, Session: session, ClientMessageID: id, Text: text}
	}
	entries := []simworker.Entry{
		send("a", "one", "m1", "x"), send("a", "one", "m2", "x"), send("a", "two", "m1", "x"), send("a", "one", "", "x"), send("a", "one", "", "y"),
	}
	require.Empty(t, simworker.Repeats(entries))
	require.Len(t, simworker.Repeats(append(entries, send("b", "one", "m1", "x"), send("b", "one", "", "y"))), 2)
}
