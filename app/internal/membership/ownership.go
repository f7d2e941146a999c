package membership

import (
	"strconv"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

// TakeoverDelay is how long after its due time work is left to its owner.
const TakeoverDelay = 2 * time.Second

// OwnsWork reports whether a piece of work falls to this replica.
func (m *Members) OwnsWork(work string) bool {
	if !m.IsShared() {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return domain.OwnsWork(m.Self.ID, m.alive, work)
}

// ShouldRun reports whether this replica should do work that is due since due: its own
// work at once, the work of others after the takeover delay.
func (m *Members) ShouldRun(work string, due, now time.Time) bool {
	return m.OwnsWork(work) || now.Sub(due) >= TakeoverDelay
}

// WorkOn names the work that concerns a worker.
func WorkOn(workerID string) string { return "worker/" + workerID }

// RetryKey names work that failed so many times. Its owner changes with every
// attempt: perhaps only one replica cannot reach the worker.
func RetryKey(work string, attempts int) string { return work + "/" + strconv.Itoa(attempts) }
