package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

type registeredView struct {
	ID                   string              `json:"id"`
	WorkerID             string              `json:"workerId"`
	Endpoint             string              `json:"endpoint"`
	Status               domain.WorkerStatus `json:"status"`
	SessionCount         int                 `json:"sessionCount"`
	MaxSessions          int                 `json:"maxSessions"`
	Description          optional            `json:"description"`
	Version              optional            `json:"version"`
	Environment          optional            `json:"environment"`
	RecoveryRequired     bool                `json:"recoveryRequired"`
	AssignedSessionCount int                 `json:"assignedSessionCount"`
	LastHeartbeat        stamp               `json:"lastHeartbeat"`
	CreatedAt            stamp               `json:"createdAt"`
	UpdatedAt            stamp               `json:"updatedAt"`
	WorkerToken          string              `json:"workerToken"`
	HeartbeatIntervalMS  int64               `json:"heartbeatIntervalMs,omitzero"`
	LeaseMS              int64               `json:"leaseMs,omitzero"`
	Commands             []commandView       `json:"commands"`
}

// commandView tells a worker what to do; it is in the answers to registrations
// and heartbeats.
type commandView struct {
	Type       string `json:"type"`
	SessionID  string `json:"sessionId"`
	Generation int64  `json:"generation"`
}

const stopSession = "STOP_SESSION"

func (a *api) registerWorker(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	in, err := decodeRegistration(b, false)
	if err != nil {
		return nil, err
	}
	if _, err := c.speaksFor(in.WorkerID); err != nil {
		return nil, err
	}
	in.ByWorkerToken = c.own != ""
	r, err := a.Protocol.Register(ctx, in)
	if err != nil {
		return nil, err
	}
	if r.Known {
		c.success = http.StatusOK
	}
	w := r.Worker
	commands := make([]commandView, len(r.Commands))
	for i, stop := range r.Commands {
		commands[i] = commandView{stopSession, stop.SessionID, stop.Generation}
	}
	return registeredView{
		ID: w.ID, WorkerID: w.ID, Endpoint: w.Endpoint, Status: w.Status(), SessionCount: w.Used,
		MaxSessions: w.Capacity, Description: optional(w.Description), Version: optional(w.Version),
		Environment: optional(w.Environment), RecoveryRequired: r.Assigned > 0, AssignedSessionCount: r.Assigned,
		LastHeartbeat: stamp(w.LastHeartbeat), CreatedAt: stamp(w.CreatedAt), UpdatedAt: stamp(w.UpdatedAt),
		WorkerToken: a.WorkerTokens.Of(w.ID), HeartbeatIntervalMS: r.Interval.Milliseconds(), LeaseMS: r.Lease.Milliseconds(),
		Commands: commands,
	}, nil
}

// assignedView is a session with its owner, for its worker to recover.
type assignedView struct {
	SessionID   string        `json:"sessionId"`
	UserID      string        `json:"userId"`
	SessionName string        `json:"sessionName"`
	PhoneNumber optional      `json:"phoneNumber"`
	Status      domain.Status `json:"status"`
	UserEmail   string        `json:"userEmail"`
	UserTier    domain.Tier   `json:"userTier"`
	CreatedAt   stamp         `json:"createdAt"`
	UpdatedAt   stamp         `json:"updatedAt"`
	LastSeenAt  stamp         `json:"lastSeenAt"`
	Generation  int64         `json:"generation"`
}

func (a *api) assigned(ctx context.Context, c *call) (any, error) {
	id := c.workerRef()
	list, err := a.Protocol.AssignedSessions(ctx, id)
	if err != nil {
		return nil, err
	}
	views := make([]assignedView, len(list))
	for i, s := range list {
		views[i] = assignedView{
			SessionID: s.ID, UserID: s.UserID, SessionName: s.Name, PhoneNumber: optional(s.PhoneNumber),
			Status: s.Status, UserEmail: s.UserEmail, UserTier: s.UserTier, CreatedAt: stamp(s.CreatedAt),
			UpdatedAt: stamp(s.UpdatedAt), LastSeenAt: stamp(s.LastSeenAt), Generation: s.Generation,
		}
	}
	return struct {
		WorkerID         string         `json:"workerId"`
		SessionCount     int            `json:"sessionCount"`
		TotalSessions    int            `json:"totalSessions"`
		Sessions         []assignedView `json:"sessions"`         // what today's workers read
		AssignedSessions []assignedView `json:"assignedSessions"` // what the first ones were told
		RetrievedAt      stamp          `json:"retrievedAt"`
	}{id, len(views), len(views), views, views, stamp(a.Clock.Now())}, nil
}

type recoveredView struct {
	SessionID string                 `json:"sessionId"`
	Status    service.RecoveryStatus `json:"status"`
	Action    string                 `json:"action"`
	Error     string                 `json:"error,omitzero"`
}

func (a *api) recovered(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	results, err := decodeRecovery(b)
	if err != nil {
		return nil, err
	}
	if _, err := c.speaksFor(b.worker); err != nil {
		return nil, err
	}
	id := c.workerRef()
	outcomes, err := a.Protocol.ReportRecovery(ctx, id, results)
	if err != nil {
		return nil, err
	}
	v := struct {
		WorkerID             string          `json:"workerId"`
		ProcessedSessions    int             `json:"processedSessions"`
		SuccessfulRecoveries int             `json:"successfulRecoveries"`
		FailedRecoveries     int             `json:"failedRecoveries"`
		SkippedRecoveries    int             `json:"skippedRecoveries"`
		UpdatedSessionCount  int             `json:"updatedSessionCount"`
		ProcessedResults     []recoveredView `json:"processedResults"`
	}{WorkerID: id, ProcessedSessions: len(outcomes)}
	for _, o := range outcomes {
		switch o.Status {
		case service.RecoverySuccess:
			v.SuccessfulRecoveries++
		case service.RecoveryFailed:
			v.FailedRecoveries++
		case service.RecoverySkipped:
			v.SkippedRecoveries++
		}
		if o.Updated {
			v.UpdatedSessionCount++
		}
		v.ProcessedResults = append(v.ProcessedResults, recoveredView{o.SessionID, o.Status, o.Action, o.Error})
	}
	return v, nil
}

