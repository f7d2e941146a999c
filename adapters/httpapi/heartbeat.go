package httpapi

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// A heartbeatBody is a heartbeat in any of the forms that are in the field. Whatever
// else it holds, it is a sign of life.
type heartbeatBody struct {
	Incomplete `json:"-"`
	WorkerID   lenientString         `json:"workerId,omitempty" doc:"Who it is, in the oldest form" example:"\"worker-1\""`
	Sessions   heartbeatSessions     `json:"sessions,omitempty"`
	About      heartbeatCapabilities `json:"capabilities,omitempty"`
	Metrics    heartbeatMetrics      `json:"metrics,omitempty"`
	Status     workerStatus          `json:"status,omitempty"`
	Load
}

// workerStatus is what a worker says of its own status, in any case. Words that
// nobody knows here are ignored.
type workerStatus struct{ lenientString }

// maintenance returns what the status says of the worker's maintenance.
func (s *workerStatus) maintenance() domain.Maintenance {
	switch domain.WorkerStatus(strings.ToUpper(strings.TrimSpace(string(s.lenientString)))) {
	case domain.WorkerMaintenance:
		return domain.MaintenanceBegins
	case domain.WorkerOnline:
		return domain.MaintenanceEnds
	}
	return domain.MaintenanceNotStated
}

// Schema describes the status.
func (workerStatus) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "MAINTENANCE, in any case: the worker takes no new session, and those that need no scan elsewhere move. ONLINE ends it. Other words are ignored",
		Examples:    []any{"ONLINE"},
	}
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
	beyond    int // items that were not read
	wrong     bool
	breakdown *breakdownBody
}

type heartbeatSession struct {
	SessionID   lenientString     `json:"sessionId"`
	Status      reportedStatus    `json:"status"`
	PhoneNumber lenientString     `json:"phoneNumber"`
	DisplayName lenientString     `json:"displayName"`
	Generation  lenientGeneration `json:"generation"`
	wrong       bool              // no object
}

// UnmarshalJSONFrom reads the sessions in either form. An item that cannot be read to
// its end is left out.
func (s *heartbeatSessions) UnmarshalJSONFrom(dec *jsontext.Decoder) (err error) {
	switch dec.PeekKind() {
	case jsontext.KindBeginObject:
		s.breakdown = new(breakdownBody)
		return json.UnmarshalDecode(dec, s.breakdown)
	case jsontext.KindBeginArray:
		s.listed = true
		s.list = make([]heartbeatSession, 0, 64)
		s.beyond, err = readList(dec, func() error {
			s.list = append(s.list, heartbeatSession{})
			item := &s.list[len(s.list)-1]
			isObject, err := unmarshalObject(dec, item)
			item.wrong = !isObject
			if err != nil {
				s.list = s.list[:len(s.list)-1]
			}
			return err
		})
		return err
	}
	s.wrong = dec.PeekKind() != jsontext.KindNull
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

// UnmarshalJSONFrom reads the status.
func (s *reportedStatus) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*s = reportedStatus{}
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
		text, _ := jsontext.AppendUnquote(nil, raw) // invalid UTF-8 is no error here
		known := false
		s.status, s.loggedOut, known = domain.ParseReportedStatus(string(text))
		if !known {
			s.unknown = clean(strings.TrimSpace(string(text)), 40)
		}
	}
	return nil
}

const noStatus = "has no status"

// problem describes an unusable status in words. It returns "" for a usable one.
func (s *reportedStatus) problem() string {
	switch {
	case s.wrong:
		return "has a status that is no text"
	case s.unknown != "":
		return "has the unknown status " + strconv.Quote(s.unknown)
	case s.status == "":
		return noStatus
	}
	return ""
}

// Schema describes the status.
func (reportedStatus) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Examples:    []any{"CONNECTED"},
		Description: "INIT, QR_REQUIRED, CONNECTED, RECONNECTING, DISCONNECTED, ERROR or LOGGED_OUT, in any case; workers' own words, such as connecting and qr_expired, are understood too",
	}
}

// heartbeat returns the heartbeat of a worker. incomplete says why the body could not be
// read to its end. Then, or if an item could not be used, the heartbeat is no full
// snapshot: it makes no session missing.
func (b *heartbeatBody) heartbeat(workerID, incomplete string) domain.Heartbeat {
	h := domain.Heartbeat{WorkerID: workerID, CPU: -1, Memory: -1, MessageCount: -1, Maintenance: b.Status.maintenance()}
	b.Load.apply(&h)
	b.Metrics.load.apply(&h)
	b.Metrics.sessions.apply(&h)
	b.Sessions.breakdown.apply(&h)
	setCapacity(&h, b.About.MaxSessions)
	h.Version, h.Environment = b.About.Version.cut(maxWord), b.About.Environment.cut(maxWord)
	var n warnings
	if incomplete != "" {
		n.add("%s", incomplete)
	}
	if b.Sessions.wrong {
		n.add("sessions is neither a list nor an object")
	}
	if b.Sessions.listed {
		h.Sessions = b.Sessions.reports(workerID, &n)
		h.IsFullSnapshot = incomplete == "" && n.skipped == 0
	}
	h.Skipped, h.Warnings = n.skipped, n.texts
	return h
}

