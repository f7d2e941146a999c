package domain

import "time"

// EventType names an event in the words of customers' webhooks.
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
	EventSessionNeedsScan    EventType = "session.needs_scan" // an alert; FromWorker is the home
	EventSessionDeleted      EventType = "session.deleted"
	EventWorkerOnline        EventType = "worker.online"
	EventWorkerOffline       EventType = "worker.offline"
	EventWorkerDraining      EventType = "worker.draining"
	EventWorkerDrained       EventType = "worker.drained" // no session is left on the worker
	EventWorkerSuspect       EventType = "worker.suspect" // an alert; see ExceedsBaseline
)

// Event is a recorded fact. The transaction that causes an event also records it, and the relay
// publishes it after the commit. An event contains no secret and no QR data.
type Event struct {
	Seq        int64 // the order of recording, set by the store; grows, may have gaps
	Type       EventType
	At         time.Time
	UserID     string // empty for events of workers
	SessionID  string
	WorkerID   string // the present worker of the session, or the worker concerned
	FromWorker string // the former worker, for migrations and failovers
	Generation int64
	Status     Status
	Reason     string // for people; may be empty
}
