package httpapi

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// A heartbeatBody is a heartbeat in any of the forms that are in the field.
type heartbeatBody struct {
	WorkerID namedWorker           `json:"workerId,omitempty" doc:"Who it is, in the oldest form" example:"\"worker-1\""`
	Sessions heartbeatSessions     `json:"sessions,omitempty"`
	About    heartbeatCapabilities `json:"capabilities,omitempty"`
	Metrics  heartbeatMetrics      `json:"metrics,omitempty"`
	Load
}

// A namedWorker is the id of the worker that sends a heartbeat. wrong notes a value
// of another type than text, for the oldest form, which needs the id.
type namedWorker struct {
	lenientString
	wrong bool
}

// UnmarshalJSONFrom reads the id.
func (n *namedWorker) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	kind := dec.PeekKind()
	n.wrong = kind != jsontext.KindString && kind != jsontext.KindNull
	return n.lenientString.UnmarshalJSONFrom(dec)
}

// Load is the figures of a worker, which stand in the heartbeat itself or in its
// metrics.
type Load struct {
	CPUUsage     lenientNumber `json:"cpuUsage,omitempty" doc:"Percent" example:"12.5"`
	MemoryUsage  lenientNumber `json:"memoryUsage,omitempty" doc:"Percent" example:"40.25"`
	Uptime       lenientNumber `json:"uptime,omitempty" doc:"Seconds" example:"86400"`
	MessageCount lenientNumber `json:"messageCount,omitempty" example:"1234"`
}

func (l *Load) apply(h *domain.Heartbeat) {
	const century = 100 * 365 * 24 * 60 * 60
	h.CPU, h.Memory = l.CPUUsage.capped(100, h.CPU), l.MemoryUsage.capped(100, h.Memory)
	if l.Uptime.given {
		h.Uptime = time.Duration(l.Uptime.capped(century, 0) * float64(time.Second))
	}
	if l.MessageCount.given {
		h.MessageCount = int64(l.MessageCount.capped(maxExact, 0))
	}
}

// heartbeatSessions is a list of sessions, or a count of sessions by status.
type heartbeatSessions struct {
	list      []heartbeatSession
	listed    bool
	breakdown *breakdownBody
}

type heartbeatSession struct {
	SessionID   strictString   `json:"sessionId"`
	Status      reportedStatus `json:"status"`
	PhoneNumber lenientString  `json:"phoneNumber"`
	DisplayName lenientString  `json:"displayName"`
	Generation  lenientNumber  `json:"generation"`
	wrong       bool           // no object
}

// UnmarshalJSONFrom reads the sessions in either form.
func (s *heartbeatSessions) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	switch dec.PeekKind() {
	case jsontext.KindBeginObject:
		s.breakdown = new(breakdownBody)
		return json.UnmarshalDecode(dec, s.breakdown)
	case jsontext.KindBeginArray:
		if _, err := dec.ReadToken(); err != nil {
			return err
		}
		s.listed = true
		s.list = make([]heartbeatSession, 0, 64)
		for dec.PeekKind() != jsontext.KindEndArray {
			s.list = append(s.list, heartbeatSession{})
			item := &s.list[len(s.list)-1]
			isObject, err := unmarshalObject(dec, item)
			if err != nil {
				return err
			}
			item.wrong = !isObject
		}
		_, err := dec.ReadToken()
		return err
	}
	return dec.SkipValue()
}

// Schema describes the sessions in either form.
func (heartbeatSessions) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "A list of `{sessionId, status, phoneNumber, displayName, generation}`, or an object with the number of sessions by status",
		Examples:    []any{[]any{map[string]any{"sessionId": "support", "status": "CONNECTED", "phoneNumber": "6281234567890"}}},
	}
}

// breakdownBody is a count of sessions by status.
type breakdownBody struct {
	Total        lenientNumber `json:"total"`
	Connected    lenientNumber `json:"connected"`
	Disconnected lenientNumber `json:"disconnected"`
	QRRequired   lenientNumber `json:"qr_required"`
	QRRequired2  lenientNumber `json:"qrRequired"`
	Reconnecting lenientNumber `json:"reconnecting"`
	Error        lenientNumber `json:"error"`
	Init         lenientNumber `json:"init"`
	MaxSessions  lenientNumber `json:"maxSessions"`
}

func (b *breakdownBody) apply(h *domain.Heartbeat) {
	if b == nil {
		return
	}
	h.Breakdown = &domain.Breakdown{
		Total: b.Total.count(), Connected: b.Connected.count(), Disconnected: b.Disconnected.count(),
		QRRequired: max(b.QRRequired.count(), b.QRRequired2.count()), Reconnecting: b.Reconnecting.count(),
		Error: b.Error.count(), Init: b.Init.count(),
	}
	setCapacity(h, b.MaxSessions)
}

// setCapacity takes over how many sessions a worker takes at most; an absurd
// figure counts as missing.
func setCapacity(h *domain.Heartbeat, n lenientNumber) {
	if most := n.count(); most >= 1 && most <= maxCapacity {
		h.Capacity = most
	}
}