// decodeRecovery reads the results. The totals, which have to be there in one
// place or the other, are not believed.
func decodeRecovery(b *body) ([]service.RecoveryResult, error) {
	var results []service.RecoveryResult
	listed, summed := false, false
	for b.next() {
		switch b.member() {
		case "recoveryResults":
			if !b.array() {
				continue
			}
			for listed = true; b.item(); {
				results = append(results, b.recovery(len(results)))
			}
		case "summary":
			if b.object() {
				for summed = true; b.next(); {
					b.total()
				}
			}
		case "workerId":
			b.workerID()
		default:
			summed = b.total() || summed
		}
	}
	if !listed {
		b.lack("recoveryResults", "A list of results")
	}
	if !summed {
		b.lack("summary", "A summary with totalSessions, successfulRecoveries, failedRecoveries and skippedRecoveries")
	}
	return results, b.end()
}

// total reads a total and reports whether the member was one.
func (b *body) total() bool {
	switch b.member() {
	case "totalSessions", "successfulRecoveries", "failedRecoveries", "skippedRecoveries":
		var f float64
		return b.number(&f)
	}
	return false
}

func (b *body) recovery(i int) service.RecoveryResult {
	var r service.RecoveryResult
	at := "recoveryResults[" + strconv.Itoa(i) + "]"
	if !b.object() {
		b.once(at, "Result must be an object")
		return r
	}
	var status *string
	for b.next() {
		switch b.member() {
		case "sessionId":
			b.sessionID(&r.SessionID)
		case "status":
			b.optional(&status)
		case "error":
			b.text(&r.Error, maxNote)
		case "recoveredAt":
			b.time(&r.At)
		}
	}
	if r.SessionID == "" {
		b.lack(at+".sessionId", "Session ID")
	}
	r.Status, _ = recoveryStatus(b.need(at+".status", status, "Status"))
	if r.Status == "" && status != nil && *status != "" {
		b.add(at+".status", "Status must be one of SUCCESS, FAILED, SKIPPED")
	}
	return r
}

func recoveryStatus(s string) (service.RecoveryStatus, error) {
	return oneOf(service.RecoverySuccess, service.RecoveryFailed, service.RecoverySkipped)(strings.TrimSpace(s))
}

func (a *api) preserved(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	ids, err := decodePreserved(b)
	if err != nil {
		return nil, err
	}
	if _, err := c.speaksFor(b.worker); err != nil {
		return nil, err
	}
	id := c.workerRef()
	n, err := a.Protocol.ReportPreserved(ctx, id, ids)
	if err != nil {
		return nil, err
	}
	return struct {
		WorkerID          string `json:"workerId"`
		PreservedSessions int    `json:"preservedSessions"`
	}{id, n}, nil
}

// decodePreserved reads the ids of the sessions, bare or within objects.
func decodePreserved(b *body) ([]string, error) {
	ids := []string{}
	listed := false
	for b.next() {
		if b.member() == "workerId" {
			b.workerID()
			continue
		}
		if b.member() != "preservedSessions" || !b.array() {
			continue
		}
		for listed = true; b.item(); {
			var id string
			if b.kind() != '{' {
				b.sessionID(&id)
			} else if b.object() {
				for b.next() {
					if b.member() == "sessionId" || b.member() == "id" {
						b.sessionID(&id)
					}
				}
			}
			if id != "" {
				ids = append(ids, id)
			}
		}
	}
	if !listed {
		b.lack("preservedSessions", "A list of session ids")
	}
	return ids, b.end()
}

func (a *api) unregister(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	id, endpoint, err := decodeUnregister(b)
	if err != nil {
		return nil, err
	}
	if id, err = c.speaksFor(id); err != nil {
		return nil, err
	}
	return a.leave(ctx, c, id, endpoint)
}

func decodeUnregister(b *body) (id, endpoint string, err error) {
	for b.next() {
		switch b.member() {
		case "workerId":
			b.text(&id, maxID)
			id = domain.NormalizeWorkerRef(id)
		case "endpoint":
			b.text(&endpoint, maxID)
		}
	}
	if id == "" && endpoint == "" {
		b.lack("workerId", "Worker ID, or else its endpoint,")
	}
	if canonical, err := domain.ParseEndpoint(endpoint); err == nil {
		endpoint = canonical
	}
	return id, endpoint, b.end()
}

// leave is how a worker goes of its own accord.
func (a *api) leave(ctx context.Context, c *call, id, endpoint string) (any, error) {
	status, err := a.Protocol.Unregister(ctx, id, endpoint)
	if err != nil {
		return nil, err
	}
	v := struct {
		WorkerID       optional            `json:"workerId"`
		Status         domain.WorkerStatus `json:"status"`
		UnregisteredAt stamp               `json:"unregisteredAt"`
	}{optional(id), status, stamp(a.Clock.Now())}
	if c.message = "Worker unregistered"; status != domain.WorkerOffline {
		v.UnregisteredAt, c.message = stamp{}, "The worker is at another endpoint by now; nothing has changed"
	}
	return v, nil
}
