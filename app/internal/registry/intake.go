package registry

import (
	"fmt"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/domain"
)

// The bounds of heartbeats. No worker that keeps to its interval meets them.
const (
	listedPerSlot = 5   // sessions of a list for each slot of the worker
	minListed     = 500 // sessions of a list that every worker may send
	maxUnexpected = 100 // unexpected sessions that one heartbeat looks up
	perUpdate     = 100 // sessions that one transaction applies
	maxWarnings   = 20  // with those of the inbound adapter

	newsBurst, newsPerSecond = 60, 2   // heartbeats whose sessions are applied
	lifeBurst, lifePerSecond = 200, 20 // heartbeats that are stored
	maxIntakes               = 20_000  // workers that are remembered

	// storedWithin is how long a stored sign of life stands for the next ones, if they come
	// too often.
	storedWithin = 500 * time.Millisecond
	// lifeLimit is the time limit of storing a sign of life. It goes on if the worker hangs up.
	lifeLimit = 10 * time.Second
)

// admission is how much of a heartbeat is used.
type admission uint8

const (
	admitSessions admission = iota
	admitLife               // the sign of life alone
	admitNothing            // not even the sign of life, if one was stored a moment ago
)

// An intake bounds the cost of each worker's heartbeats. It is safe for concurrent use.
type intake struct {
	mu      sync.Mutex
	workers map[string]*workerIntake
}

type workerIntake struct {
	news, life   bucket
	isBusy       bool // the sessions of a heartbeat are being applied
	unexpectedAt int  // where the next heartbeat begins with unexpected sessions
}

// A bucket is a token bucket. The core builds on the standard library alone.
type bucket struct {
	spent float64
	at    time.Time
}

// take takes a token, and reports whether there was one.
func (b *bucket) take(now time.Time, burst, perSecond float64) bool {
	if since := now.Sub(b.at).Seconds(); since > 0 {
		b.spent = max(0, b.spent-since*perSecond)
	}
	b.at = now
	if b.spent+1 > burst {
		return false
	}
	b.spent++
	return true
}

// of returns the intake of a worker. The caller holds the lock.
func (in *intake) of(workerID string) *workerIntake {
	w := in.workers[workerID]
	if w == nil {
		if in.workers == nil || len(in.workers) >= maxIntakes {
			in.workers = make(map[string]*workerIntake)
		}
		w = new(workerIntake)
		in.workers[workerID] = w
	}
	return w
}

// begin decides how much of a heartbeat is used. The caller calls end when the heartbeat is
// applied.
func (in *intake) begin(workerID string, now time.Time) (a admission, end func()) {
	in.mu.Lock()
	defer in.mu.Unlock()
	w := in.of(workerID)
	switch {
	case !w.life.take(now, lifeBurst, lifePerSecond):
		return admitNothing, func() {}
	case w.isBusy, !w.news.take(now, newsBurst, newsPerSecond):
		return admitLife, func() {}
	}
	w.isBusy = true
	return admitSessions, func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		w.isBusy = false
	}
}

// pickUnexpected returns the unexpected sessions that a heartbeat looks up. Each heartbeat
// continues where the former one ended.
func (in *intake) pickUnexpected(workerID string, unexpected []domain.Report) []domain.Report {
	if len(unexpected) <= maxUnexpected {
		return unexpected
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	w := in.of(workerID)
	picked := make([]domain.Report, maxUnexpected)
	for i := range picked {
		picked[i] = unexpected[(w.unexpectedAt+i)%len(unexpected)]
	}
	w.unexpectedAt = (w.unexpectedAt + maxUnexpected) % len(unexpected)
	return picked
}

// warn adds a text to a heartbeat's warnings.
func warn(h *domain.Heartbeat, format string, args ...any) {
	if len(h.Warnings) < maxWarnings {
		h.Warnings = append(h.Warnings, fmt.Sprintf(format, args...))
	}
}

// ignoreSessions removes the sessions from a heartbeat. The sign of life stays.
func ignoreSessions(h *domain.Heartbeat) {
	if len(h.Sessions) == 0 && !h.IsFullSnapshot {
		return
	}
	h.Skipped += len(h.Sessions)
	h.Sessions, h.IsFullSnapshot = nil, false
	warn(h, "Heartbeats come too often; the sessions of this one were not looked at")
}

// boundList removes repeated sessions from a heartbeat's list, and cuts a list that is
// far longer than the worker's capacity. The sessions that are assigned to the worker
// stay in any case.
func (p *Protocol) boundList(h *domain.Heartbeat, capacity int) {
	removeRepeated(h)
	beyond := len(h.Sessions) - max(minListed, listedPerSlot*capacity)
	if beyond <= 0 {
		return
	}
	others := len(h.Sessions)
	kept := h.Sessions[:0]
	isAssigned := make([]bool, len(h.Sessions))
	for i := range h.Sessions {
		isAssigned[i] = p.cache.WorkerOf(h.Sessions[i].SessionID) == h.WorkerID
		if isAssigned[i] {
			others--
		}
	}
	others -= beyond // how many of them stay
	for i, r := range h.Sessions {
		switch {
		case isAssigned[i]:
		case others <= 0:
			continue
		default:
			others--
		}
		kept = append(kept, r)
	}
	warn(h, "sessions has %d items, far more than the worker takes; %d were not looked at", len(h.Sessions), len(h.Sessions)-len(kept))
	h.Skipped += len(h.Sessions) - len(kept)
	h.Sessions, h.IsFullSnapshot = kept, false
}

// seenPool recycles the map from sessions to places in a list, which each heartbeat needs.
var seenPool = sync.Pool{New: func() any { return make(map[string]int) }}

// removeRepeated keeps one item for each session: the item of the newest generation, and
// within a generation an active one. An item that says that the session ended may be about
// an earlier attempt.
func removeRepeated(h *domain.Heartbeat) {
	if len(h.Sessions) < 2 {
		return
	}
	seen := seenPool.Get().(map[string]int)
	defer func() {
		if len(seen) <= maxCapacity {
			clear(seen)
			seenPool.Put(seen)
		}
	}()
	kept := h.Sessions[:0]
	for _, r := range h.Sessions {
		at, isRepeated := seen[r.SessionID]
		if !isRepeated {
			seen[r.SessionID] = len(kept)
			kept = append(kept, r)
			continue
		}
		first := &kept[at]
		if r.Generation > first.Generation || r.Generation == first.Generation && r.Status.IsActive() && !first.Status.IsActive() {
			*first = r
		}
	}
	if repeated := len(h.Sessions) - len(kept); repeated > 0 {
		warn(h, "sessions repeats %d items", repeated)
	}
	h.Sessions = kept
}

// A batch is the sessions that one transaction applies.
type batch struct {
	reports []domain.Report
	missing []string
	foreign []string // to be recorded
}

// batches divides the news of a heartbeat. There is at least one batch.
func batches(diff fleet.HeartbeatDiff) (list []batch) {
	b := batch{foreign: diff.NewForeign}
	room := perUpdate
	next := func() {
		list = append(list, b)
		b, room = batch{}, perUpdate
	}
	for _, reports := range [][]domain.Report{diff.Changed, diff.Unexpected} {
		for _, r := range reports {
			if room == 0 {
				next()
			}
			b.reports, room = append(b.reports, r), room-1
		}
	}
	for _, id := range diff.Missing {
		if room == 0 {
			next()
		}
		b.missing, room = append(b.missing, id), room-1
	}
	next()
	return list
}
