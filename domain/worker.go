package domain

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// WorkerStatus is the displayed status of a worker. It follows from the worker's state and from an
// operator's drain.
type WorkerStatus string

// The statuses of a worker. Only an ONLINE worker receives sessions.
const (
	WorkerOnline      WorkerStatus = "ONLINE"
	WorkerOffline     WorkerStatus = "OFFLINE"
	WorkerMaintenance WorkerStatus = "MAINTENANCE"
)

// Capability is an extension of the worker protocol that a worker announced.
type Capability string

// The capabilities.
const (
	CapLease      Capability = "lease"      // the worker stops its sessions by itself when its lease ends
	CapGeneration Capability = "generation" // the worker knows generations and obeys STOP_SESSION commands
	CapDedupe     Capability = "dedupe"     // the worker drops a send that repeats a clientMessageId
	CapMedia      Capability = "media"      // the worker keeps the media of inbound messages and hands them out
	CapReplies    Capability = "replies"    // the worker takes quotedMessageId and mentions in a send
	CapOwnToken   Capability = "ownToken"   // the worker shows its own token, and is called with its call token
)

// Breakdown counts a worker's sessions by status.
type Breakdown struct {
	Total        int `json:"total"`
	Connected    int `json:"connected"`
	Disconnected int `json:"disconnected"`
	QRRequired   int `json:"qr_required"`
	Reconnecting int `json:"reconnecting"`
	Error        int `json:"error"`
	Init         int `json:"init"`
}

// Add adds one session of the given status.
func (b *Breakdown) Add(s Status) { b.add(s, 1) }

// Remove removes one session of the given status.
func (b *Breakdown) Remove(s Status) { b.add(s, -1) }

func (b *Breakdown) add(s Status, n int) {
	b.Total += n
	switch s {
	case Init:
		b.Init += n
	case QRRequired:
		b.QRRequired += n
	case Connected:
		b.Connected += n
	case Reconnecting:
		b.Reconnecting += n
	case Disconnected:
		b.Disconnected += n
	case Errored:
		b.Error += n
	}
}

// DownReason is the reason why a worker is offline.
type DownReason string

// The reasons. Their texts are stored. SILENT and LEFT are older than the names of their constants: new texts
// would need a migration, and replicas of the version before it would not know them.
const (
	DownNone             DownReason = ""
	DownCrashed          DownReason = "CRASHED" // its endpoint refuses connections: the process is gone
	DownHeartbeatTimeout DownReason = "SILENT"  // no heartbeat for too long: the worker may only be cut off
	DownUnregistered     DownReason = "LEFT"    // it unregistered
)

// Worker is a process that runs sessions.
type Worker struct {
	ID                string // normalised
	Endpoint          string // the URL for our calls; unique
	Capacity          int    // maximum number of sessions
	AnnouncedCapacity int    // the capacity of the worker's latest message; an administrator's value holds until this one changes
	Used              int    // used slots; the store's reservations own this value, Put never writes it
	Description       string
	Version           string
	Environment       string
	Labels            map[string]string
	Capabilities      []Capability
	StateGroup        string         // workers with the same group share credentials; empty: it shares them with none
	Failover          FailoverPolicy // set by an administrator; empty: FailoverWait
	Interval          time.Duration  // between its heartbeats
	TokenEpoch        string         // of its own token and its call token; empty: it has none

	Online        bool
	Draining      bool   // an operator wants its sessions on other workers
	DrainID       string // the latest drain, the BatchID of its migrations; empty: not draining
	DrainForced   bool   // the drain also moves sessions that need a scan elsewhere
	InMaintenance bool   // by the worker's own word; its sessions move if they need no scan

	CanarySince time.Time // when the canary period began; zero: no canary
	Suspect     string    // why the worker failed its canary period; empty: it did not

	LastHeartbeat time.Time  // or the latest registration, if that is newer
	RegisteredAt  time.Time  // latest registration; each one means a new process
	DownReason    DownReason // why the worker is not Online
	DownAt        time.Time
	FailoverAt    time.Time // when other workers may receive its sessions

	CPU, Memory       float64 // percent in use, 0–100; negative: unknown
	Uptime            time.Duration
	MessageCount      int64
	ReportedBreakdown *Breakdown // the worker's own count; nil if it sent none

	CreatedAt time.Time
	UpdatedAt time.Time
	Rev       int64
}

