package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// silentFor is how long a stream may be silent before its reader gives it up. The server sends a sign
// of life at least every 15 s.
const silentFor = 17 * time.Second

// eventReader reads the stream of a user's events from the beginning of the log. After each break it
// resumes with the last id.
type eventReader struct {
	s    *scene
	user client
	stop context.CancelFunc
	work sync.WaitGroup

	mu     sync.Mutex
	last   int64 // id of the last event or sign of life
	events []any
	breaks int
}

func readEvents(s *scene, user client) *eventReader {
	ctx, stop := context.WithCancel(context.Background())
	r := &eventReader{s: s, user: user, stop: stop}
	r.work.Go(func() {
		web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		for ctx.Err() == nil {
			r.resume(ctx, web)
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	s.t.Cleanup(r.end)
	return r
}

func (r *eventReader) end() {
	r.stop()
	r.work.Wait()
}

// position returns up to where the reader has read the log, and how often its stream broke.
func (r *eventReader) position() (last int64, breaks int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last, r.breaks
}

// resume opens the stream after the last id, and reads it until it breaks.
func (r *eventReader) resume(ctx context.Context, web *http.Client) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watchdog := time.AfterFunc(silentFor, cancel)
	defer watchdog.Stop()
	last, _ := r.position()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.user.s.url+r.user.base+"/events", nil)
	if err != nil {
		r.s.t.Error(err)
		return
	}
	req.Header.Set("Authorization", "Bearer "+r.user.bearer)
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Last-Event-ID", strconv.FormatInt(last, 10))
	resp, err := web.Do(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		if resp.StatusCode < http.StatusInternalServerError {
			r.s.t.Errorf("the stream after %d is refused: %s", last, resp.Status)
		}
		return
	}
	lines := bufio.NewReader(resp.Body)
	fields := make(map[string]string)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			r.mu.Lock()
			r.breaks++
			r.mu.Unlock()
			return // what a break cut off does not count
		}
		watchdog.Reset(silentFor)
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			r.dispatch(fields)
			clear(fields)
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.TrimPrefix(value, " ")
	}
}

// dispatch takes an event, or a sign of life with a position. QR codes have no id.
func (r *eventReader) dispatch(fields map[string]string) {
	if fields["id"] == "" {
		return
	}
	id, err := strconv.ParseInt(fields["id"], 10, 64)
	var event any
	if err == nil && fields["data"] != "" {
		err = json.Unmarshal([]byte(fields["data"]), &event)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil:
		r.s.t.Errorf("a stream sent %v: %v", fields, err)
	case id < r.last, event != nil && (id == r.last || int64(number(event, "position")) != id):
		r.s.t.Errorf("a stream sent %v after %d", fields, r.last)
	}
	r.last = max(r.last, id)
	if event != nil {
		r.events = append(r.events, event)
	}
}

// recorded returns all events of a user, by pages. Their positions grow.
func recorded(user client) (all []any, last int64, err error) {
	for {
		a, err := user.expect(http.StatusOK, "GET", fmt.Sprintf("/events?limit=100&after=%d", last), nil)
		if err != nil {
			return nil, 0, err
		}
		page := a.list("data.events")
		for _, e := range page {
			position := int64(number(e, "position"))
			if position <= last {
				return nil, 0, fmt.Errorf("an event at %d follows one at %d: %v", position, last, e)
			}
			last = position
		}
		all = append(all, page...)
		if len(page) == 0 {
			return all, last, nil
		}
	}
}

// log checks the event log. The stream of each user has exactly the events of the pages. Every send
// that was answered with SENT has one message.sent, and no event of a message is recorded twice. Nobody
// reads the events of another user's card.
func (v *verdict) log() {
	owners := make(map[string]int) // user by the mark of the card
	for _, l := range v.lines {
		for _, c := range append(l.former, l.card) {
			owners[c.mark()] = c.user
		}
	}
	counts := make(map[string]map[string]int) // by our id, by type
	senders := make(map[string]usageKey)      // by our id
	total, breaks := 0, 0
	for i, user := range v.users {
		events, last, err := recorded(user)
		if err != nil {
			v.s.t.Error(err)
			continue
		}
		total += len(events)
		for _, e := range events {
			if !strings.HasPrefix(text(e, "type"), "message.") {
				continue
			}
			if mark := markOf(text(e, "data.content")); mark != "" && owners[mark] != i {
				v.s.t.Errorf("user %d reads an event of user %d: %v", i, owners[mark], e)
			}
			id := text(e, "data.id")
			if counts[id] == nil {
				counts[id] = make(map[string]int)
			}
			counts[id][text(e, "type")]++
			senders[id] = usageKey{i, text(e, "data.sessionId")}
		}
		breaks += v.compareStream(i, events, last)
	}
	v.countSent(counts)
	v.usage(counts, senders)
	v.s.t.Logf("%d events; the streams broke %d times", total, breaks)
}

// markOf returns the mark of the card that sent the text.
func markOf(content string) string {
	i := strings.LastIndex(content, ", ")
	if i < 0 {
		return ""
	}
	return content[:i+2]
}

// compareStream waits until the stream of a user has come to a position, and compares its events with
// those of the pages. It returns how often the stream broke.
func (v *verdict) compareStream(user int, events []any, last int64) int {
	r := v.readers[user]
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if position, _ := r.position(); position >= last {
			break
		}
		if time.Now().After(deadline) {
			v.s.t.Errorf("the stream of user %d is not at %d after %v", user, last, patience)
			break
		}
	}
	r.end()
	for i := range max(len(events), len(r.events)) {
		switch {
		case i >= len(r.events):
			v.s.t.Errorf("the stream of user %d lacks %v", user, events[i])
			return r.breaks
		case i >= len(events):
			if int64(number(r.events[i], "position")) <= last {
				v.s.t.Errorf("the pages of user %d lack %v", user, r.events[i])
			}
			return r.breaks
		case fmt.Sprint(events[i]) != fmt.Sprint(r.events[i]):
			v.s.t.Errorf("event %d of user %d is %v in the pages and %v in the stream", i, user, events[i], r.events[i])
			return r.breaks
		}
	}
	return r.breaks
}

// countSent checks how often the events of messages are recorded. Each message that was acknowledged has
// one message.sent, also if its session was deleted during the send.
func (v *verdict) countSent(counts map[string]map[string]int) {
	for _, l := range v.lines {
		for _, p := range l.sends {
			n := counts[p.id]
			if p.fate == acknowledged && n["message.sent"] != 1 {
				v.violation(l, "%q was acknowledged as %s, %s, and its events are %v", p.text, p.id, p.status, n)
			}
		}
	}
	for id, byType := range counts {
		for kind, n := range byType {
			if n > 1 {
				v.s.t.Errorf("%d events %s of %s", n, kind, id)
			}
		}
	}
}
