package main_test

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
)

const (
	laterOneIn    = 7               // of so many sends one is sent later
	laterPatience = 8 * time.Second // of a message that is sent later
)

// sendLater sends a text by the queue of the session, at once or some seconds later. It repeats the call while its outcome is
// unknown.
func (l *trackedSession) sendLater(text string, i int) {
	p := l.newMessage(text)
	p.key, p.later = p.text, obj{"queue": true, "deadline": laterPatience.String()}
	if i%2 == 0 {
		p.later["sendAt"] = time.Now().Add(time.Duration(1+i%6) * time.Second).Format(time.RFC3339Nano)
	}
	for n := 0; n <= mostRepeats && (n == 0 || p.fate == unknown); n++ {
		l.attempt(p)
	}
	l.keep(p)
}

// awaitEmptyQueues waits until no message waits, which is after the latest deadline.
func (c *workload) awaitEmptyQueues() {
	waitFor(c.s.t, "no message waits to be sent later", func() (bool, any) {
		err := parallel(len(c.lines), 6, func(i int) error {
			l := c.lines[i]
			if l.intent == gone {
				return nil
			}
			a, err := l.card.expect(http.StatusOK, "GET", l.card.path("/scheduled?limit=100"), nil)
			if n := len(a.list("data.messages")); err == nil && n > 0 {
				err = fmt.Errorf("%d messages of %s wait", n, l.id)
			}
			return err
		})
		return err == nil, err
	})
}

// scheduled checks a message that was accepted to be sent later. m is what the history has of it.
func (v *verdict) scheduled(l *trackedSession, p *sentMessage, sent []simworker.Entry, m any) {
	status, reason := text(m, "status"), text(m, "errorMessage")
	switch {
	case len(sent) == 1 && sent[0].ClientMessageID != p.id:
		v.violation(l, "%q was accepted as %s, but is %+v", p.text, p.id, sent[0])
	case p.card != l.card: // its history is deleted
	case m == nil:
		v.violation(l, "%q was accepted as %s, and is forgotten", p.text, p.id)
	case status == "FAILED" && strings.Contains(reason, "the deadline passed") && len(sent) > 0:
		v.violation(l, "%q was accepted as %s and failed, as %q, but went out: %+v", p.text, p.id, reason, sent)
	case status != "FAILED" && status != "PENDING" && len(sent) != 1:
		v.violation(l, "%q was accepted as %s and is %s, but went out %d times", p.text, p.id, status, len(sent))
	}
	v.later[cmp.Or(status, "deleted")+": "+reason]++
}
