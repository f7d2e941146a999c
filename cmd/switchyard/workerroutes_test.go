package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// routes returns the handler of a node.
func (n *node) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { data(w, http.StatusOK, obj{"status": "healthy"}) })
	mux.HandleFunc("POST /api/sessions/start", n.start)
	mux.HandleFunc("GET /api/sessions", n.listSessions)
	mux.HandleFunc("GET /api/sessions/{id}/status", n.sessionStatus)
	mux.HandleFunc("POST /api/sessions/{id}/restart", n.existing("restart", n.restart))
	mux.HandleFunc("POST /api/sessions/{id}/disconnect", n.existing("disconnect", n.disconnect))
	mux.HandleFunc("POST /api/sessions/{id}/logout", n.existing("logout", n.logout))
	mux.HandleFunc("DELETE /api/sessions/{id}", n.existing("delete", n.remove))
	mux.HandleFunc("POST /api/{id}/send", n.send)
	mux.HandleFunc("POST /api/message/{id}/manage", n.manage)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" && r.Header.Get("Authorization") != "Bearer "+n.token {
			n.fault("%s %s without the worker token", r.Method, r.URL.Path)
			n.refuse(w, http.StatusUnauthorized, "Invalid token")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func data(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(obj{"success": true, "data": v}) // the caller may have gone
}

