package simworker

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"
)

// Event is the kind of a journal entry.
type Event string

// The events of a journal.
const (
	Started   Event = "start"
	Continued Event = "continue" // a run continues under a higher generation
	Stopped   Event = "stop"
	SentOut   Event = "send"
	Crashed   Event = "crash" // the process ended without stopping its sessions
)

// Entry is one line of the journal.
type Entry struct {
	Time    time.Time `json:"time"` // wall clock at the writing
	Event   Event     `json:"event"`
	Worker  string    `json:"worker"`
	Process int64     `json:"process,omitempty"` // number of the worker's process, from 1; 0: unknown
	// Effective is the time when a stop or crash took effect, if that was before the
	// writing. A process that is paused beyond its lease does nothing after the
	// lease, and writes the entry when it resumes. Otherwise Effective is zero.
	Effective       time.Time `json:"effective,omitzero"`
	Session         string    `json:"sessionId,omitempty"`
	Generation      int64     `json:"generation,omitempty"`
	Reason          string    `json:"reason,omitempty"`          // of a stop
	MessageID       string    `json:"messageId,omitempty"`       // WhatsApp's id
	ClientMessageID string    `json:"clientMessageId,omitempty"` // the control plane's id, if the send had one
	To              string    `json:"to,omitempty"`
	Text            string    `json:"text,omitempty"`
}

// At returns the time when the entry took effect.
func (e Entry) At() time.Time {
	if !e.Effective.IsZero() {
		return e.Effective
	}
	return e.Time
}

// ReadJournal reads a journal. It skips an incomplete last line, which is being
// written, and the beginning of an entry whose writer was killed.
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
		e, err := parseEntry(line)
		if err != nil {
			return nil, fmt.Errorf("journal line %d: %w", n, err)
		}
		entries = append(entries, e)
		b = rest
	}
}

// parseEntry parses one line. The line may begin with a piece of an entry whose
// writer was killed. Then the entry that another process wrote behind it counts.
func parseEntry(line []byte) (e Entry, err error) {
	err = json.Unmarshal(line, &e)
	if err != nil {
		// Inside a string the quotes would be escaped.
		if at := bytes.LastIndex(line, []byte(`{"time":"`)); at > 0 {
			e = Entry{}
			err = json.Unmarshal(line[at:], &e)
		}
	}
	return e, err
}

// run is a period in which a session ran on a worker, from the entry that started
// it to the entry that ended it.
type run struct {
	session     string
	worker      string
	process     int64
	from, to    time.Time // to is zero while the run lasts
	first, last int       // indices of the two entries
	effective   bool      // the run ended before the last entry was written
}

// over reports whether the run had ended when another entry was written.
func (r *run) over(at time.Time, index int) bool {
	return r.last <= index || r.effective && !r.to.After(at)
}

// runs returns the runs of each session in the order of their starts.
func runs(entries []Entry) map[string][]*run {
	all := map[string][]*run{}
	open := map[string][]*run{} // by worker
	end := func(i int, which func(*run) bool) {
		e := entries[i]
		open[e.Worker] = slices.DeleteFunc(open[e.Worker], func(r *run) bool {
			if !which(r) {
				return false
			}
			r.to, r.last, r.effective = e.At(), i, !e.Effective.IsZero()
			if r.to.Before(r.from) {
				r.to = r.from
			}
			return true
		})
	}
	for i, e := range entries {
		mine := func(r *run) bool { return r.session == e.Session && r.process == e.Process }
		switch e.Event {
		case Started, Continued:
			end(i, func(r *run) bool { return r.session == e.Session && r.process < e.Process }) // runs of a former process
			if slices.ContainsFunc(open[e.Worker], mine) {
				continue
			}
			r := &run{session: e.Session, worker: e.Worker, process: e.Process, from: e.Time, first: i, last: len(entries)}
			open[e.Worker] = append(open[e.Worker], r)
			all[e.Session] = append(all[e.Session], r)
		case Stopped:
			end(i, mine)
		case Crashed:
			end(i, func(r *run) bool { return e.Process == 0 || r.process == e.Process })
		}
	}
	return all
}

// Overlap is a period in which a session ran on two workers.
type Overlap struct {
	Session  string
	Workers  [2]string
	From, To time.Time // To is zero while the overlap lasts
}

// Overlaps returns the violations of the rule that a session has one owner, in
// the order of their starts. The entries are a whole journal, in its order. A
// killed worker writes nothing: the test that kills it inserts an entry for the
// event Crashed. If the worker was paused before the kill, the entry is effective
// from the pause.
func Overlaps(entries []Entry) []Overlap {
	var found []Overlap
	for session, all := range runs(entries) {
		var active []*run
		for _, r := range all {
			active = slices.DeleteFunc(active, func(other *run) bool { return other.last <= r.first })
			for _, other := range active {
				if other.over(r.from, r.first) {
					continue
				}
				o := Overlap{Session: session, Workers: [2]string{other.worker, r.worker}, From: r.from, To: r.to}
				if o.To.IsZero() || !other.to.IsZero() && other.to.Before(o.To) {
					o.To = other.to
				}
				found = append(found, o)
			}
			active = append(active, r)
		}
	}
	slices.SortFunc(found, func(a, b Overlap) int { return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Session, b.Session)) })
	return found
}

// SendsAfterStop returns the sends of workers outside of their runs of the
// session: before a start, after a stop, or after the end of the lease. The
// entries are as for [Overlaps].
func SendsAfterStop(entries []Entry) []Entry {
	all := runs(entries)
	var found []Entry
	for i, e := range entries {
		if e.Event == SentOut && !slices.ContainsFunc(all[e.Session], func(r *run) bool {
			return r.worker == e.Worker && r.process == e.Process && r.first < i && !r.over(e.Time, i)
		}) {
			found = append(found, e)
		}
	}
	return found
}

// Repeats returns the entries of messages that were sent before, by any worker.
// The control plane's id identifies a message. Without it, recipient and text do.
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
