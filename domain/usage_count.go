package domain

import "time"

// UsageOutcome is what became of a message, as usage counts it. Each outbound message whose outcome is known
// counts once, as SENT, FAILED or UNFORWARDED. DELIVERED and READ count again what is SENT.
type UsageOutcome string

// The outcomes.
const (
	UsageSent      UsageOutcome = "SENT"
	UsageDelivered UsageOutcome = "DELIVERED"
	UsageRead      UsageOutcome = "READ"
	UsageFailed    UsageOutcome = "FAILED"
	UsageReceived  UsageOutcome = "RECEIVED"
	// UsageUnforwarded counts messages that failed in the send queue.
	UsageUnforwarded UsageOutcome = "UNFORWARDED"
)

// UsageCount is a counter of messages: those of a session that were created within an hour, with a type and
// an outcome.
type UsageCount struct {
	UserID    string
	SessionID string
	Hour      time.Time // its begin, in UTC
	Type      MessageType
	Outcome   UsageOutcome
	Count     int // may be negative in a change
}

// reasonWasFailed is the reason of the event of a message that was sent, although it was taken for failed.
const reasonWasFailed = "it was taken for failed"

// UsageOf returns the changes of counters that an event causes. A message that was sent and fails later
// changes from SENT to FAILED; a message that was taken for failed and was sent changes back.
func UsageOf(e *Event) []UsageCount {
	m := e.Message
	if m == nil {
		return nil
	}
	count := func(o UsageOutcome, n int) UsageCount {
		return UsageCount{
			UserID: e.UserID, SessionID: e.SessionID, Hour: m.CreatedAt.UTC().Truncate(time.Hour), Type: m.Type, Outcome: o, Count: n,
		}
	}
	switch e.Type {
	case EventMessageReceived:
		return []UsageCount{count(UsageReceived, 1)}
	case EventMessageSent:
		if e.Reason == reasonWasFailed {
			return []UsageCount{count(UsageFailed, -1), count(UsageSent, 1)}
		}
		return []UsageCount{count(UsageSent, 1)}
	case EventMessageDelivered:
		return []UsageCount{count(UsageDelivered, 1)}
	case EventMessageRead:
		return []UsageCount{count(UsageRead, 1)}
	case EventMessageFailed:
		if m.Unforwarded {
			return []UsageCount{count(UsageUnforwarded, 1)}
		}
		if !m.SentAt.IsZero() {
			return []UsageCount{count(UsageSent, -1), count(UsageFailed, 1)}
		}
		return []UsageCount{count(UsageFailed, 1)}
	}
	return nil
}
