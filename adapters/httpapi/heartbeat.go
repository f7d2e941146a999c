package httpapi

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func (a *api) heartbeat(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	h, err := decodeHeartbeat(b, c.workerRef())
	if err != nil {
		return nil, err
	}
	if _, err := c.speaksFor(b.worker); err != nil {
		return nil, err
	}
	return beaten(a.Protocol.Heartbeat(ctx, h))
}

// oldHeartbeat is the oldest form, which names its worker in the body.
func (a *api) oldHeartbeat(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	h, err := decodeHeartbeat(b, c.own)
	if err != nil {
		return nil, err
	}
	if _, err := c.speaksFor(b.worker); err != nil {
		return nil, err
	}
	return beaten(a.Protocol.Heartbeat(ctx, h))
}

// decodeHeartbeat reads any of the forms that are in the field. Unless the path
// or the token says which worker it is, the body has to.
func decodeHeartbeat(b *body, workerID string) (domain.Heartbeat, error) {
	h := domain.Heartbeat{WorkerID: workerID, CPU: -1, Memory: -1, MessageCount: -1}
	for b.next() {
		switch b.member() {
		case "workerId":
			if workerID == "" {
				b.text(&h.WorkerID, maxID)
				h.WorkerID = domain.NormalizeWorkerRef(h.WorkerID)
			} else {
				b.workerID()
			}
		case "sessions":
			b.beatSessions(&h)
		case "metrics":
			b.metrics(&h)
		case "capabilities":
			b.beatCapabilities(&h)
		default:
			b.load(&h)
		}
	}
	if h.WorkerID == "" {
		b.lack("workerId", "Worker ID")
	}
	for i := range h.Sessions {
		h.Sessions[i].WorkerID = h.WorkerID
	}
	return h, b.end()
}

// beatSessions reads the list of the sessions, or a count of them; anything
// else is as if it were not there.
func (b *body) beatSessions(h *domain.Heartbeat) {
	switch b.kind() {
	case '{':
		b.breakdown(h)
	case '[':
		if b.array() {
			h.IsFullSnapshot = true
			h.Sessions = make([]domain.Report, 0, min(1+b.src.Cap()/128, maxCapacity))
			for b.item() {
				b.beatSession(h)
			}
		}
	}
}

func (b *body) beatSession(h *domain.Heartbeat) {
	r := domain.Report{Snapshot: true}
	if !b.object() {
		b.once("sessions["+strconv.Itoa(len(h.Sessions))+"]", "Session must be an object")
		h.Sessions = append(h.Sessions, r) // to go on counting
		return
	}
	for b.next() {
		switch b.member() {
		case "sessionId":
			b.sessionID(&r.SessionID)
		case "status":
			b.reported(&r)
		case "phoneNumber":
			b.accountPhone(&r.PhoneNumber)
		case "displayName":
			b.note(&r.DisplayName, maxID)
		case "generation":
			b.generation(&r.Generation)
		}
	}
	if r.SessionID == "" || r.Status == "" {
		b.incomplete(len(h.Sessions), r)
	}
	h.Sessions = append(h.Sessions, r)
}

func (b *body) incomplete(i int, r domain.Report) {
	at := "sessions[" + strconv.Itoa(i) + "]."
	if r.SessionID == "" {
		b.lack(at+"sessionId", "Session ID")
	}
	if r.Status == "" {
		b.lack(at+"status", "Status")
	}
}

// sessionID reads a session's id and gives it its one spelling.
func (b *body) sessionID(to *string) {
	var raw string
	b.text(&raw, maxID)
	*to = domain.NormalizeSessionRef(raw)
}

// reported reads the status in a report.
func (b *body) reported(r *domain.Report) {
	if !b.is('"', "a string") {
		return
	}
	raw, ok := b.value()
	if !ok {
		return
	}
	switch string(raw) { // the usual ones without an allocation
	case `"CONNECTED"`:
		r.Status = domain.Connected
	case `"DISCONNECTED"`:
		r.Status = domain.Disconnected
	case `"QR_REQUIRED"`:
		r.Status = domain.QRRequired
	case `"RECONNECTING"`:
		r.Status = domain.Reconnecting
	case `"INIT"`:
		r.Status = domain.Init
	case `"ERROR"`:
		r.Status = domain.Errored
	default:
		word := strings.TrimSpace(strings.Trim(string(raw), `"`))
		if strings.EqualFold(word, loggedOut) {
			r.Status, r.LoggedOut = domain.Disconnected, true
			return
		}
		status, err := domain.ParseStatus(word)
		if err != nil {
			b.add(b.path(), "Unknown status %q; it must be one of INIT, QR_REQUIRED, CONNECTED, "+
				"RECONNECTING, DISCONNECTED, ERROR, LOGGED_OUT", clean(word, 40))
			status = domain.Errored // not missing
		}
		r.Status = status
	}
}

// loggedOut is a status that workers have and we do not: DISCONNECTED, and the
// credentials are gone.
const loggedOut = "LOGGED_OUT"

