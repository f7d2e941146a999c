package simworker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const maxBody = 140 << 20 // a document of 100 MiB as base64 in JSON

// badRequest is the error for a call that the worker cannot understand.
type badRequest string

func (b badRequest) Error() string { return string(b) }

func (h *handler) health(rw http.ResponseWriter, r *http.Request) {
	if err := h.w.Health(r.Context()); err != nil {
		h.fail(rw, r, err)
		return
	}
	writeJSON(rw, http.StatusOK, map[string]any{"status": "ok", "workerId": h.w.cfg.ID})
}

// call wraps a route: it checks the token, adds the latency, and writes the
// envelope. A status of 0 means 200.
func (h *handler) call(fn func(r *http.Request, body []byte) (status int, data any, err error)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		if !h.isAuthorized(r) {
			writeJSON(rw, http.StatusUnauthorized, map[string]any{"success": false, "error": "Invalid or missing worker token"})
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxBody))
		if err != nil {
			h.fail(rw, r, badRequest("The body cannot be read"))
			return
		}
		if !sleep(r.Context(), h.cfg.Latency) {
			return
		}
		status, data, err := fn(r, body)
		if err != nil {
			h.fail(rw, r, err)
			return
		}
		writeJSON(rw, max(status, http.StatusOK), map[string]any{"success": true, "data": data, "timestamp": time.Now().UTC()})
	}
}

// fail writes an error response. A worker that is down or hangs sends no response.
func (h *handler) fail(rw http.ResponseWriter, r *http.Request, err error) {
	var bad badRequest
	if errors.As(err, &bad) {
		writeJSON(rw, http.StatusBadRequest, map[string]any{"success": false, "error": string(bad), "details": []string{}})
		return
	}
	var e *ports.WorkerError
	if !errors.As(err, &e) {
		writeJSON(rw, http.StatusInternalServerError, map[string]any{"success": false, "error": "Internal error"})
		return
	}
	switch e.Failure {
	case ports.WorkerTimedOut, ports.WorkerUnreachable:
		// Wait until the caller hangs up, for a minute at most.
		sleep(r.Context(), time.Minute)
		panic(http.ErrAbortHandler)
	case ports.WorkerConnectionRefused:
		panic(http.ErrAbortHandler)
	}
	if e.Retry > 0 {
		rw.Header().Set("Retry-After", strconv.Itoa(int((e.Retry+time.Second-1)/time.Second)))
	}
	_, text, found := strings.Cut(e.Message, ": ")
	if !found {
		text = e.Message
	}
	writeJSON(rw, e.Status, map[string]any{"success": false, "error": map[string]any{"code": errorCode(e.Failure), "message": text}})
}

func errorCode(f ports.WorkerFailure) string {
	switch f {
	case ports.WorkerSessionNotFound:
		return "SESSION_NOT_FOUND"
	case ports.WorkerBusy:
		return "RATE_LIMIT_EXCEEDED"
	case ports.WorkerMediaNotFound:
		return "MEDIA_NOT_FOUND"
	case ports.WorkerRejected:
		return "REJECTED"
	}
	return "INTERNAL_ERROR"
}

func writeJSON(rw http.ResponseWriter, status int, v any) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(v) // the caller may have gone
}

// decode decodes a JSON body and refuses unknown keys.
func decode(body []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return badRequest("Validation failed: " + strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badRequest("Validation failed: the body must be one JSON value with nothing after it")
	}
	return nil
}

func view(r domain.Report, starting bool) map[string]any {
	v := map[string]any{"sessionId": r.SessionID, "status": statusWord(r, starting)}
	for name, s := range map[string]string{
		"phoneNumber": r.PhoneNumber, "displayName": r.DisplayName, "qrCode": r.QR.Code, "pairingCode": r.PairingCode,
	} {
		if s != "" {
			v[name] = s
		}
	}
	if r.Generation != 0 {
		v["generation"] = r.Generation
	}
	return v
}

type legacyStart struct {
	SessionID   string `json:"sessionId"`
	UserID      string `json:"userId"`
	SessionName string `json:"sessionName"`
}

func (h *handler) start(r *http.Request, body []byte) (int, any, error) {
	var b struct {
		legacyStart
		Generation int64 `json:"generation"`
		Recover    bool  `json:"recover"`
		Pairing    *struct {
			PhoneNumber string `json:"phoneNumber"`
		} `json:"pairing"`
	}
	var err error
	if h.w.cfg.Legacy {
		err = decode(body, &b.legacyStart)
	} else {
		err = decode(body, &b)
	}
	if err != nil {
		return 0, nil, err
	}
	order := ports.Start{SessionID: b.SessionID, UserID: b.UserID, SessionName: b.SessionName, Generation: b.Generation, Recover: b.Recover}
	if b.Pairing != nil {
		order.PairingPhone = b.Pairing.PhoneNumber
	}
	report, err := h.w.Start(r.Context(), order)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, view(report, true), nil
}

func (h *handler) list(r *http.Request, _ []byte) (int, any, error) {
	list, err := h.w.List(r.Context())
	views := make([]any, 0, len(list))
	for _, report := range list {
		views = append(views, view(report, false))
	}
	return 0, map[string]any{"sessions": views}, err
}

func (h *handler) status(r *http.Request, _ []byte) (int, any, error) {
	report, err := h.w.Status(r.Context(), r.PathValue("id"))
	return 0, view(report, false), err
}