// Status returns the displayed status.
func (w *Worker) Status() WorkerStatus {
	switch {
	case !w.Online:
		return WorkerOffline
	case w.IsEmptying():
		return WorkerMaintenance
	}
	return WorkerOnline
}

// IsEmptying reports whether the worker receives no sessions and its sessions move to others: it drains,
// or it announced maintenance.
func (w *Worker) IsEmptying() bool { return w.Draining || w.InMaintenance }

// MayStillRun reports whether the worker may run sessions. A worker that is down certainly runs none if its
// process is gone, or if its lease is over.
func (w *Worker) MayStillRun() bool {
	return w.Online || w.DownReason == DownHeartbeatTimeout && !w.Supports(CapLease)
}

// Supports reports whether the worker announced the capability.
func (w *Worker) Supports(c Capability) bool { return slices.Contains(w.Capabilities, c) }

// IsLegacy reports whether the worker announced no capabilities.
func (w *Worker) IsLegacy() bool { return len(w.Capabilities) == 0 }

// Clone returns a copy that shares nothing with w.
func (w *Worker) Clone() *Worker {
	c := *w
	c.Labels = maps.Clone(w.Labels)
	c.Capabilities = slices.Clone(w.Capabilities)
	if w.ReportedBreakdown != nil {
		b := *w.ReportedBreakdown
		c.ReportedBreakdown = &b
	}
	return &c
}

// Registration is the content of a worker's registration.
type Registration struct {
	WorkerID     string
	Endpoint     string
	Capacity     int
	Description  string
	Version      string
	Environment  string
	Labels       map[string]string
	Interval     time.Duration // 0: the interval of the control plane
	Capabilities []Capability
	StateGroup   string // empty: the worker shares credentials with no other
	Maintenance  Maintenance
	Holder       TokenHolder // who registers; an own token registers only its known worker at its known endpoint
	TokenEpoch   string      // begins with this registration; unique, unpredictable, hexadecimal
}

// The bounds of a worker's labels.
const (
	MaxLabels     = 32
	MaxLabelBytes = 63 // of a name, and of a value
)

// CheckLabel checks one label of a worker.
func CheckLabel(name, value string) error {
	if name == "" || name != StorableText(name, MaxLabelBytes) || value != StorableText(value, MaxLabelBytes) {
		return Errorf(Invalid, CodeValidation, "A label must have a name of 1 to %d bytes and a text of at most %d", MaxLabelBytes, MaxLabelBytes)
	}
	return nil
}

// CheckLabels checks the labels of a worker. It returns the first problem.
func CheckLabels(labels map[string]string) error {
	if len(labels) > MaxLabels {
		return Errorf(Invalid, CodeValidation, "A worker may have at most %d labels", MaxLabels)
	}
	for name, value := range labels {
		if err := CheckLabel(name, value); err != nil {
			return err
		}
	}
	return nil
}

// The defaults of a registration.
const (
	DefaultWorkerCapacity    = 50
	DefaultWorkerVersion     = "1.0.0"
	DefaultWorkerEnvironment = "DEVELOPMENT"
)

// ApplyDefaults replaces an empty capacity, version and environment by their defaults.
func (r *Registration) ApplyDefaults() {
	r.Capacity = cmp.Or(r.Capacity, DefaultWorkerCapacity)
	r.Version = cmp.Or(r.Version, DefaultWorkerVersion)
	r.Environment = cmp.Or(r.Environment, DefaultWorkerEnvironment)
}

// legacyHeartbeatInterval is the assumed interval of legacy workers, which ignore ours.
const legacyHeartbeatInterval = 30 * time.Second