// refuse writes an error, in one of two forms that workers use, alternately.
func (n *node) refuse(w http.ResponseWriter, status int, message string) {
	n.mu.Lock()
	n.refusals++
	old := n.refusals%2 == 1
	n.mu.Unlock()
	body := obj{"success": false, "error": obj{"code": "WORKER_ERROR", "message": message}}
	if old {
		body = obj{"success": false, "error": message, "details": []obj{{"message": message}}}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// note decodes and records a call.
func (n *node) note(what, id string, r *http.Request) obj {
	var body obj
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil && r.ContentLength > 0 {
		n.fault("%s %s: %v", r.Method, r.URL.Path, err)
	}
	if what == "start" {
		id = text(body, "sessionId")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls = append(n.calls, call{what, id, body})
	return body
}

func (n *node) start(w http.ResponseWriter, r *http.Request) {
	body := n.note("start", "", r)
	id := text(body, "sessionId")
	for key := range body {
		switch key {
		case "sessionId", "userId", "sessionName":
		default:
			if !n.modern {
				n.fault("start with %q, which it does not know", key)
			}
		}
	}
	if id == "" || text(body, "userId") == "" || text(body, "sessionName") == "" {
		n.refuse(w, http.StatusBadRequest, "sessionId, userId and sessionName are required")
		return
	}
	n.mu.Lock()
	n.starts[id]++
	s := n.running[id]
	if s.live() {
		s.generation = max(s.generation, int64(number(body, "generation")))
		status := s.status
		n.mu.Unlock()
		data(w, http.StatusOK, obj{"sessionId": id, "status": strings.ToLower(status)})
		return
	}
	s = &running{status: "INIT", generation: int64(number(body, "generation"))}
	n.running[id] = s
	phone := n.disk.phone(id)
	n.mu.Unlock()
	if live := n.live(); live > n.max {
		n.fault("%d sessions at once, with room for %d", live, n.max)
	}
	n.report(id, "INIT", nil)
	if phone != "" {
		n.set(id, "CONNECTED")
		n.report(id, "CONNECTED", obj{"phoneNumber": phone, "displayName": "Pretend Phone"})
		data(w, http.StatusCreated, obj{"sessionId": id, "status": "connected"})
		return
	}
	n.mu.Lock()
	qr := fmt.Sprintf("2@%s,%s,%s,%d", strings.Repeat("aB3/", 20), id, n.id, n.starts[id])
	s.status, s.qr = "QR_REQUIRED", qr
	n.mu.Unlock()
	n.report(id, "QR_REQUIRED", obj{"qrCode": qr, "phoneNumber": nil, "displayName": nil})
	data(w, http.StatusCreated, obj{"sessionId": id, "status": "qr_ready", "qrCode": qr})
}

func (n *node) listSessions(w http.ResponseWriter, _ *http.Request) {
	n.mu.Lock()
	list := make([]obj, 0, len(n.running))
	for id, r := range n.running {
		list = append(list, obj{"sessionId": id, "status": strings.ToLower(r.status)})
	}
	n.mu.Unlock()
	data(w, http.StatusOK, obj{"sessions": list})
}

func (n *node) sessionStatus(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	status := n.has(id)
	if status == "" {
		n.refuse(w, http.StatusNotFound, "Session not found")
		return
	}
	v := obj{"sessionId": id, "status": strings.ToLower(status)}
	if phone := n.disk.phone(id); phone != "" {
		v["phoneNumber"], v["displayName"] = phone, "Pretend Phone"
	}
	data(w, http.StatusOK, v)
}

// existing returns a handler that requires the session.
func (n *node) existing(what string, act func(id string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		n.note(what, id, r)
		if n.has(id) == "" {
			n.refuse(w, http.StatusNotFound, "Session not found")
			return
		}
		act(id)
		data(w, http.StatusOK, obj{"sessionId": id, "status": strings.ToLower(n.has(id))})
	}
}

// restart reports DISCONNECTED and RECONNECTING a millisecond apart, in alternating
// order, and then CONNECTED.
func (n *node) restart(id string) {
	n.mu.Lock()
	n.restarts++
	first, second := "DISCONNECTED", "RECONNECTING"
	if n.restarts%2 == 0 {
		first, second = second, first
	}
	n.mu.Unlock()
	n.set(id, "RECONNECTING")
	var both sync.WaitGroup
	both.Go(func() { n.report(id, first, nil) })
	time.Sleep(time.Millisecond)
	both.Go(func() { n.report(id, second, nil) })
	both.Wait()
	n.set(id, "CONNECTED")
	n.report(id, "CONNECTED", obj{"phoneNumber": n.disk.phone(id), "displayName": "Pretend Phone"})
}

func (n *node) disconnect(id string) {
	n.set(id, "DISCONNECTED")
	n.report(id, "DISCONNECTED", obj{"reason": "user"})
}

func (n *node) logout(id string) {
	n.disk.keep(id, "")
	n.set(id, "DISCONNECTED")
	n.report(id, "DISCONNECTED", obj{
		"reason": "logout", "loggedOutAt": now(), "loggedOutFromPhone": false, "phoneNumber": nil, "qrCode": nil,
	})
}

func (n *node) remove(id string) {
	n.disk.keep(id, "")
	n.set(id, "DISCONNECTED")
	n.report(id, "DISCONNECTED", nil)
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.running, id)
}

// unlink simulates a logout by the owner of the phone.
func (n *node) unlink(id string) {
	n.disk.keep(id, "")
	n.set(id, "DISCONNECTED")
	n.report(id, "DISCONNECTED", obj{"reason": "logged_out", "loggedOutAt": now(), "loggedOutFromPhone": true})
}

func (n *node) send(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	body := n.note("send", id, r)
	if why := n.objection(body); why != "" {
		n.fault("send %v: %s", body, why)
		n.refuse(w, http.StatusBadRequest, "Validation failed: "+why)
		return
	}
	switch status := n.has(id); {
	case status == "":
		n.refuse(w, http.StatusNotFound, "Session not found")
		return
	case status != "CONNECTED":
		n.refuse(w, http.StatusBadRequest, "Session is not connected")
		return
	case strings.HasPrefix(text(body, "to"), unreachable):
		n.refuse(w, http.StatusBadRequest, "The number is not on WhatsApp")
		return
	}
	answer := obj{"status": "done", "timestamp": now()}
	switch text(body, "type") {
	case "seen", "typing_start", "typing_stop":
	default:
		answer["status"], answer["messageId"] = "sent", n.deliver(id, body)
	}
	n.mu.Lock()
	gate := n.gate
	n.mu.Unlock()
	if gate != nil {
		n.entered.Add(1)
		select {
		case <-gate:
		case <-r.Context().Done():
		}
	}
	data(w, http.StatusOK, answer)
}

// deliver sends a message to the pretended WhatsApp.
func (n *node) deliver(id string, body obj) (messageID string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ours, _ := body["clientMessageId"].(string)
	messageID = n.byOurs[ours]
	if ours != "" && messageID != "" {
		return messageID
	}
	messageID = fmt.Sprintf("3EB0%s%06X", strings.ToUpper(fmt.Sprintf("%x", n.id)), len(n.sent)+1)
	n.byOurs[ours] = messageID
	n.sent = append(n.sent, sent{id, messageID, text(body, "message"), body})
	return messageID
}

func (n *node) manage(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	body := n.note("manage", id, r)
	if status := n.has(id); status != "CONNECTED" {
		n.refuse(w, http.StatusNotFound, "Session not found")
		return
	}
	switch text(body, "action") {
	case "delete", "unsend", "star", "unstar", "edit", "reaction", "read":
		data(w, http.StatusOK, obj{"action": body["action"]})
	default:
		n.refuse(w, http.StatusBadRequest, "Unknown action")
	}
}
