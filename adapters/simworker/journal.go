package simworker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"
)

// Event says what a journal entry tells of.
type Event string

// The events of a journal.
const (
	Started Event = "start"
	Stopped Event = "stop"
	SentOut Event = "send"
	Crashed Event = "crash" // the worker's process ended without stopping anything
)

// Entry is one line of the journal.
type Entry struct {
	Time            time.Time `json:"time"`
	Event           Event     `json:"event"`
	Worker          string    `json:"worker"`
	Session         string    `json:"sessionId,omitempty"`
	Generation      int64     `json:"generation,omitempty"`
	Reason          string    `json:"reason,omitempty"`          // of a stop
	MessageID       string    `json:"messageId,omitempty"`       // WhatsApp's
	ClientMessageID string    `json:"clientMessageId,omitempty"` // the control plane's, if the worker was told
	To              string    `json:"to,omitempty"`
	Text            string    `json:"text,omitempty"`
}

// ReadJournal reads a journal. A last line that is cut short, which is still
// being written, is left out.
func ReadJournal(path string) ([]Entry, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for n := 1; ; n++ {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		if !whole {
			return entries, nil
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("journal line %d: %w", n, err)
		}
		entries = append(entries, e)
		b = rest
	}
}

// Overlap is a time in which a session ran on two workers.
type Overlap struct {
	Session  string
	Workers  [2]string
	From, To time.Time // To is zero if it had not ended
}

// Overlaps finds the violations of the rule that a session has one owner. The
// entries are in the order of the journal. A worker that was killed writes
// nothing: whoever killed it inserts an entry for the event Crashed.
func Overlaps(entries []Entry) []Overlap {
	var found []Overlap
	running := map[string][]string{} // workers by session
	stop := func(session, worker string, at time.Time) {
		i := slices.Index(running[session], worker)
		if i < 0 {
			return
		}
		running[session] = slices.Delete(running[session], i, i+1)
		for j := range found {
			o := &found[j]
			if o.Session == session && o.To.IsZero() && slices.Contains(o.Workers[:], worker) {
				o.To = at
			}
		}
	}
	for _, e := range entries {
		switch e.Event {
		case Started:
			if slices.Contains(running[e.Session], e.Worker) {
				continue
			}
			for _, other := range running[e.Session] {
				found = append(found, Overlap{Session: e.Session, Workers: [2]string{other, e.Worker}, From: e.Time})
			}
			running[e.Session] = append(running[e.Session], e.Worker)
		case Stopped:
			stop(e.Session, e.Worker, e.Time)
		case Crashed:
			for session := range running {
				stop(session, e.Worker, e.Time)
			}
		}
	}
	return found
}

// Repeats finds messages that were sent more than once, whatever the worker:
// the entries of the second and later times. Messages are told apart by the
// control plane's id, and where a worker was not told it by recipient and text.
func Repeats(entries []Entry) []Entry {
	type message struct{ session, id, to, text string }
	var found []Entry
	seen := map[message]bool{}
	for _, e := range entries {
		if e.Event != SentOut {
			continue
		}
		m := message{session: e.Session, id: e.ClientMessageID}
		if m.id == "" {
			m.to, m.text = e.To, e.Text
		}
		if seen[m] {
			found = append(found, e)
		}
		seen[m] = true
	}
	return found
}
