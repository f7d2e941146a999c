package httpworker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// session is the JSON form of one session in a worker's response.
type session struct {
	SessionID   string `json:"sessionId"`
	Status      string `json:"status"`
	PhoneNumber string `json:"phoneNumber"`
	DisplayName string `json:"displayName"`
	QRCode      string `json:"qrCode"`
	QRString    string `json:"qrString"`
	PairingCode string `json:"pairingCode"`
	Generation  int64  `json:"generation"`
	Error       string `json:"error"`
}

// statusOf translates a worker's word for a status. It accepts the names of
// domain.Status too, in any case.
func statusOf(word string) (s domain.Status, loggedOut, ok bool) {
	switch strings.ToLower(strings.TrimSpace(word)) {
	case "initializing", "init", "starting":
		return domain.Init, false, true
	case "qr_ready", "qr_required":
		return domain.QRRequired, false, true
	case "connected":
		return domain.Connected, false, true
	case "reconnecting", "restarting":
		return domain.Reconnecting, false, true
	case "disconnected":
		return domain.Disconnected, false, true
	case "logged_out":
		return domain.Disconnected, true, true
	case "failed", "error":
		return domain.Errored, false, true
	}
	return "", false, false
}

// report converts a session of a response into a report.
func (c *Client) report(s session, workerID string) (domain.Report, error) {
	status, loggedOut, ok := statusOf(s.Status)
	if !ok {
		return domain.Report{}, fmt.Errorf("unknown session status %q", clip(s.Status, 40))
	}
	r := domain.Report{
		SessionID: domain.NormalizeSessionRef(s.SessionID), WorkerID: workerID, Generation: s.Generation,
		Status: status, LoggedOut: loggedOut, PhoneNumber: domain.AccountPhone(s.PhoneNumber), DisplayName: s.DisplayName,
		PairingCode: s.PairingCode, Error: s.Error,
	}
	if status == domain.QRRequired {
		// An unusable QR does not make the status doubtful.
		r.QR, _ = domain.ParseQR(s.QRCode, s.QRString, c.cfg.Now(), c.cfg.QRLife)
	}
	return r, nil
}

// readSession decodes the response to a call about one session. The defaults
// fill the fields that the response leaves out.
func (c *Client) readSession(body []byte, defaults session, workerID string) (domain.Report, error) {
	data, err := readData(body)
	if err != nil {
		return domain.Report{}, err
	}
	s := defaults
	if len(data) > 0 {
		if err := json.Unmarshal(data, &s); err != nil {
			return domain.Report{}, errors.New("data is not a session")
		}
	}
	if s.SessionID == "" {
		s.SessionID = defaults.SessionID
	}
	if s.Status == "" {
		s.Status = defaults.Status
	}
	return c.report(s, workerID)
}

// readSessions decodes the response to a call for all sessions.
func (c *Client) readSessions(body []byte, workerID string) ([]domain.Report, error) {
	data, err := readData(body)
	if err != nil {
		return nil, err
	}
	var list struct {
		Sessions []session `json:"sessions"`
	}
	if len(data) > 0 && data[0] == '[' {
		err = json.Unmarshal(data, &list.Sessions)
	} else {
		err = json.Unmarshal(data, &list)
	}
	if err != nil {
		return nil, errors.New("data is not a list of sessions")
	}
	out := make([]domain.Report, 0, len(list.Sessions))
	for _, s := range list.Sessions {
		r, err := c.report(s, workerID)
		if err != nil {
			return nil, err
		}
		r.Snapshot = true
		out = append(out, r)
	}
	return out, nil
}

// readData returns the data member of a response's envelope.
func readData(body []byte) (json.RawMessage, error) {
	var a struct {
		Success *bool           `json:"success"`
		Data    json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, errors.New("not a JSON object")
	}
	if a.Success != nil && !*a.Success {
		return nil, errors.New("success is false in spite of a 2xx")
	}
	if bytes.Equal(a.Data, []byte("null")) {
		return nil, nil
	}
	return a.Data, nil
}

// sent is the data of the response to a send.
type sent struct {
	MessageID string          `json:"messageId"`
	Status    string          `json:"status"`
	Timestamp json.RawMessage `json:"timestamp"`
}

// readSent decodes the response to a send. A response without a message id is
// an error: later reports could not be matched with the message.
func readSent(body []byte) (ports.Sent, error) {
	if id, status, at, ok := scanSent(body); ok {
		return ports.Sent{WhatsAppID: string(id), Status: sentStatus(string(status)), At: timestamp(string(at))}, nil
	}
	var a struct {
		Success *bool `json:"success"`
		Data    *sent `json:"data"`
		sent
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return ports.Sent{}, errors.New("not a JSON object")
	}
	if a.Success != nil && !*a.Success {
		return ports.Sent{}, errors.New("success is false in spite of a 2xx")
	}
	data := a.Data
	if data == nil {
		data = &a.sent
	}
	if data.MessageID == "" {
		return ports.Sent{}, errors.New("no messageId")
	}
	at := timestamp(strings.Trim(string(data.Timestamp), `"`))
	return ports.Sent{WhatsAppID: data.MessageID, Status: sentStatus(data.Status), At: at}, nil
}

// sentStatus translates the status in the response to a send. Any other word
// means SENT, because the response is a success.
func sentStatus(word string) domain.MessageStatus {
	switch word {
	case "SENT", "sent", "":
		return domain.MessageSent
	}
	if status, err := domain.ParseMessageStatus(word); err == nil {
		return status
	}
	return domain.MessageSent
}

// timestamp parses RFC 3339, or seconds or milliseconds since 1970. It returns
// the zero time for anything else.
func timestamp(s string) time.Time {
	if s == "" {
		return time.Time{}
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t.UTC()
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 {
		return time.Time{}
	}
	if n < 1e11 { // the year 5138 in seconds, 1973 in milliseconds
		return time.Unix(n, 0).UTC()
	}
	return time.UnixMilli(n).UTC()
}
