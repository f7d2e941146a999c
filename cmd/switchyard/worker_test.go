package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// node is a legacy worker, written from the protocol page. It keeps its raw id, sends
// no extensions, reports inside the calls that it answers, never repeats a report,
// and refuses unknown keys. With modern it announces and uses the extensions.
type node struct {
	t         *testing.T
	id        string // raw id in URLs and bodies
	canonical string // id of the control plane
	control   string // base URL of the control plane's routes
	modern    bool
	max       int
	every     time.Duration // interval of heartbeats
	disk      *disk
	group     string // of the nodes that share the disk
	listener  string // listen address
	web       *http.Client
	token     string // sent, and expected of the control plane

	mu        sync.Mutex
	serving   *http.Server
	beating   chan struct{} // closed to stop the heartbeats
	beats     sync.WaitGroup
	running   map[string]*running
	reports   map[string]bool // sessions whose reports are lost
	starts    map[string]int  // start calls by session
	calls     []call
	sent      []sent
	byOurs    map[string]string // clientMessageId → messageId
	gate      chan struct{}     // closed: sends get their response
	entered   atomic.Int32      // sends that have reached the gate
	refusals  int
	restarts  int
	registers int
	accepted  time.Time // time of the latest accepted heartbeat
	lease     time.Duration
	faults    []string
}

// disk holds the credentials of linked phones by session. Nodes may share one.
type disk struct {
	mu     sync.Mutex
	phones map[string]string
}

func newDisk() *disk { return &disk{phones: make(map[string]string)} }

func (d *disk) phone(id string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.phones[id]
}

func (d *disk) keep(id, phone string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.phones[id] = phone
	if phone == "" {
		delete(d.phones, id)
	}
}

// running is a session in the node's memory, connected or not.
type running struct {
	status     string
	qr         string
	generation int64
}

func (r *running) live() bool { return r != nil && r.status != "DISCONNECTED" }

// call is a call of the control plane.
type call struct {
	what string // start, restart, …, send, manage
	id   string // session
	body obj
}

// sent is a message that the pretended WhatsApp accepted.
type sent struct {
	session, messageID, text string
	body                     obj
}

// nodeOption configures a node before it registers.
type nodeOption func(*node)

func modern(n *node)              { n.modern = true }
func capacity(max int) nodeOption { return func(n *node) { n.max = max } }

// sharing makes the node keep its credentials on a disk of several nodes. A modern node says so.
func sharing(d *disk, group string) nodeOption {
	return func(n *node) { n.disk, n.group = d, group }
}

func calling(base string) nodeOption { return func(n *node) { n.control = base } }
func withToken(token string) nodeOption {
	return func(n *node) { n.web, n.token = &http.Client{Transport: bearer(token)}, token }
}

var phoneNumbers atomic.Int64

// newNode starts a node and registers it.
func newNode(s *server, id string, options ...nodeOption) *node {
	s.t.Helper()
	n := &node{
		t: s.t, id: id, control: "/api", max: 50, every: 200 * time.Millisecond, disk: newDisk(),
		running: make(map[string]*running), reports: make(map[string]bool), starts: make(map[string]int),
		byOurs: make(map[string]string),
	}
	withToken(fleetToken)(n)
	for _, o := range options {
		o(n)
	}
	n.web.Transport = documented(s.t, n.web.Transport)
	n.web.Timeout = 5 * time.Second
	n.control = s.url + n.control
	n.listen(address() + ":0")
	a := n.register()
	require.Equal(s.t, http.StatusCreated, a.status, a)
	n.canonical = a.str("data.workerId")
	n.beat()
	s.t.Cleanup(func() {
		n.crash()
		n.web.CloseIdleConnections()
		for _, f := range n.faults {
			assert.Fail(s.t, "what a deployed worker could not live with", f)
		}
	})
	return n
}

// bearer is a transport that adds the credential to every request.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}

func (n *node) endpoint() string { return "http://" + n.listener }

// fault records a violation of the protocol by the control plane.
func (n *node) fault(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = append(n.faults, fmt.Sprintf(format, args...))
}

// tell calls the control plane once.
func (n *node) tell(method, path string, body any) (answer, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return answer{}, err
	}
	req, err := http.NewRequest(method, n.control+path, bytes.NewReader(text))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := n.web.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{call: method + " " + path, status: resp.StatusCode, header: resp.Header}
	a.raw, err = io.ReadAll(resp.Body)
	if err != nil {
		return a, err
	}
	return a, a.read()
}

// must calls the control plane and requires a response.
func (n *node) must(method, path string, body any) answer {
	n.t.Helper()
	a, err := n.tell(method, path, body)
	require.NoError(n.t, err)
	return a
}

