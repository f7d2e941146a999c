package simworker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
)

// Two processes, as good as: each has the directory open by itself.
func TestStateInADirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	a, err := simworker.OpenState(dir)
	require.NoError(t, err)
	defer a.Close()
	b, err := simworker.OpenState(dir)
	require.NoError(t, err)
	defer b.Close()

	require.NoError(t, a.Link("one", "628123"))
	phone, linked := b.Phone("one")
	require.True(t, linked)
	require.Equal(t, "628123", phone)
	require.NoError(t, b.Unlink("one"))
	require.NoError(t, b.Unlink("one"), "again")
	_, linked = a.Phone("one")
	require.False(t, linked)

	for _, id := range []string{"", "..", "../one", "a/b", "One", "x"} {
		require.Error(t, a.Link(id, "628123"), id)
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
}

func TestJournalForm(t *testing.T) {
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
	require.Equal(t, `{"time":"2026-01-02T03:04:05Z","event":"start","worker":"w1","sessionId":"one","generation":4}
{"time":"2026-01-02T03:04:05Z","event":"send","worker":"w1","sessionId":"one","generation":4,"messageId":"`+sent.WhatsAppID+
		`","clientMessageId":"m1","to":"6281234567890@s.whatsapp.net","text":"hello"}
`, string(b))
}

func TestOverlaps(t *testing.T) {
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

func TestRepeats(t *testing.T) {
	send := func(worker, session, id, text string) simworker.Entry {
		return simworker.Entry{Event: simworker.SentOut, Worker: worker, Session: session, ClientMessageID: id, Text: text}
	}
	entries := []simworker.Entry{
		send("a", "one", "m1", "x"), send("a", "one", "m2", "x"), send("a", "two", "m1", "x"), send("a", "one", "", "x"), send("a", "one", "", "y"),
	}
	require.Empty(t, simworker.Repeats(entries))
	require.Len(t, simworker.Repeats(append(entries, send("b", "one", "m1", "x"), send("b", "one", "", "y"))), 2)
}
