package domain

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// WorkerStatus is what is shown of a worker. It follows from whether the
// worker is up and whether an operator drains it.
type WorkerStatus string

// The statuses of a worker. Only an ONLINE worker receives sessions.
const (
	WorkerOnline      WorkerStatus = "ONLINE"
	WorkerOffline     WorkerStatus = "OFFLINE"
	WorkerMaintenance WorkerStatus = "MAINTENANCE"
)

// Capability names an extension of the worker protocol that a worker announced.
type Capability string

// The capabilities.
const (
	CapLease      Capability = "lease"      // stops its sessions by itself when its lease runs out
	CapGeneration Capability = "generation" // knows generations and obeys STOP_SESSION commands
	CapDedupe     Capability = "dedupe"     // drops a send that repeats a clientMessageId
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

// Add counts one more session of the given status.
func (b *Breakdown) Add(s Status) { b.add(s, 1) }

// Remove counts one session of the given status less.
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

// DownReason says why a worker counts as gone.
type DownReason string

// The ways to lose a worker.
const (
	DownNone             DownReason = ""
	DownCrashed          DownReason = "CRASHED" // its endpoint refuses connections: the process is gone
	DownHeartbeatTimeout DownReason = "SILENT"  // no heartbeat for too long: perhaps only cut off
	DownUnregistered     DownReason = "LEFT"    // it unregistered
)

// Worker is a process that hosts sessions.
type Worker struct {
	ID                string // normalised
	Endpoint          string // where we call it; unique
	Capacity          int    // sessions at most
	AnnouncedCapacity int    // the capacity by its own latest word; an administrator's stands until that changes
	Used              int    // slots taken; owned by the store's reservation, never written by Put
	Description       string
	Version           string
	Environment       string
	Labels            map[string]string
	Capabilities      []Capability
	Interval          time.Duration // between its heartbeats

	Online   bool
	Draining bool   // an operator wants its sessions elsewhere
	DrainID  string // the latest drain: BatchID of its moves; empty: not draining

	CanarySince time.Time // when it joined, or changed its version; zero: no canary
	Suspect     string    // why it receives no sessions since its canary period; empty: it does

	LastHeartbeat time.Time  // or its latest registration, if that is newer
	RegisteredAt  time.Time  // latest registration; a new one is a new process
	DownReason    DownReason // why it is not Online
	DownAt        time.Time
	FailoverAt    time.Time // when its sessions may be given to others

	CPU, Memory       float64 // percent, 0–100; negative: unknown
	Uptime            time.Duration
	MessageCount      int64
	ReportedBreakdown *Breakdown // by its own word; nil if it never said

	CreatedAt time.Time
	UpdatedAt time.Time
	Rev       int64
}

// Status derives what is shown.
func (w *Worker) Status() WorkerStatus {
	switch {
	case !w.Online:
		return WorkerOffline
	case w.Draining:
		return WorkerMaintenance
	}
	return WorkerOnline
}

// Supports reports whether the worker announced the capability.
func (w *Worker) Supports(c Capability) bool { return slices.Contains(w.Capabilities, c) }

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

// Registration is what a worker says of itself when it registers.
type Registration struct {
	WorkerID      string
	Endpoint      string
	Capacity      int
	Description   string
	Version       string
	Environment   string
	Labels        map[string]string
	Interval      time.Duration // 0: the interval it is told
	Capabilities  []Capability
	ByWorkerToken bool // by its own token: good only for a worker that is known to be at the endpoint
}

// Defaults of a registration.
const (
	DefaultWorkerCapacity    = 50
	DefaultWorkerVersion     = "1.0.0"
	DefaultWorkerEnvironment = "DEVELOPMENT"
)

// ApplyDefaults fills in a capacity, version and environment that are not given.
func (r *Registration) ApplyDefaults() {
	r.Capacity = cmp.Or(r.Capacity, DefaultWorkerCapacity)
	r.Version = cmp.Or(r.Version, DefaultWorkerVersion)
	r.Environment = cmp.Or(r.Environment, DefaultWorkerEnvironment)
}

// legacyHeartbeatInterval is the rhythm of workers that hear nothing of ours.
const legacyHeartbeatInterval = 30 * time.Second

// Register applies a registration: the worker is online with a new process.
// What it does not say, or says again, leaves an administrator's word standing.
// A loss that was noted before is over; sessions that have not been moved by
// now are its to recover.
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
	if r.Description != "" {
		w.Description = r.Description
	}
	if r.Labels != nil {
		w.Labels = maps.Clone(r.Labels)
	}
	if w.Interval = r.Interval; w.Interval <= 0 {
		w.Interval = t.HeartbeatInterval
		if len(r.Capabilities) == 0 {
			// A legacy worker keeps a rhythm of its own; ApplyHeartbeat finds out if it is quicker.
			w.Interval = max(w.Interval, legacyHeartbeatInterval)
		}
	}
	w.RegisteredAt, w.LastHeartbeat, w.UpdatedAt = now, now, now
	w.ReportedBreakdown = nil
	w.markOnline()
	if wasOnline {
		return nil
	}
	return []Event{w.event(EventWorkerOnline, "registered", now)}
}