// register registers the node.
func (n *node) register() answer {
	n.t.Helper()
	body := obj{
		"workerId": n.id, "endpoint": n.endpoint(), "maxSessions": n.max, "description": "Baileys worker",
		"version": "1.0.0", "environment": "DEVELOPMENT", "status": "ONLINE", "timestamp": now(),
	}
	if n.modern {
		body["capabilities"] = []string{"lease", "generation", "dedupe"}
		body["heartbeatInterval"] = n.every.Milliseconds()
		body["stateGroup"] = n.group
	}
	a := n.must("POST", "/workers/register", body)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.registers++
	n.accepted = time.Now()
	if ms, ok := a.at("data.leaseMs").(float64); ok {
		n.lease = time.Duration(ms) * time.Millisecond
	}
	return a
}

func now() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000Z") }

// listen opens the node's endpoint.
func (n *node) listen(addr string) {
	n.t.Helper()
	l, err := net.Listen("tcp", addr)
	require.NoError(n.t, err)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listener = l.Addr().String()
	n.serving = &http.Server{Handler: n.routes(), ReadHeaderTimeout: patience}
	go func(s *http.Server) { _ = s.Serve(l) }(n.serving)
}

// beat starts the heartbeats. The first one is sent after a full interval.
func (n *node) beat() {
	stop := make(chan struct{})
	n.mu.Lock()
	n.beating = stop
	n.mu.Unlock()
	n.beats.Go(func() {
		tick := time.NewTicker(n.every)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				n.heartbeat()
			}
		}
	})
}