// heartbeatMetrics is the figures of forms 1 and 3.
type heartbeatMetrics struct {
	load     Load
	sessions *breakdownBody
}

// UnmarshalJSONFrom reads the figures.
func (m *heartbeatMetrics) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	var v struct {
		Load
		Sessions heartbeatSessions `json:"sessions"`
	}
	_, err := unmarshalObject(dec, &v)
	m.load, m.sessions = v.Load, v.Sessions.breakdown
	return err
}

// Schema describes the figures.
func (heartbeatMetrics) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "An object with cpuUsage, memoryUsage, uptime and messageCount, and in the third form sessions by status",
		Examples:    []any{map[string]any{"cpuUsage": 12.5, "memoryUsage": 40.25, "uptime": 86400, "messageCount": 1234}},
	}
}

// heartbeatCapabilities is what form 1 says of the worker itself.
type heartbeatCapabilities struct {
	MaxSessions lenientNumber `json:"maxSessions"`
	Version     lenientString `json:"version"`
	Environment lenientString `json:"environment"`
}

// UnmarshalJSONFrom reads the object; a list, as in a registration, is skipped.
func (c *heartbeatCapabilities) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	type plain heartbeatCapabilities
	_, err := unmarshalObject(dec, (*plain)(c))
	return err
}

// Schema describes the object.
func (heartbeatCapabilities) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "An object with maxSessions, version and environment",
		Examples:    []any{map[string]any{"maxSessions": 50, "version": "1.2.0", "environment": "PRODUCTION"}},
	}
}

// reportedStatus is the status of a session in a report.
type reportedStatus struct {
	status    domain.Status
	loggedOut bool
	unknown   string // a word that is no status
	wrong     bool   // no text
}

// loggedOut is a status that workers have and we do not: DISCONNECTED, and the
// credentials are gone.
const loggedOut = "LOGGED_OUT"

// UnmarshalJSONFrom reads the status.
func (s *reportedStatus) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	switch dec.PeekKind() {
	case jsontext.KindString:
	case jsontext.KindNull:
		return dec.SkipValue()
	default:
		s.wrong = true
		return dec.SkipValue()
	}
	raw, err := dec.ReadValue()
	if err != nil {
		return err
	}
	switch string(raw) { // the usual ones without an allocation
	case `"CONNECTED"`:
		s.status = domain.Connected
	case `"DISCONNECTED"`:
		s.status = domain.Disconnected
	case `"QR_REQUIRED"`:
		s.status = domain.QRRequired
	case `"RECONNECTING"`:
		s.status = domain.Reconnecting
	case `"INIT"`:
		s.status = domain.Init
	case `"ERROR"`:
		s.status = domain.Errored
	default:
		word := strings.TrimSpace(strings.Trim(string(raw), `"`))
		if strings.EqualFold(word, loggedOut) {
			s.status, s.loggedOut = domain.Disconnected, true
			return nil
		}
		s.status, err = domain.ParseStatus(word)
		if err != nil {
			s.unknown = clean(word, 40)
		}
	}
	return nil
}

// Schema describes the status.
func (reportedStatus) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeString, Examples: []any{"CONNECTED"},
		Description: "INIT, QR_REQUIRED, CONNECTED, RECONNECTING, DISCONNECTED, ERROR or LOGGED_OUT, in any case",
	}
}

// status records a problem with a session's status, if there is one.
func (p *problems) status(field string, s reportedStatus) {
	switch {
	case s.wrong:
		p.add(field, "%s must be a string", field)
	case s.unknown != "":
		p.add(field, "Unknown status %q; it must be one of INIT, QR_REQUIRED, CONNECTED, "+
			"RECONNECTING, DISCONNECTED, ERROR, LOGGED_OUT", s.unknown)
	case s.status == "":
		p.addMissing(field, "Status")
	}
}

// heartbeat returns the heartbeat of a worker.
func (b *heartbeatBody) heartbeat(workerID string) domain.Heartbeat {
	h := domain.Heartbeat{WorkerID: workerID, CPU: -1, Memory: -1, MessageCount: -1}
	b.Load.apply(&h)
	b.Metrics.load.apply(&h)
	b.Metrics.sessions.apply(&h)
	b.Sessions.breakdown.apply(&h)
	setCapacity(&h, b.About.MaxSessions)
	h.Version, h.Environment = b.About.Version.cut(maxWord), b.About.Environment.cut(maxWord)
	if !b.Sessions.listed {
		return h
	}
	h.IsFullSnapshot = true
	h.Sessions = make([]domain.Report, len(b.Sessions.list))
	for i := range b.Sessions.list {
		s := &b.Sessions.list[i]
		h.Sessions[i] = domain.Report{
			SessionID: s.SessionID.sessionRef(), Status: s.Status.status, LoggedOut: s.Status.loggedOut, WorkerID: workerID, Snapshot: true,
			PhoneNumber: s.PhoneNumber.phone(), DisplayName: s.DisplayName.cut(maxID), Generation: s.Generation.generation(),
		}
	}
	return h
}