// reports returns the items of the list that can be used.
func (s *heartbeatSessions) reports(workerID string, n *warnings) []domain.Report {
	list := make([]domain.Report, 0, len(s.list))
	for i := range s.list {
		item := &s.list[i]
		id := item.SessionID.sessionRef()
		switch {
		case item.wrong:
			n.skip("sessions", i, "is no object")
		case id == "":
			n.skip("sessions", i, "has no sessionId")
		case item.Status.status == "":
			n.skip("sessions", i, "(%s) %s", clean(id, maxWord), item.Status.problem())
		case item.Generation.problem() != "":
			n.skip("sessions", i, "(%s) %s", clean(id, maxWord), item.Generation.problem())
		default:
			list = append(list, domain.Report{
				SessionID: id, Status: item.Status.status, LoggedOut: item.Status.loggedOut, WorkerID: workerID, Snapshot: true,
				PhoneNumber: item.PhoneNumber.phone(), DisplayName: item.DisplayName.cut(maxID), Generation: item.Generation.value,
			})
		}
	}
	n.skipBeyond("sessions", s.beyond)
	return list
}

type heartbeatInput struct {
	WorkerPath
	Body heartbeatBody
}

// heartbeat handles a heartbeat whose path names the worker. A worker's id in the body
// changes nothing.
func (a *api) heartbeat(ctx context.Context, c *requestContext, in *heartbeatInput) (heartbeatView, error) {
	return a.acceptHeartbeat(ctx, c, in.Body.heartbeat(c.workerRef(), c.incompleteReason(in.Body.Incomplete)))
}

type legacyHeartbeatInput struct{ Body heartbeatBody }

// Resolve checks that the body or the token names the worker.
func (in *legacyHeartbeatInput) Resolve(ctx huma.Context) []error {
	var p problems
	p.requireWorker(contextOf(ctx.Context()), in.Body.WorkerID, in.Body.Incomplete)
	return p
}

// requireWorker checks that the token or the body names the worker.
func (p *problems) requireWorker(c *requestContext, id lenientString, body Incomplete) {
	if c.holder.WorkerID != "" || id.workerRef() != "" {
		return
	}
	p.addMissing("workerId", "Worker ID")
	p.addIncomplete(nil, c.incompleteReason(body))
}

// legacyHeartbeat handles the oldest form, which names its worker in the body.
func (a *api) legacyHeartbeat(ctx context.Context, c *requestContext, in *legacyHeartbeatInput) (heartbeatView, error) {
	id, err := c.authorizeWorker(in.Body.WorkerID.workerRef())
	if err != nil {
		return heartbeatView{}, err
	}
	return a.acceptHeartbeat(ctx, c, in.Body.heartbeat(id, c.incompleteReason(in.Body.Incomplete)))
}

func (a *api) acceptHeartbeat(ctx context.Context, c *requestContext, h domain.Heartbeat) (heartbeatView, error) {
	r, err := a.Protocol.Heartbeat(ctx, h)
	if err != nil {
		return heartbeatView{}, err
	}
	n := warnings{r.Skipped, r.Warnings}
	c.logWarnings(h.WorkerID, n)
	return viewHeartbeat(r, n), nil
}

// heartbeatView is the answer to a heartbeat.
type heartbeatView struct {
	WorkerID             string              `json:"workerId" example:"worker-1"`
	Status               domain.WorkerStatus `json:"status" example:"ONLINE"`
	SessionCount         int                 `json:"sessionCount" example:"2"`
	LastHeartbeat        view.Time           `json:"lastHeartbeat"`
	SessionsProcessed    int                 `json:"sessionsProcessed" doc:"Sessions listed" example:"2"`
	SessionsSynced       int                 `json:"sessionsSynced" doc:"Listed sessions that changed here" example:"1"`
	SessionsSkipped      int                 `json:"sessionsSkipped" doc:"Listed items that could not be used" example:"1"`
	Warnings             []string            `json:"warnings" doc:"What could not be used, and why; at most 20 texts" example:"[\"sessions[3] (support) has the unknown status \\\"asleep\\\"\"]"`
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

func viewHeartbeat(r *service.HeartbeatResult, n warnings) heartbeatView {
	w := r.Worker
	return heartbeatView{
		WorkerID: w.ID, Status: w.Status(), SessionCount: w.Used, LastHeartbeat: view.Time(w.LastHeartbeat),
		SessionsProcessed: r.Processed, SessionsSynced: r.Synced, SessionsSkipped: n.skipped, Warnings: n.list(),
		StaleWorkersDetected: r.Stale, SessionBreakdown: r.Breakdown,
		Metrics:  heartbeatFigures{nullableFloat(w.CPU), nullableFloat(w.Memory), int64(w.Uptime / time.Second), w.MessageCount},
		Commands: viewCommands(r.Commands), LeaseMS: max(r.Lease, 0).Milliseconds(),
	}
}

func viewCommands(list []service.StopCommand) []commandView {
	commands := make([]commandView, len(list))
	for i, stop := range list {
		commands[i] = commandView{stopSession, stop.SessionID, stop.Generation}
	}
	return commands
}