// heartbeat sends the first form of the body. A modern node applies the commands of
// the response, and stops everything when its lease ends.
func (n *node) heartbeat() {
	n.mu.Lock()
	sessions := make([]obj, 0, len(n.running))
	for id, r := range n.running {
		s := obj{"sessionId": id, "status": r.status, "lastActivity": now()}
		if phone := n.disk.phone(id); phone != "" && r.status == "CONNECTED" {
			s["phoneNumber"], s["displayName"] = phone, "Pretend Phone"
		}
		if n.modern {
			s["generation"] = r.generation
		}
		sessions = append(sessions, s)
	}
	n.mu.Unlock()
	a, err := n.tell("PUT", "/workers/"+n.id+"/heartbeat", obj{
		"sessions":     sessions,
		"capabilities": obj{"maxSessions": n.max, "version": "1.0.0", "environment": "DEVELOPMENT", "supportedFeatures": []string{"text"}},
		"metrics": obj{
			"cpuUsage": 12.5, "memoryUsage": 40, "uptime": 3600, "messageCount": 7,
			"totalSessions": len(sessions), "activeSessions": len(sessions),
		},
		"lastActivity": now(),
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil && a.status == http.StatusOK {
		n.accepted = time.Now()
		for _, c := range a.list("data.commands") {
			if !n.modern {
				n.faults = append(n.faults, "a command for a worker without capabilities: "+string(a.raw))
			}
			id, generation := text(c, "sessionId"), int64(number(c, "generation"))
			n.calls = append(n.calls, call{text(c, "type"), id, nil})
			if r := n.running[id]; text(c, "type") == "STOP_SESSION" && r.live() && r.generation <= generation {
				r.status = "DISCONNECTED"
			}
		}
	}
	if n.modern && n.lease > 0 && time.Since(n.accepted) > n.lease {
		clear(n.running)
	}
}

func number(v any, path string) float64 {
	f, _ := find(v, path).(float64)
	return f
}

// report posts a session's status once and waits for the response. Only QR_REQUIRED
// carries the worker's id.
func (n *node) report(id, status string, more obj) {
	body := obj{"sessionId": id, "status": status, "timestamp": now()}
	maps.Copy(body, more)
	n.mu.Lock()
	lost, r := n.reports[id], n.running[id]
	if n.modern && r != nil {
		body["generation"], body["workerId"] = r.generation, n.id
	}
	n.mu.Unlock()
	if status == "QR_REQUIRED" {
		body["workerId"] = n.id
	}
	if lost {
		return
	}
	// A worker accepts any response but a 5xx.
	if a, err := n.tell("POST", "/webhooks/session-status", body); err == nil && a.status >= 500 {
		n.fault("a report was answered %s", a)
	}
}

// messageStatus reports the status of a message.
func (n *node) messageStatus(session, messageID, status string) answer {
	n.t.Helper()
	return n.must("POST", "/webhooks/message-status",
		obj{"sessionId": session, "messageId": messageID, "status": status, "timestamp": now()})
}

// scan simulates that a phone scans the session's QR code.
func (n *node) scan(id string) {
	phone := fmt.Sprintf("62812%08d", phoneNumbers.Add(1))
	n.disk.keep(id, phone)
	n.set(id, "CONNECTED")
	n.report(id, "CONNECTED", obj{"phoneNumber": phone, "displayName": "Pretend Phone"})
}

func (n *node) set(id, status string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r := n.running[id]; r != nil {
		r.status, r.qr = status, ""
	}
}

// loseReports sets whether reports about a session are lost.
func (n *node) loseReports(id string, lost bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reports[id] = lost
}

// crash simulates the end of the process.
func (n *node) crash() {
	n.mu.Lock()
	stop, serving := n.beating, n.serving
	n.beating, n.serving = nil, nil
	n.mu.Unlock()
	if stop != nil {
		close(stop)
	}
	n.beats.Wait()
	if serving != nil {
		_ = serving.Close() // open connections too
	}
}

// emerge ends a simulated crash without a loss: the node does not know of the crash.
func (n *node) emerge() {
	n.t.Helper()
	n.listen(n.listener)
	n.beat()
}

// reboot starts the process after a crash, with empty memory and the credentials on
// disk. It registers and does not recover yet.
func (n *node) reboot() answer {
	n.t.Helper()
	n.mu.Lock()
	clear(n.running)
	n.mu.Unlock()
	n.listen(n.listener)
	return n.register()
}

// resume recovers the sessions after a registration that demands it.
func (n *node) resume() (assigned, outcome answer) {
	n.t.Helper()
	assigned = n.must("GET", "/workers/"+n.id+"/sessions/assigned", nil)
	var results []obj
	for _, s := range assigned.list("data.sessions") {
		id := text(s, "sessionId")
		result := obj{"sessionId": id, "status": "FAILED", "error": "no credentials"}
		if n.disk.phone(id) != "" {
			n.mu.Lock()
			n.running[id] = &running{status: "CONNECTED", generation: int64(number(s, "generation"))}
			n.mu.Unlock()
			result = obj{"sessionId": id, "status": "SUCCESS", "recoveredAt": now()}
		}
		results = append(results, result)
	}
	outcome = n.must("POST", "/workers/"+n.id+"/sessions/recovery-status", obj{
		"recoveryResults": results, "summary": obj{
			"totalSessions": len(results), "successfulRecoveries": len(results), "failedRecoveries": 0, "skippedRecoveries": 0,
		},
	})
	n.beat()
	return assigned, outcome
}

// has returns the status of a session in the node's memory.
func (n *node) has(id string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r := n.running[id]; r != nil {
		return r.status
	}
	return ""
}

// live returns the number of sessions that occupy a slot.
func (n *node) live() (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.running {
		if r.live() {
			count++
		}
	}
	return count
}

// qr returns the text of the QR code.
func (n *node) qr(id string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r := n.running[id]; r != nil {
		return r.qr
	}
	return ""
}

// asked returns the control plane's calls about a session, in order.
func (n *node) asked(id string) (what []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.calls {
		if c.id == id {
			what = append(what, c.what)
		}
	}
	return what
}

// last returns the latest call.
func (n *node) last() call {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calls[len(n.calls)-1]
}

// outbox returns the sent messages.
func (n *node) outbox() []sent {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.sent)
}

// hold delays the responses to sends until release is called. The messages are sent
// before.
func (n *node) hold() (release func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	gate := make(chan struct{})
	n.gate = gate
	return sync.OnceFunc(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.gate = nil
		close(gate)
	})
}

var (
	jid   = regexp.MustCompile(`^[0-9-]+@(s\.whatsapp\.net|g\.us)$`)
	known = strings.Fields("to type message mediaUrl caption filename location contact link poll messageId humanSimulation")
	// needed lists the required field of each type of send.
	needed = map[string]string{
		"text": "message", "image": "mediaUrl", "document": "mediaUrl filename", "audio": "mediaUrl", "video": "mediaUrl",
		"sticker": "mediaUrl", "location": "location", "contact": "contact", "link": "link", "poll": "poll",
		"seen": "messageId", "typing_start": "", "typing_stop": "",
	}
)

// unreachable is a number that the pretended WhatsApp does not know.
const unreachable = "6280000000000"

// objection returns the problem of a send, or "".
func (n *node) objection(body obj) string {
	kind, _ := body["type"].(string)
	fields, ok := needed[kind]
	if !ok {
		return fmt.Sprintf("type %q is not supported", kind)
	}
	for key := range body {
		if !slices.Contains(known, key) && !(n.modern && key == "clientMessageId") {
			return fmt.Sprintf("%q is not allowed", key)
		}
	}
	for key := range strings.FieldsSeq(fields) {
		if body[key] == nil || body[key] == "" {
			return fmt.Sprintf("%q is required", key)
		}
	}
	if to, _ := body["to"].(string); !jid.MatchString(to) {
		return fmt.Sprintf("%q is not a JID", to)
	}
	return ""
}