// Heartbeat is what a worker says of itself now and then, whatever the form it
// used.
type Heartbeat struct {
	WorkerID       string
	Sessions       []Report   // its sessions, if it lists them
	IsFullSnapshot bool       // it lists all its sessions, so what is missing is not there
	Breakdown      *Breakdown // its own count, if it gives one
	CPU, Memory    float64    // percent; negative: not said
	Uptime         time.Duration
	MessageCount   int64 // negative: not said
	Capacity       int   // 0: not said
	Version        string
	Environment    string
}

// ApplyHeartbeat applies a heartbeat. A known worker that was OFFLINE is back by it,
// whatever the reason it was lost for.
func (w *Worker) ApplyHeartbeat(h Heartbeat, t Timing, now time.Time) []Event {
	wasOnline := w.Online
	if gap := now.Sub(w.LastHeartbeat); len(w.Capabilities) == 0 && gap >= t.HeartbeatInterval/2 {
		// One beat out of turn does not make a rhythm: the worker must not count as silent by the next.
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

func (w *Worker) markOnline() {
	w.Online, w.DownReason, w.DownAt, w.FailoverAt = true, DownNone, time.Time{}, time.Time{}
}

// MarkDown notes that the worker is gone. Its sessions may be given to others
// after the grace that the kind of loss asks for: a crashed worker, or one
// that left, may come back and recover them within the failover delay; a
// silent one had its time already.
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

// Drain notes that an operator wants the worker's sessions elsewhere; id names
// their moves.
func (w *Worker) Drain(id string, now time.Time) []Event {
	if w.Draining {
		return nil
	}
	w.Draining, w.DrainID, w.UpdatedAt = true, id, now
	return []Event{w.event(EventWorkerDraining, "", now)}
}

// Drained tells that no session is left on a draining worker, if that is so.
func (w *Worker) Drained(now time.Time) []Event {
	if !w.Draining || w.Used > 0 {
		return nil
	}
	return []Event{w.event(EventWorkerDrained, "", now)}
}

// Activate notes that an operator wants the worker to receive sessions: what
// its canary period found, if anything, does not count any more.
func (w *Worker) Activate(now time.Time) {
	w.Draining, w.DrainID, w.CanarySince, w.Suspect, w.UpdatedAt = false, "", time.Time{}, "", now
}

// HeartbeatDeadline gives the time at which the worker, if nothing is heard of it,
// counts as lost: for a worker with a lease, when the lease and the allowance
// for clocks that drift have run out; for others after three missed
// heartbeats, at most 90 s. heard is when this replica could have heard of it
// at the earliest: a control plane that was itself away blames no worker.
func (w *Worker) HeartbeatDeadline(t Timing, heard time.Time) time.Time {
	last := w.LastHeartbeat
	if heard.After(last) {
		last = heard
	}
	if w.Supports(CapLease) {
		return last.Add(t.Lease + t.Drift)
	}
	return last.Add(min(3*w.Interval, t.MaxHeartbeatTimeout))
}

func (w *Worker) event(e EventType, reason string, now time.Time) Event {
	return Event{Type: e, At: now, WorkerID: w.ID, Reason: reason}
}

// LoadSample is a worker's load at one moment, for looking back.
type LoadSample struct {
	WorkerID    string
	At          time.Time
	Sessions    int     // slots used
	CPU, Memory float64 // percent; negative: unknown
}

// Probes follows the health probes of one worker. The zero value is ready.
type Probes struct {
	Refusals  int       // in a row
	RefusedAt time.Time // the first of them
	NextAt    time.Time // zero: at once
	Warning   string    // why the last one failed; empty if it did not
}

// ProbeResult is what came of one call to a worker, as far as it tells whether
// the process is there.
type ProbeResult uint8

// The results of a probe. A worker that answers anything at all is there.
const (
	ProbeAnswered ProbeResult = iota
	ProbeRefused              // nothing listens: the process is gone
	ProbeTimedOut             // it may be cut off, hung or busy
)

// Note records a result and reports whether the worker counts as crashed: its
// endpoint refused that many times in a row, and it has not been heard of since
// the first of them. While heartbeats arrive, refusals are only a warning.
// After a first refusal probes follow each other quickly.
func (p *Probes) Note(r ProbeResult, warning string, heard time.Time, t Timing, now time.Time) (crashed bool) {
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
	if heard.After(p.RefusedAt) {
		p.NextAt = now.Add(t.ProbeInterval)
		return false
	}
	return p.Refusals >= t.ProbeFailures
}

// Cleanup is something left to do on a worker for a session that is no longer
// its own, or no longer exists: it is carried out when the worker can be
// reached.
type Cleanup struct {
	WorkerID   string
	SessionID  string
	Command    Command // CommandDisconnect, CommandLogout or CommandDelete
	Generation int64   // what was assigned there
	DueAt      time.Time
	Attempts   int
	ClaimedBy  string // the replica that carries it out at the moment, until DueAt; empty: none
	CreatedAt  time.Time
	Rev        int64
}