func (h *handler) command(fn func(ctx context.Context, sessionID string, generation int64) error) func(*http.Request, []byte) (int, any, error) {
	return func(r *http.Request, body []byte) (int, any, error) {
		id := r.PathValue("id")
		var b struct {
			Generation int64 `json:"generation"`
		}
		if len(body) > 0 {
			var to any = &b
			if h.w.cfg.Legacy {
				to = &struct{}{}
			}
			if err := decode(body, to); err != nil {
				return 0, nil, err
			}
		}
		return 0, map[string]any{"sessionId": id}, fn(r.Context(), id, b.Generation)
	}
}

type legacySend struct {
	To              string           `json:"to"`
	Type            string           `json:"type"`
	Message         string           `json:"message"`
	MediaURL        string           `json:"mediaUrl"`
	Caption         string           `json:"caption"`
	Filename        string           `json:"filename"`
	Location        *domain.Location `json:"location"`
	Contact         *domain.Contact  `json:"contact"`
	Link            *domain.Link     `json:"link"`
	Poll            *domain.Poll     `json:"poll"`
	MessageID       string           `json:"messageId"`
	HumanSimulation *bool            `json:"humanSimulation"`
}

func (h *handler) send(r *http.Request, body []byte) (int, any, error) {
	var b struct {
		legacySend
		ClientMessageID string   `json:"clientMessageId"`
		QuotedMessageID string   `json:"quotedMessageId"`
		Mentions        []string `json:"mentions"`
	}
	var err error
	if h.w.cfg.Legacy {
		err = decode(body, &b.legacySend)
	} else {
		err = decode(body, &b)
	}
	if err != nil {
		return 0, nil, err
	}
	id := r.PathValue("id")
	to, err := domain.ParseRecipient(b.To)
	if err != nil || string(to) != b.To {
		return 0, nil, badRequest("Validation failed: to must be a JID")
	}
	switch a := domain.ActionType(b.Type); a {
	case domain.ActionSeen, domain.ActionTypingStart, domain.ActionTypingStop:
		return 0, nil, h.w.PerformAction(r.Context(), id, domain.Action{Type: a, Phone: b.To, MessageID: b.MessageID})
	}
	m := &domain.Outgoing{
		To: b.To, Type: domain.MessageType(b.Type), Text: b.Message, MediaURL: b.MediaURL, Filename: b.Filename,
		Caption: b.Caption, Location: b.Location, Contact: b.Contact, Link: b.Link, Poll: b.Poll,
		HumanSimulation: b.HumanSimulation == nil || *b.HumanSimulation,
		QuotedMessageID: b.QuotedMessageID, Mentions: b.Mentions,
	}
	if m.Type == domain.TypeDocument && m.Filename == "" {
		return 0, nil, badRequest("Validation failed: filename is required for documents")
	}
	checked := *m
	if strings.HasPrefix(m.MediaURL, "data:") {
		checked.MediaURL, checked.Media = "", m.MediaURL
	}
	if err := checked.Validate(); err != nil {
		return 0, nil, badRequest("Validation failed: " + err.Error())
	}
	if m.HumanSimulation && !sleep(r.Context(), 1700*time.Millisecond+rand.N(1800*time.Millisecond)) {
		return 0, nil, badRequest("The caller has gone")
	}
	sent, err := h.w.Send(r.Context(), ports.Send{SessionID: id, ClientMessageID: b.ClientMessageID, To: to, Message: m})
	return 0, map[string]any{"messageId": sent.WhatsAppID, "status": sent.Status, "timestamp": sent.At.UTC()}, err
}

func (h *handler) manage(r *http.Request, body []byte) (int, any, error) {
	var b struct {
		Action      domain.ActionType  `json:"action"`
		MessageID   string             `json:"messageId"`
		Phone       string             `json:"phone"`
		ForEveryone bool               `json:"forEveryone"`
		NewText     string             `json:"newText"`
		Emoji       string             `json:"emoji"`
		JID         string             `json:"jid"`
		MessageKey  *domain.MessageKey `json:"messageKey"`
	}
	if err := decode(body, &b); err != nil {
		return 0, nil, err
	}
	actions := []domain.ActionType{
		domain.ActionDelete, domain.ActionUnsend, domain.ActionStar, domain.ActionUnstar,
		domain.ActionEdit, domain.ActionReaction, domain.ActionRead,
	}
	if !slices.Contains(actions, b.Action) {
		return 0, nil, badRequest("Validation failed: action is not known")
	}
	a := domain.Action{
		Type: b.Action, MessageID: b.MessageID, Phone: b.Phone, ForEveryone: b.ForEveryone,
		NewText: b.NewText, Emoji: b.Emoji, JID: b.JID, MessageKey: b.MessageKey,
	}
	if err := a.Validate(); err != nil {
		return 0, nil, badRequest("Validation failed: " + err.Error())
	}
	if !hasOnlyJIDs(a) {
		return 0, nil, badRequest("Validation failed: every address must be a JID")
	}
	return 0, nil, h.w.PerformAction(r.Context(), r.PathValue("id"), a)
}

// hasOnlyJIDs reports whether every address of an action is a JID. A legacy worker
// takes some other numbers for Indonesian ones, and acts in a stranger's chat.
func hasOnlyJIDs(a domain.Action) bool {
	jids, err := a.NormalizeAddresses()
	return err == nil && jids.Phone == a.Phone && jids.JID == a.JID &&
		(a.MessageKey == nil || *jids.MessageKey == *a.MessageKey)
}
