package simworker

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	controlLimit   = 5 * time.Second  // time limit of a webhook or heartbeat
	registerLimit  = 15 * time.Second // the control plane calls the worker back meanwhile
	maxControlBody = 16 << 20
)

// Control implements service.WorkerProtocol over HTTP. It is a worker's client to
// the control plane. Error responses become *domain.Error.
//
// After a registration the client shows the worker token that it was handed. It
// returns to the fleet's token when the worker token is refused, and for the next
// registration. Therefore each worker needs a Control of its own. It keeps the call
// token of the worker, see [CallTokens]. It is safe for concurrent use.
type Control struct {
	LatestCallToken

	base   string
	token  string // the fleet's token
	own    atomic.Pointer[string]
	lease  atomic.Int64 // the latest granted lease in ms
	legacy bool
	client *http.Client
}

var _ service.WorkerProtocol = (*Control)(nil)

// NewControl returns a client of the control plane at a base URL such as
// http://127.0.0.1:8000.
func NewControl(baseURL, token string) *Control {
	return newControl(strings.TrimRight(baseURL, "/")+"/api/v1", token)
}

// NewLegacyControl returns a client that uses the legacy paths and sends only the
// fields of legacy workers.
func NewLegacyControl(baseURL, token string) *Control {
	c := newControl(strings.TrimRight(baseURL, "/")+"/api", token)
	c.legacy = true
	return c
}