// Register applies a registration: the worker is online with a new process. An administrator's values
// stay if the worker omits or repeats its own. An earlier down reason is cleared. The worker recovers
// the sessions that have not moved by now.
func (w *Worker) Register(r Registration, t Timing, now time.Time) []Event {
	wasOnline := w.Online
	w.Endpoint = r.Endpoint
	if r.Capacity != w.AnnouncedCapacity {
		w.Capacity, w.AnnouncedCapacity = r.Capacity, r.Capacity
	}
	if w.RegisteredAt.IsZero() || w.Version != r.Version {
		w.startCanary(now)
	}
	w.Version, w.Environment, w.Capabilities = r.Version, r.Environment, slices.Clone(r.Capabilities)
	w.TokenEpoch = ""
	if !w.IsLegacy() { // a legacy worker would log the tokens, which come with the answer
		w.TokenEpoch = r.TokenEpoch
	}
	if r.Description != "" {
		w.Description = r.Description
	}
	if r.Labels != nil {
		w.Labels = maps.Clone(r.Labels)
	}
	w.Interval = r.Interval
	if w.Interval <= 0 {
		w.Interval = t.HeartbeatInterval
		if w.IsLegacy() {
			// A legacy worker keeps its own interval. ApplyHeartbeat adapts to a shorter one.
			w.Interval = max(w.Interval, legacyHeartbeatInterval)
		}
	}
	w.RegisteredAt, w.LastHeartbeat, w.UpdatedAt = now, now, now
	w.StateGroup, w.InMaintenance = r.StateGroup, r.Maintenance == MaintenanceBegins
	w.ReportedBreakdown = nil
	w.markOnline()
	if wasOnline {
		return nil
	}
	return []Event{w.event(EventWorkerOnline, "registered", now)}
}

// Heartbeat is a worker's periodic message, in whichever form the worker sent it.
type Heartbeat struct {
	WorkerID       string
	Sessions       []Report   // the sessions that the worker lists, if any
	Skipped        int        // listed items that were not usable
	Warnings       []string   // why, in a few words each; the first of them
	IsFullSnapshot bool       // Sessions is complete: the worker does not have any other session
	Breakdown      *Breakdown // the worker's own count; nil: not stated
	CPU, Memory    float64    // percent in use; negative: not stated
	Uptime         time.Duration
	MessageCount   int64 // negative: not stated
	Capacity       int   // 0: not stated
	Version        string
	Environment    string
	Maintenance    Maintenance
}

// Maintenance is what a worker's message says of its maintenance.
type Maintenance uint8

// The values of Maintenance.
const (
	MaintenanceNotStated Maintenance = iota
	MaintenanceBegins                // the worker takes no new sessions
	MaintenanceEnds                  // the worker says that it is ONLINE
)

// ApplyHeartbeat applies a heartbeat. An OFFLINE worker is online again, whatever its down reason was.
func (w *Worker) ApplyHeartbeat(h Heartbeat, t Timing, now time.Time) []Event {
	wasOnline := w.Online
	if gap := now.Sub(w.LastHeartbeat); w.IsLegacy() && gap >= t.HeartbeatInterval/2 {
		// One early heartbeat does not define the interval. Otherwise the next regular one would look
		// late.
		slowest := max(w.Interval, t.HeartbeatInterval, legacyHeartbeatInterval)
		w.Interval = min(max(gap, w.Interval/2, t.HeartbeatInterval), slowest)
	}
	if now.After(w.LastHeartbeat) {
		w.LastHeartbeat = now
	}
	if h.CPU >= 0 {
		w.CPU = min(h.CPU, 100)
	}
	if h.Memory >= 0 {
		w.Memory = min(h.Memory, 100)
	}
	if h.Uptime > 0 {
		w.Uptime = h.Uptime
	}
	if h.MessageCount >= 0 {
		w.MessageCount = h.MessageCount
	}
	if h.Capacity > 0 && h.Capacity != w.AnnouncedCapacity {
		w.Capacity, w.AnnouncedCapacity = h.Capacity, h.Capacity
	}
	if h.Version != "" && h.Version != w.Version {
		w.Version = h.Version
		w.startCanary(now)
	}
	if h.Environment != "" {
		w.Environment = h.Environment
	}
	if h.Maintenance != MaintenanceNotStated {
		w.InMaintenance = h.Maintenance == MaintenanceBegins
	}
	if h.Breakdown != nil {
		b := *h.Breakdown
		w.ReportedBreakdown = &b
	}
	w.markOnline()
	if wasOnline {
		return nil
	}
	w.UpdatedAt = now
	return []Event{w.event(EventWorkerOnline, "heard of again", now)}
}

// markOnline clears the down reason.
func (w *Worker) markOnline() {
	w.Online, w.DownReason, w.DownAt, w.FailoverAt = true, DownNone, time.Time{}, time.Time{}
}

