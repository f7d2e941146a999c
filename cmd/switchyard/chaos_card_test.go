package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
)

// card is a session under an id. Its user may delete it. Another user then creates a session with the
// same id, which is linked to another phone.
type card struct {
	*testSession
	user   int
	serial int    // of the cards with this id
	number string // of its phone

	deleted time.Time // when its user first asked for the deletion; zero: never
}

func (l *trackedSession) newCard(user, serial int) *card {
	number := fmt.Sprintf("62812%04d%04d", l.index, serial)
	return &card{testSession: &testSession{l.users[user], l.id, ""}, user: user, serial: serial, number: number}
}

// String returns the name of the card.
func (c *card) String() string { return fmt.Sprintf("%s, card %d", c.id, c.serial) }

// mark returns the beginning of each text that the card sends.
func (c *card) mark() string { return c.String() + ", " }

// isPhone reports whether a number may be that of the card's phone. A worker that restarts during the
// pairing does not know of it: it shows a QR, which the simulated phone of the id scans.
func (c *card) isPhone(number string) bool {
	return number == c.number || number == simworker.PhoneOf(c.id)
}

// pairing returns the body of a connect. The phone that types the code has the number.
func (c *card) pairing() obj { return obj{"pairing": obj{"phoneNumber": c.number}} }

func (l *trackedSession) current() *card {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.card
}

// replaceCard deletes the card, and creates and connects the next one as soon as the id is free. The
// caller holds intentMu.
func (l *trackedSession) replaceCard() {
	if l.intent != gone {
		l.deleteCard()
	}
	if l.intent == gone && l.createCard() {
		l.ask("connect", 0)
	}
}

// deleteCard deletes the card. A card that may be gone already need not be found.
func (l *trackedSession) deleteCard() {
	c, q := l.current(), request{what: "delete", from: time.Now()}
	a, err := c.call("DELETE", c.path(""), nil)
	q.to, q.answer, q.err = time.Now(), fmt.Sprint(a.status, " ", a.str("error.code")), err
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, q)
	if c.deleted.IsZero() {
		c.deleted = q.from
	}
	switch {
	case err == nil && a.status == http.StatusOK, a.status == http.StatusNotFound && l.intent == unsure:
		l.intent = gone
	case a.status == http.StatusNotFound:
		l.scene.t.Errorf("%s is not there, though nobody has deleted it: %s", c, a)
	case a.clear():
		// The call was refused: nothing has changed.
	default:
		l.intent, l.unknownSince = unsure, q.to
	}
}

// createCard creates the next card for another user. It reports whether it has done so: the id may not
// be free yet.
func (l *trackedSession) createCard() bool {
	old := l.current()
	user := (old.user + 1 + l.limited%(len(l.users)-1)) % len(l.users)
	c, q := l.newCard(user, old.serial+1), request{what: "create", from: time.Now()}
	a, err := c.call("POST", "/sessions", obj{"name": c.String(), "sessionId": l.id})
	q.to, q.answer, q.err = time.Now(), fmt.Sprint(a.status, " ", a.str("error.code")), err
	isCreated := err == nil && a.status == http.StatusCreated
	c.key = a.str("data.apiKey")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, q)
	switch {
	case isCreated:
		l.intent = down
	case a.str("error.code") == "SESSION_LIMIT_EXCEEDED":
		l.limited++
		return false
	case a.clear():
		return false
	default:
		l.intent, l.unknownSince = unsure, q.to
	}
	l.card, l.former = c, append(l.former, old)
	return isCreated
}

// settleCards ends what is open about cards: each id gets its next card.
func (c *workload) settleCards() {
	_ = parallel(len(c.lines), 6, func(i int) error {
		l := c.lines[i]
		l.intentMu.Lock()
		defer l.intentMu.Unlock()
		if l.intent == gone || l.intent == unsure {
			l.change([]string{"delete"}, 0)
		}
		return nil
	})
}

// linkedPhone returns the number whose credentials the workers store under an id, if any.
func (s *scene) linkedPhone(id string) string {
	b, err := os.ReadFile(filepath.Join(s.stateDir(), "phones", id))
	if err != nil {
		return ""
	}
	number, _, _ := strings.Cut(string(b), "\n")
	return number
}

// cards checks that nothing of a deleted card is left. Neither its user nor its key reach the id, and
// the present user finds nothing of it in the history.
func (v *verdict) cards() {
	replaced := 0
	for _, l := range v.lines {
		replaced += len(l.former)
		for _, f := range l.former {
			v.checkFormer(l, f)
		}
		if len(l.former) > 0 {
			v.checkPresent(l)
		}
	}
	v.s.t.Logf("%d cards were deleted and replaced", replaced)
}

// checkFormer checks a deleted card.
func (v *verdict) checkFormer(l *trackedSession, f *card) {
	for _, path := range []string{"", "/status", "/messages", "/events"} {
		a, err := f.call("GET", f.path(path), nil)
		if f.user != l.card.user && (err != nil || a.status != http.StatusNotFound) {
			v.violation(l, "the user of %s still reads the id: %v %s", f, err, a)
		}
	}
	if f.key == "" {
		return
	}
	a, err := f.byKey().call("GET", "/session/status", nil)
	if err != nil || a.status != http.StatusUnauthorized {
		v.violation(l, "the key of %s is still valid: %v %s", f, err, a)
	}
}

// checkPresent checks what the user of a card reads that has replaced another one.
func (v *verdict) checkPresent(l *trackedSession) {
	page, err := l.card.everything()
	if err != nil {
		v.violation(l, "the history cannot be read: %v", err)
	}
	for _, m := range page {
		if !strings.HasPrefix(text(m, "content"), l.card.mark()) {
			v.violation(l, "the history has a message of another card: %v", m)
		}
	}
}
