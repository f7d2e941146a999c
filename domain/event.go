package domain

import "time"

// EventType names what happened, in the words customers' webhooks use.
type EventType string

// The events of the core.
const (
	EventSessionConnected    EventType = "session.connected"
	EventSessionDisconnected EventType = "session.disconnected"
	EventSessionQR           EventType = "session.qr_updated"
	EventSessionError        EventType = "session.error"
	EventSessionPlaced       EventType = "session.placed"
	EventSessionMigrated     EventType = "session.migrated"
	EventSessionFailedOver   EventType = "session.failed_over"
	EventSessionDeleted      EventType = "session.deleted"
	EventWorkerOnline        EventType = "worker.online"
	EventWorkerOffline       EventType = "worker.offline"
	EventWorkerDraining      EventType = "worker.draining"
	EventWorkerDrained       EventType = "worker.drained" // no session is left on it
	EventWorkerSuspect       EventType = "worker.suspect" // an alert: see ExceedsBaseline
)

// Event is something that happened, recorded in the transaction that made it
// so and published after it. It carries no secret and no QR data.
type Event struct {
	Seq        int64 // order of recording, set by the store; grows, may have gaps
	Type       EventType
	At         time.Time
	UserID     string // empty for events of workers
	SessionID  string
	WorkerID   string // where the session is now, or the worker concerned
	FromWorker string // where it was, for migrations and failovers
	Generation int64
	Status     Status
	Reason     string // for people; may be empty
}