// newControl returns a client for the paths below base.
func newControl(base, token string) *Control {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.IdleConnTimeout = 30 * time.Second
	transport.MaxIdleConnsPerHost = 16
	return &Control{base: base, token: token, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close closes the idle connections.
func (c *Control) Close() { c.client.CloseIdleConnections() }

// fields is a JSON object. Its encoding omits nil, zero times and empty strings.
type fields map[string]any

// MarshalJSON implements json.Marshaler.
func (f fields) MarshalJSON() ([]byte, error) {
	out := make(map[string]any, len(f))
	for k, v := range f {
		switch v := v.(type) {
		case nil:
		case string:
			if v != "" {
				out[k] = v
			}
		case time.Time:
			if !v.IsZero() {
				out[k] = v.UTC().Format("2006-01-02T15:04:05.000Z07:00")
			}
		default:
			out[k] = v
		}
	}
	return json.Marshal(out)
}

// call makes a request and decodes the data member of its response into out.
func (c *Control) call(ctx context.Context, limit time.Duration, method, path string, body fields, out any) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var in io.Reader
	if body != nil {
		doc, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		in = bytes.NewReader(doc)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, in)
	if err != nil {
		return 0, err
	}
	token, own := c.token, c.own.Load()
	if own != nil {
		token = *own
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	doc, err := io.ReadAll(io.LimitReader(resp.Body, maxControlBody))
	if err != nil {
		return resp.StatusCode, err
	}
	var answer struct {
		Data  json.RawMessage `json:"data"`
		Error struct {
			Code    domain.Code         `json:"code"`
			Message string              `json:"message"`
			Details []domain.FieldError `json:"details"`
		} `json:"error"`
	}
	if resp.StatusCode == http.StatusUnauthorized {
		c.own.CompareAndSwap(own, nil) // the fleet's token may have been changed
	}
	parsed := json.Unmarshal(doc, &answer)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return resp.StatusCode, &domain.Error{
			Kind: kindOf(resp.StatusCode), Code: cmp.Or(answer.Error.Code, domain.CodeInternal),
			Message: cmp.Or(answer.Error.Message, fmt.Sprintf("HTTP %d", resp.StatusCode)), Fields: answer.Error.Details,
		}
	}
	if parsed != nil {
		return resp.StatusCode, errors.New("the control plane's answer is not JSON")
	}
	if out != nil && len(answer.Data) > 0 {
		err = json.Unmarshal(answer.Data, out)
	}
	return resp.StatusCode, err
}

func kindOf(status int) domain.Kind {
	switch status {
	case http.StatusUnauthorized:
		return domain.Unauthenticated
	case http.StatusForbidden:
		return domain.Forbidden
	case http.StatusNotFound:
		return domain.NotFound
	case http.StatusConflict:
		return domain.Conflict
	case http.StatusTooManyRequests:
		return domain.Exceeded
	case http.StatusServiceUnavailable:
		return domain.Unavailable
	case http.StatusGatewayTimeout:
		return domain.Timeout
	case http.StatusBadGateway:
		return domain.BadGateway
	}
	if status >= 400 && status < 500 {
		return domain.Invalid
	}
	return domain.Internal
}

func (c *Control) workerPath(workerID, after string) string {
	return "/workers/" + url.PathEscape(workerID) + after
}

// workerAnswer holds the members that every response about a worker has.
type workerAnswer struct {
	ID           string              `json:"id"`
	WorkerID     string              `json:"workerId"`
	Status       domain.WorkerStatus `json:"status"`
	SessionCount int                 `json:"sessionCount"`
	LeaseMs      int64               `json:"leaseMs"`
}

func (a workerAnswer) worker() *domain.Worker {
	return &domain.Worker{
		ID: cmp.Or(a.WorkerID, a.ID), Used: a.SessionCount,
		Online: a.Status != domain.WorkerOffline, Draining: a.Status == domain.WorkerMaintenance,
	}
}

// commandsAnswer holds the commands of a response.
type commandsAnswer struct {
	Commands []struct {
		Type       string `json:"type"`
		SessionID  string `json:"sessionId"`
		Generation int64  `json:"generation"`
	} `json:"commands"`
}

// commands returns the commands of known types.
func (a commandsAnswer) commands() (all []service.StopCommand) {
	for _, c := range a.Commands {
		if c.Type == "STOP_SESSION" {
			all = append(all, service.StopCommand{SessionID: c.SessionID, Generation: c.Generation})
		}
	}
	return all
}

// Register implements service.WorkerProtocol.
func (c *Control) Register(ctx context.Context, r domain.Registration) (*service.RegisterResult, error) {
	body := fields{
		"workerId": r.WorkerID, "endpoint": r.Endpoint, "maxSessions": r.Capacity, "description": r.Description,
		"version": r.Version, "environment": r.Environment, "status": "ONLINE", "timestamp": time.Now(),
	}
	if !c.legacy {
		body["capabilities"] = r.Capabilities
		if r.StateGroup != "" {
			body["stateGroup"] = r.StateGroup
		}
		if len(r.Labels) > 0 {
			body["labels"] = r.Labels
		}
		if r.Interval > 0 {
			body["heartbeatInterval"] = r.Interval.Milliseconds()
		}
	}
	var a struct {
		workerAnswer
		RecoveryRequired     bool  `json:"recoveryRequired"`
		AssignedSessionCount int   `json:"assignedSessionCount"`
		HeartbeatIntervalMs  int64 `json:"heartbeatIntervalMs"`
		commandsAnswer
		WorkerToken string `json:"workerToken"`
		CallToken   string `json:"callToken"`
	}
	c.own.Store(nil) // after a removal the worker token is not accepted for registering
	endRegistration := c.BeginRegistration()
	defer func() { endRegistration(a.CallToken) }()
	status, err := c.call(ctx, registerLimit, http.MethodPost, "/workers/register", body, &a)
	if err != nil {
		return nil, err
	}
	out := &service.RegisterResult{
		Worker: a.worker(), Known: status == http.StatusOK, Assigned: a.AssignedSessionCount,
		Interval: time.Duration(a.HeartbeatIntervalMs) * time.Millisecond,
		Lease:    time.Duration(a.LeaseMs) * time.Millisecond,
		Commands: a.commands(),
	}
	if a.RecoveryRequired {
		out.Assigned = max(out.Assigned, 1)
	}
	c.lease.Store(a.LeaseMs)
	if a.WorkerToken != "" && !c.legacy {
		token := a.WorkerToken
		c.own.Store(&token)
	}
	return out, nil
}

// Heartbeat implements service.WorkerProtocol. It uses the first form of the body.
func (c *Control) Heartbeat(ctx context.Context, h domain.Heartbeat) (*service.HeartbeatResult, error) {
	sessions, active := []fields{}, 0
	for _, r := range h.Sessions {
		s := fields{"sessionId": r.SessionID, "status": heartbeatStatus(r), "phoneNumber": r.PhoneNumber, "displayName": r.DisplayName}
		if r.Generation != 0 && !c.legacy {
			s["generation"] = r.Generation
		}
		if r.Status.IsActive() {
			active++
		}
		sessions = append(sessions, s)
	}
	var a struct {
		workerAnswer
		SessionsProcessed    int              `json:"sessionsProcessed"`
		SessionsSynced       int              `json:"sessionsSynced"`
		StaleWorkersDetected int              `json:"staleWorkersDetected"`
		SessionBreakdown     domain.Breakdown `json:"sessionBreakdown"`
		commandsAnswer
	}
	limit := controlLimit
	if lease := time.Duration(c.lease.Load()) * time.Millisecond; lease > 0 {
		limit = min(limit, lease/3) // a lost heartbeat leaves time for another
	}
	_, err := c.call(ctx, limit, http.MethodPut, c.workerPath(h.WorkerID, "/heartbeat"), fields{
		"sessions":     sessions,
		"capabilities": fields{"maxSessions": h.Capacity, "version": h.Version, "environment": h.Environment},
		"metrics": fields{
			"cpuUsage": h.CPU, "memoryUsage": h.Memory, "uptime": int64(h.Uptime / time.Second),
			"messageCount": h.MessageCount, "totalSessions": len(sessions), "activeSessions": active,
		},
		"lastActivity": time.Now(),
	}, &a)
	if err != nil {
		return nil, err
	}
	c.lease.Store(a.LeaseMs)
	return &service.HeartbeatResult{
		Worker: a.worker(), Processed: a.SessionsProcessed, Synced: a.SessionsSynced, Stale: a.StaleWorkersDetected,
		Breakdown: a.SessionBreakdown, Lease: time.Duration(a.LeaseMs) * time.Millisecond, Commands: a.commands(),
	}, nil
}

// AssignedSessions implements service.WorkerProtocol.
func (c *Control) AssignedSessions(ctx context.Context, workerID string) ([]service.AssignedSession, error) {
	var a struct {
		Sessions []struct {
			SessionID   string        `json:"sessionId"`
			UserID      string        `json:"userId"`
			SessionName string        `json:"sessionName"`
			PhoneNumber string        `json:"phoneNumber"`
			Status      domain.Status `json:"status"`
			UserEmail   string        `json:"userEmail"`
			UserTier    domain.Tier   `json:"userTier"`
			Generation  int64         `json:"generation"`
		} `json:"sessions"`
	}
	if _, err := c.call(ctx, controlLimit, http.MethodGet, c.workerPath(workerID, "/sessions/assigned"), nil, &a); err != nil {
		return nil, err
	}
	out := make([]service.AssignedSession, 0, len(a.Sessions))
	for _, s := range a.Sessions {
		out = append(out, service.AssignedSession{
			Session: &domain.Session{
				ID: s.SessionID, UserID: s.UserID, Name: s.SessionName, PhoneNumber: s.PhoneNumber,
				Status: s.Status, Generation: s.Generation, WorkerID: workerID,
			},
			UserEmail: s.UserEmail, UserTier: s.UserTier,
		})
	}
	return out, nil
}

// ReportRecovery implements service.WorkerProtocol.
func (c *Control) ReportRecovery(ctx context.Context, workerID string, results []service.RecoveryResult) ([]service.RecoveryOutcome, error) {
	list, counts := []fields{}, map[service.RecoveryStatus]int{}
	for _, r := range results {
		counts[r.Status]++
		list = append(list, fields{"sessionId": r.SessionID, "status": string(r.Status), "error": r.Error, "recoveredAt": r.At})
	}
	var a struct {
		ProcessedResults []struct {
			SessionID string                 `json:"sessionId"`
			Status    service.RecoveryStatus `json:"status"`
			Action    string                 `json:"action"`
			Error     string                 `json:"error"`
		} `json:"processedResults"`
	}
	_, err := c.call(ctx, controlLimit, http.MethodPost, c.workerPath(workerID, "/sessions/recovery-status"), fields{
		"recoveryResults": list,
		"summary": fields{
			"totalSessions": len(list), "successfulRecoveries": counts[service.RecoverySuccess],
			"failedRecoveries": counts[service.RecoveryFailed], "skippedRecoveries": counts[service.RecoverySkipped],
		},
	}, &a)
	if err != nil {
		return nil, err
	}
	out := make([]service.RecoveryOutcome, 0, len(a.ProcessedResults))
	for _, r := range a.ProcessedResults {
		out = append(out, service.RecoveryOutcome{SessionID: r.SessionID, Status: r.Status, Action: r.Action, Error: r.Error})
	}
	return out, nil
}

// ReportPreserved implements service.WorkerProtocol.
func (c *Control) ReportPreserved(ctx context.Context, workerID string, sessionIDs []string) (int, error) {
	_, err := c.call(ctx, controlLimit, http.MethodPost, c.workerPath(workerID, "/sessions-preserved"), fields{
		"workerId": workerID, "preservedSessions": sessionIDs, "timestamp": time.Now(),
	}, nil)
	if err != nil {
		return 0, err
	}
	return len(sessionIDs), nil
}

// Unregister implements service.WorkerProtocol.
func (c *Control) Unregister(ctx context.Context, workerID, endpoint string) (domain.WorkerStatus, error) {
	var a workerAnswer
	_, err := c.call(ctx, controlLimit, http.MethodDelete, "/workers/unregister", fields{"workerId": workerID, "endpoint": endpoint}, &a)
	return a.Status, err
}

// heartbeatStatus returns the status word of a session in a heartbeat.
func heartbeatStatus(r domain.Report) string {
	if r.LoggedOut {
		return "LOGGED_OUT"
	}
	return string(r.Status)
}

// ReportSession implements service.WorkerProtocol. The response tells only whether
// the report was applied.
func (c *Control) ReportSession(ctx context.Context, r domain.Report) (domain.Outcome, error) {
	body := fields{
		"sessionId": r.SessionID, "status": string(r.Status), "qrCode": r.QR.Code, "phoneNumber": r.PhoneNumber,
		"displayName": r.DisplayName, "workerId": r.WorkerID, "timestamp": r.At, "reason": r.Reason, "error": r.Error,
	}
	if r.LoggedOut {
		body["loggedOutAt"] = cmp.Or(r.At, time.Now())
	}
	if !c.legacy {
		body["pairingCode"] = r.PairingCode
		if r.Generation != 0 {
			body["generation"] = r.Generation
		}
	}
	a := struct {
		Applied bool `json:"applied"`
	}{Applied: true}
	if _, err := c.call(ctx, controlLimit, http.MethodPost, "/webhooks/session-status", body, &a); err != nil {
		return 0, err
	}
	if !a.Applied {
		return domain.NotOwner, nil
	}
	return domain.Applied, nil
}

// ReportMessage implements service.WorkerProtocol.
func (c *Control) ReportMessage(ctx context.Context, r domain.MessageReport) (bool, error) {
	a := struct {
		Applied bool `json:"applied"`
	}{Applied: true}
	_, err := c.call(ctx, controlLimit, http.MethodPost, "/webhooks/message-status", fields{
		"sessionId": r.SessionID, "messageId": r.WhatsAppID, "status": string(r.Status), "timestamp": r.At,
		"deliveredAt": r.DeliveredAt, "readAt": r.ReadAt, "errorMessage": r.Error,
	}, &a)
	return a.Applied && err == nil, err
}

// ReceiveMessage implements service.WorkerProtocol.
func (c *Control) ReceiveMessage(ctx context.Context, m service.InboundMessage) (bool, error) {
	body := fields{
		"sessionId": m.SessionID, "messageId": m.WhatsAppID, "from": m.From, "to": m.To, "type": string(m.Type),
		"content": m.Content, "mediaUrl": m.MediaURL, "caption": m.Caption, "timestamp": m.At,
	}
	if m.Generation != 0 && !c.legacy {
		body["generation"] = m.Generation
	}
	if m.WorkerID != "" {
		body["workerId"] = m.WorkerID
	}
	if !m.Media.IsZero() {
		body["media"] = fields{"id": m.Media.ID, "mime": m.Media.Type, "size": m.Media.Size, "sha256": m.Media.SHA256}
	}
	a := struct {
		Stored bool `json:"stored"`
	}{Stored: true}
	_, err := c.call(ctx, controlLimit, http.MethodPost, "/webhooks/message-received", body, &a)
	return a.Stored && err == nil, err
}
