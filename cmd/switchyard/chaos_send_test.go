package main_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"
)

const (
	keyedOneIn  = 3 // of so many sends one has an idempotency key
	mostRepeats = 3 // of a send with a key while the faults go on
)

// newMessage returns a message of the present card. The text names the card.
func (l *trackedSession) newMessage(text string) *sentMessage {
	c := l.current()
	return &sentMessage{card: c, text: c.mark() + text, from: time.Now()}
}

// send sends a text once.
func (l *trackedSession) send(text string) *sentMessage {
	p := l.newMessage(text)
	l.attempt(p)
	l.keep(p)
	return p
}

// sendKeyed sends a text with an idempotency key. It repeats the send while its outcome is unknown.
func (l *trackedSession) sendKeyed(text string) {
	p := l.newMessage(text)
	p.key = p.text
	for i := 0; i <= mostRepeats && (i == 0 || p.fate == unknown); i++ {
		l.attempt(p)
	}
	l.keep(p)
}

func (l *trackedSession) keep(p *sentMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sends = append(l.sends, p)
}

// attempt makes the call of a send. A refusal says nothing about an earlier call whose outcome is unknown.
func (l *trackedSession) attempt(p *sentMessage) {
	by, wasUnknown, wasAcknowledged, wasAccepted := p.card.byKey(), p.fate == unknown, p.fate == acknowledged, p.fate == accepted
	if p.key != "" {
		by = by.sending("Idempotency-Key", p.key)
	}
	body := obj{"to": someone, "message": p.text}
	maps.Copy(body, p.later)
	a, err := by.call("POST", "/sendText", body)
	p.to, p.answer = time.Now(), fmt.Sprint(a.status, " ", a.str("error.code"), " ", err)
	isRefused := a.status == http.StatusServiceUnavailable || err == nil && (a.status < 500 || a.status == http.StatusBadGateway)
	switch {
	case err == nil && a.status == http.StatusAccepted:
		p.fate, p.id = accepted, a.str("data.id")
	case err == nil && a.status < 300 && a.str("data.status") != "PENDING":
		p.fate, p.id, p.whatsApp = acknowledged, a.str("data.id"), a.str("data.messageId")
		if !wasAcknowledged {
			p.status = a.str("data.status")
		}
	case isRefused && !wasUnknown && !wasAccepted:
		p.fate = refused
	default:
		p.fate = unknown
		p.answer += " " + a.header.Get(viaBalancer)
	}
	if err != nil && errors.Unwrap(err) == nil && strings.HasPrefix(a.header.Get(viaBalancer), clients) {
		l.scene.t.Errorf("an answer that breaks the ground rules: %v", err)
	}
}

// repeatSends repeats every send with a key. The answer to an acknowledged one is the same as before.
// The journals show later that nothing was sent twice.
func (c *workload) repeatSends() {
	err := parallel(len(c.lines), 6, func(i int) error {
		l := c.lines[i]
		for _, p := range l.sends {
			if p.key == "" || p.card != l.card {
				continue
			}
			before := *p
			l.attempt(p)
			if before.fate == accepted && (p.fate != accepted || p.id != before.id) {
				return fmt.Errorf("%q was accepted as %s, and its repeat answered by %s: %s %s", p.text, before.id, p.id, p.fate, p.answer)
			}
			if before.fate == acknowledged && (p.fate != acknowledged || p.id != before.id || p.whatsApp != before.whatsApp) {
				return fmt.Errorf("%q was answered by %s, %s, and its repeat by %s, %s: %s %s", p.text, before.id, before.whatsApp, p.id, p.whatsApp, p.fate, p.answer)
			}
		}
		return nil
	})
	if err != nil {
		c.s.t.Error(err)
	}
}