// check records the problems of the list of sessions.
func (b *heartbeatBody) check(p *problems) {
	for i := range b.Sessions.list {
		s := &b.Sessions.list[i]
		if !s.wrong && s.SessionID.text != "" && s.Status.status != "" {
			continue
		}
		at := "sessions[" + strconv.Itoa(i) + "]"
		if s.wrong {
			p.add(at, "Session must be an object")
			continue
		}
		p.need(at+".sessionId", "Session ID", s.SessionID, s.SessionID.sessionRef())
		p.status(at+".status", s.Status)
	}
}

type heartbeatInput struct {
	WorkerPath
	Body heartbeatBody
}

// Resolve checks the list of sessions.
func (in *heartbeatInput) Resolve(huma.Context) []error {
	var p problems
	in.Body.check(&p)
	return p
}

func (a *api) heartbeat(ctx context.Context, c *requestContext, in *heartbeatInput) (heartbeatView, error) {
	if _, err := c.authorizeWorker(in.Body.WorkerID.workerRef()); err != nil {
		return heartbeatView{}, err
	}
	return heartbeatResult(a.Protocol.Heartbeat(ctx, in.Body.heartbeat(c.workerRef())))
}

type legacyHeartbeatInput struct {
	Body     heartbeatBody
	workerID string
}

// Resolve checks the list of sessions, and that the body or the token names the worker.
func (in *legacyHeartbeatInput) Resolve(ctx huma.Context) []error {
	var p problems
	in.workerID = contextOf(ctx.Context()).holder.WorkerID
	if in.workerID == "" {
		in.workerID = in.Body.WorkerID.workerRef()
		switch {
		case in.Body.WorkerID.wrong:
			p.add("workerId", "workerId must be a string")
		case in.workerID == "":
			p.addMissing("workerId", "Worker ID")
		}
	}
	in.Body.check(&p)
	return p
}

// legacyHeartbeat handles the oldest form, which names its worker in the body.
func (a *api) legacyHeartbeat(ctx context.Context, c *requestContext, in *legacyHeartbeatInput) (heartbeatView, error) {
	if _, err := c.authorizeWorker(in.Body.WorkerID.workerRef()); err != nil {
		return heartbeatView{}, err
	}
	return heartbeatResult(a.Protocol.Heartbeat(ctx, in.Body.heartbeat(in.workerID)))
}

// heartbeatView is the answer to a heartbeat.
type heartbeatView struct {
	WorkerID             string              `json:"workerId" example:"worker-1"`
	Status               domain.WorkerStatus `json:"status" example:"ONLINE"`
	SessionCount         int                 `json:"sessionCount" example:"2"`
	LastHeartbeat        jsonTime            `json:"lastHeartbeat"`
	SessionsProcessed    int                 `json:"sessionsProcessed" doc:"Sessions listed" example:"2"`
	SessionsSynced       int                 `json:"sessionsSynced" doc:"Listed sessions that changed here" example:"1"`
	StaleWorkersDetected int                 `json:"staleWorkersDetected" example:"0"`
	SessionBreakdown     domain.Breakdown    `json:"sessionBreakdown"`
	Metrics              heartbeatFigures    `json:"metrics"`
	Commands             []commandView       `json:"commands" doc:"Sessions to stop"`
	LeaseMS              int64               `json:"leaseMs,omitzero" doc:"Milliseconds that the worker may run without an accepted heartbeat" example:"45000"`
}

type heartbeatFigures struct {
	CPUUsage     nullableFloat `json:"cpuUsage" example:"12.35"`
	MemoryUsage  nullableFloat `json:"memoryUsage" example:"40.25"`
	Uptime       int64         `json:"uptime" doc:"Seconds" example:"86400"`
	MessageCount int64         `json:"messageCount" doc:"-1 if it is unknown" example:"1234"`
}

// heartbeatResult returns the answer of the service to a heartbeat, or its error.
func heartbeatResult(r *service.HeartbeatResult, err error) (heartbeatView, error) {
	if err != nil {
		return heartbeatView{}, err
	}
	w := r.Worker
	return heartbeatView{
		WorkerID: w.ID, Status: w.Status(), SessionCount: w.Used, LastHeartbeat: jsonTime(w.LastHeartbeat),
		SessionsProcessed: r.Processed, SessionsSynced: r.Synced, StaleWorkersDetected: r.Stale, SessionBreakdown: r.Breakdown,
		Metrics:  heartbeatFigures{nullableFloat(w.CPU), nullableFloat(w.Memory), int64(w.Uptime / time.Second), w.MessageCount},
		Commands: viewCommands(r.Commands), LeaseMS: max(r.Lease, 0).Milliseconds(),
	}, nil
}

func viewCommands(list []service.StopCommand) []commandView {
	commands := make([]commandView, len(list))
	for i, stop := range list {
		commands[i] = commandView{stopSession, stop.SessionID, stop.Generation}
	}
	return commands
}