// MarkDown records that the worker is gone. Its sessions may move after the grace of the reason. A
// crashed or unregistered worker may return and recover them within the failover delay. A worker whose
// heartbeat timed out gets no further grace.
func (w *Worker) MarkDown(why DownReason, t Timing, now time.Time) []Event {
	if !w.Online {
		return nil
	}
	w.Online, w.DownReason, w.DownAt, w.UpdatedAt = false, why, now, now
	w.FailoverAt = now
	if why != DownHeartbeatTimeout {
		w.FailoverAt = now.Add(t.FailoverDelay)
	}
	return []Event{w.event(EventWorkerOffline, string(why), now)}
}

// Drain records that an operator wants the worker's sessions on other workers. id becomes the BatchID
// of their migrations. Sessions that need a scan elsewhere stay.
func (w *Worker) Drain(id string, now time.Time) []Event {
	if w.Draining {
		return nil
	}
	w.Draining, w.DrainID, w.UpdatedAt = true, id, now
	return []Event{w.event(EventWorkerDraining, "", now)}
}

// ForceDrain lets the drain also move sessions that need a scan elsewhere.
func (w *Worker) ForceDrain() { w.DrainForced = true }

// Drained returns an event if the worker is draining and has no session left.
func (w *Worker) Drained(now time.Time) []Event {
	if !w.Draining || w.Used > 0 {
		return nil
	}
	return []Event{w.event(EventWorkerDrained, "", now)}
}

// Activate records that an operator wants the worker to receive sessions. A drain and the finding of a
// canary period end.
func (w *Worker) Activate(now time.Time) {
	w.DrainForced, w.InMaintenance = false, false
	w.Draining, w.DrainID, w.CanarySince, w.Suspect, w.UpdatedAt = false, "", time.Time{}, "", now
}

// HeartbeatDeadline returns the time at which the worker counts as lost unless another heartbeat
// arrives. With a lease, the lease and the allowance for clock drift must end first. Without a lease,
// the limit is three missed heartbeats, at most 90 s.
//
// heardAt is when this replica learned of the latest heartbeat, by its own clock, or when it began to
// watch the worker, if that is later. A control plane that was itself away blames no worker.
// LastHeartbeat does not count: it is by the clock of the replica that received the heartbeat.
func (w *Worker) HeartbeatDeadline(t Timing, heardAt time.Time) time.Time {
	if w.Supports(CapLease) {
		return heardAt.Add(t.Lease + t.Drift)
	}
	return heardAt.Add(min(3*w.Interval, t.MaxHeartbeatTimeout))
}

// event returns an event of the worker.
func (w *Worker) event(e EventType, reason string, now time.Time) Event {
	return Event{Type: e, At: now, WorkerID: w.ID, Reason: reason}
}

// LoadSample is a worker's load at one moment, for the load history.
type LoadSample struct {
	WorkerID    string
	At          time.Time
	Sessions    int     // slots used
	CPU, Memory float64 // percent in use; negative: unknown
}

// Probes is the state of the health probes of one worker. The zero value is ready.
type Probes struct {
	Refusals  int       // consecutive refused connections
	RefusedAt time.Time // time of the first of them
	NextAt    time.Time // zero: at once
	Warning   string    // the failure of the latest probe; empty if it succeeded
}

// ProbeResult classifies the outcome of a call by its evidence that the worker's process exists.
type ProbeResult uint8

// The results of a probe. Any response proves that the process exists.
const (
	ProbeAnswered ProbeResult = iota
	ProbeRefused              // nothing listens: the process is gone
	ProbeTimedOut             // the worker may be cut off, hung or busy
)

// Note records a result and reports whether the worker counts as crashed. A worker crashed if its
// endpoint refused ProbeFailures connections in a row and no heartbeat arrived since the first of them.
// lastHeartbeat is the arrival of the latest heartbeat. While heartbeats arrive, refusals are only a
// warning. After a first refusal the next probes follow quickly.
func (p *Probes) Note(r ProbeResult, warning string, lastHeartbeat time.Time, t Timing, now time.Time) (crashed bool) {
	p.Warning = warning
	if r != ProbeRefused {
		p.Refusals, p.NextAt = 0, now.Add(t.ProbeInterval)
		return false
	}
	if p.Refusals == 0 {
		p.RefusedAt = now
	}
	p.Refusals++
	p.NextAt = now.Add(min(t.ProbeRetry, t.ProbeInterval))
	if lastHeartbeat.After(p.RefusedAt) {
		p.NextAt = now.Add(t.ProbeInterval)
		return false
	}
	return p.Refusals >= t.ProbeFailures
}