// breakdown reads a count of sessions by status.
func (b *body) breakdown(h *domain.Heartbeat) {
	if !b.object() {
		return
	}
	var d domain.Breakdown
	for b.next() {
		switch b.member() {
		case "total":
			b.count32(&d.Total)
		case "connected":
			b.count32(&d.Connected)
		case "disconnected":
			b.count32(&d.Disconnected)
		case "qr_required", "qrRequired":
			b.count32(&d.QRRequired)
		case "reconnecting":
			b.count32(&d.Reconnecting)
		case "error":
			b.count32(&d.Error)
		case "init":
			b.count32(&d.Init)
		case "maxSessions":
			b.capacity(h)
		}
	}
	h.Breakdown = &d
}

// metrics reads the figures of forms 1 and 3.
func (b *body) metrics(h *domain.Heartbeat) {
	if b.kind() != '{' || !b.object() {
		return
	}
	for b.next() {
		if b.member() == "sessions" {
			if b.kind() == '{' {
				b.breakdown(h)
			}
			continue
		}
		b.load(h)
	}
}

// load reads one figure of the worker, wherever it stands.
func (b *body) load(h *domain.Heartbeat) {
	switch b.member() {
	case "cpuUsage":
		b.percent(&h.CPU)
	case "memoryUsage":
		b.percent(&h.Memory)
	case "uptime":
		var f float64
		if b.measure(&f) {
			const most = 100 * 365 * 24 * 60 * 60
			h.Uptime = time.Duration(min(max(f, 0), most) * float64(time.Second))
		}
	case "messageCount":
		var f float64
		if b.measure(&f) {
			h.MessageCount = int64(min(max(f, 0), maxExact))
		}
	}
}

// beatCapabilities reads what form 1 says of the worker itself.
func (b *body) beatCapabilities(h *domain.Heartbeat) {
	if b.kind() != '{' || !b.object() {
		return
	}
	for b.next() {
		switch b.member() {
		case "maxSessions":
			b.capacity(h)
		case "version":
			b.note(&h.Version, maxWord)
		case "environment":
			b.note(&h.Environment, maxWord)
		}
	}
}

// capacity reads the most sessions a worker takes; a figure that cannot be
// meant is as if it were not there.
func (b *body) capacity(h *domain.Heartbeat) {
	var n int
	if b.count32(&n); n >= 1 && n <= maxCapacity {
		h.Capacity = n
	}
}

// percent reads a percentage, held within 0 and 100.
func (b *body) percent(to *float64) {
	var f float64
	if b.measure(&f) {
		*to = min(max(f, 0), 100)
	}
}

// count32 reads a count, held within what a sum can take.
func (b *body) count32(to *int) {
	var f float64
	if b.measure(&f) {
		*to = int(min(max(f, 0), 1e6))
	}
}

// maxExact is the largest whole number that a JSON number carries exactly.
const maxExact = 1 << 53

// beatView is the answer to a heartbeat.
type beatView service.HeartbeatResult

// beaten is the answer of a use case to a heartbeat, or its error.
func beaten(answer *service.HeartbeatResult, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return (*beatView)(answer), nil
}

func (v *beatView) appendJSON(b []byte) []byte {
	w := v.Worker
	b = append(b, `{"workerId":`...)
	b = appendString(b, w.ID)
	b = append(b, `,"status":`...)
	b = appendString(b, string(w.Status()))
	b = appendCount(b, `,"sessionCount":`, w.Used)
	b = append(b, `,"lastHeartbeat":`...)
	b = appendTime(b, w.LastHeartbeat)
	b = appendCount(b, `,"sessionsProcessed":`, v.Processed)
	b = appendCount(b, `,"sessionsSynced":`, v.Synced)
	b = appendCount(b, `,"staleWorkersDetected":`, v.Stale)
	d := v.Breakdown
	b = appendCount(b, `,"sessionBreakdown":{"total":`, d.Total)
	b = appendCount(b, `,"connected":`, d.Connected)
	b = appendCount(b, `,"disconnected":`, d.Disconnected)
	b = appendCount(b, `,"qr_required":`, d.QRRequired)
	b = appendCount(b, `,"reconnecting":`, d.Reconnecting)
	b = appendCount(b, `,"error":`, d.Error)
	b = appendCount(b, `,"init":`, d.Init)
	b = append(b, `},"metrics":{"cpuUsage":`...)
	b = appendFigure(b, w.CPU)
	b = append(b, `,"memoryUsage":`...)
	b = appendFigure(b, w.Memory)
	b = appendCount(b, `,"uptime":`, int(w.Uptime/time.Second))
	b = appendCount(b, `,"messageCount":`, int(w.MessageCount))
	b = append(b, `},"commands":[`...)
	for i, command := range v.Commands {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"type":"`+stopSession+`","sessionId":`...)
		b = appendString(b, command.SessionID)
		b = append(b, `,"generation":`...)
		b = strconv.AppendInt(b, command.Generation, 10)
		b = append(b, '}')
	}
	b = append(b, ']')
	if v.Lease > 0 {
		b = append(b, `,"leaseMs":`...)
		b = strconv.AppendInt(b, v.Lease.Milliseconds(), 10)
	}
	return append(b, '}')
}

func appendCount(b []byte, name string, n int) []byte {
	return strconv.AppendInt(append(b, name...), int64(n), 10)
}
