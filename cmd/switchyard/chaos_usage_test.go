package main_test

import (
	"net/http"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
)

// usageKey names the counters of a user for one session id.
type usageKey struct {
	user    int
	session string
}

// usageCounts counts messages by outcome.
type usageCounts struct{ sent, failed int }

// usage compares the counters of each user with the journals of the workers. Every message that a worker
// has sent counts once for the user whose card it was, also if the card is deleted. A message whose outcome
// nobody learned does not count: the worker died before it told, or the session was deleted. events has the
// number of events by our id and type, senders the user and session by our id.
func (v *verdict) usage(events map[string]map[string]int, senders map[string]usageKey) {
	journalled := make(map[string]bool) // our ids
	for _, e := range v.entries {
		if e.Event == simworker.SentOut {
			journalled[e.ClientMessageID] = true
		}
	}
	wanted, learned := make(map[usageKey]usageCounts), 0
	for id, n := range events {
		key := senders[id]
		counts := wanted[key]
		switch {
		case n["message.sent"] > 0 && !journalled[id]:
			v.s.t.Errorf("%s is recorded as sent, but no worker has sent it", id)
		case n["message.sent"] > 0:
			counts.sent++
			learned++
		case n["message.failed"] > 0:
			counts.failed++
		default:
			continue
		}
		wanted[key] = counts
	}
	v.compareUsage(wanted)
	v.s.t.Logf("%d messages in the journals; the outcome of %d was never known", len(journalled), len(journalled)-learned)
}

// compareUsage compares the counters that users see with those that are wanted.
func (v *verdict) compareUsage(wanted map[usageKey]usageCounts) {
	for i, user := range v.users {
		a, err := user.expect(http.StatusOK, "GET", "/users/usage?period=24h", nil)
		if err != nil {
			v.s.t.Error(err)
			continue
		}
		for _, s := range a.list("data.bySession") {
			key := usageKey{i, text(s, "sessionId")}
			failed := int(number(s, "failed"))
			outbound := int(number(s, "total")) - int(number(s, "received"))
			got := usageCounts{outbound - failed, failed}
			if got != wanted[key] {
				v.s.t.Errorf("user %d is told that %s sent %+v messages, but it is %+v", i, key.session, got, wanted[key])
			}
			delete(wanted, key)
		}
	}
	for key, n := range wanted {
		v.s.t.Errorf("user %d is told of no messages of %s, but it is %+v", key.user, key.session, n)
	}
}
