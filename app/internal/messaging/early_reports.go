package messaging

import (
	"slices"
	"sync"

	"github.com/switchyard-wa/switchyard/domain"
)

// maxHeld bounds the reports held for one session.
const maxHeld = 256

// earlyReports holds reports that overtake the answers to their sends. Its zero value is
// ready. It is safe for concurrent use.
type earlyReports struct {
	mu       sync.Mutex
	sessions map[string]*pendingSends
}

// pendingSends counts the sends of a session that are under way.
type pendingSends struct {
	sessionID string
	n         int
	held      []domain.MessageReport
}

func (e *earlyReports) beginSend(sessionID string) *pendingSends {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sessions == nil {
		e.sessions = make(map[string]*pendingSends)
	}
	p := e.sessions[sessionID]
	if p == nil {
		p = &pendingSends{sessionID: sessionID}
		e.sessions[sessionID] = p
	}
	p.n++
	return p
}

// endSend returns the held reports on the message. For the last send of the session it
// also returns the rest.
func (e *earlyReports) endSend(p *pendingSends, whatsAppID string) (own, rest []domain.MessageReport) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p.held = slices.DeleteFunc(p.held, func(r domain.MessageReport) bool {
		isOwn := r.WhatsAppID == whatsAppID
		if isOwn {
			own = append(own, r)
		}
		return isOwn
	})
	p.n--
	if p.n == 0 {
		delete(e.sessions, p.sessionID)
		rest = p.held
	}
	return own, rest
}

// hold holds a report if a send of its session is under way, and reports whether it does.
func (e *earlyReports) hold(r domain.MessageReport) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.sessions[r.SessionID]
	if p == nil || len(p.held) >= maxHeld {
		return false
	}
	p.held = append(p.held, r)
	return true
}

// drop forgets a held report that is applied.
func (e *earlyReports) drop(r domain.MessageReport) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.sessions[r.SessionID]; p != nil {
		p.held = slices.DeleteFunc(p.held, func(held domain.MessageReport) bool { return held == r })
	}
}
