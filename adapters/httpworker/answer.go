package httpworker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// session is the JSON form of one session in a worker's response.
type session struct {
	SessionID   lenientText `json:"sessionId"`
	Status      lenientText `json:"status"`
	PhoneNumber lenientText `json:"phoneNumber"`
	DisplayName lenientText `json:"displayName"`
	QRCode      lenientText `json:"qrCode"`
	QRString    lenientText `json:"qrString"`
	PairingCode lenientText `json:"pairingCode"`
	Generation  lenientText `json:"generation"`
	Error       lenientText `json:"error"`
}

// The bounds of a worker's texts in bytes.
const (
	maxName  = 255
	maxCode  = 50
	maxError = 1024
)

// report converts a session of a response into a report. The report on a session with an unknown
// status word has no status.
func (c *Client) report(s session, workerID string) domain.Report {
	status, loggedOut, _ := domain.ParseReportedStatus(string(s.Status))
	r := domain.Report{
		SessionID: domain.NormalizeSessionRef(string(s.SessionID)), WorkerID: workerID, Generation: s.Generation.positive(),
		Status: status, LoggedOut: loggedOut, PhoneNumber: domain.AccountPhone(string(s.PhoneNumber)),
		DisplayName: domain.StorableText(string(s.DisplayName), maxName), PairingCode: domain.StorableText(string(s.PairingCode), maxCode),
		Error: domain.StorableText(string(s.Error), maxError),
	}
	if status == domain.QRRequired {
		// An unusable QR does not make the status doubtful.
		r.QR, _ = domain.ParseQR(string(s.QRCode), string(s.QRString), c.cfg.Now(), c.cfg.QRLife)
		if c.cfg.QRLife <= 0 {
			r.QR.ExpiresAt = time.Time{} // the core knows better
		}
	}
	return r
}

// readSession decodes the response to a call about one session. The defaults
// fill the fields that the response leaves out. They also replace a status word
// that is not known.
func (c *Client) readSession(body []byte, defaults session, workerID string) (domain.Report, error) {
	data, err := readData(body)
	if err != nil {
		return domain.Report{}, err
	}
	var s session
	if len(data) > 0 {
		if err := json.Unmarshal(data, &s); err != nil {
			return domain.Report{}, errors.New("data is not a session")
		}
	}
	if s.SessionID == "" {
		s.SessionID = defaults.SessionID
	}
	if _, _, ok := domain.ParseReportedStatus(string(s.Status)); !ok && defaults.Status != "" {
		s.Status = defaults.Status
	}
	r := c.report(s, workerID)
	if r.Status == "" {
		return domain.Report{}, fmt.Errorf("unknown session status %q", clip(string(s.Status), 40))
	}
	return r, nil
}

// readSessions decodes the response to a call for all sessions. It skips items
// that are no session.
func (c *Client) readSessions(body []byte, workerID string) ([]domain.Report, error) {
	data, err := readData(body)
	if err != nil {
		return nil, err
	}
	var list struct {
		Sessions []json.RawMessage `json:"sessions"`
	}
	if len(data) > 0 && data[0] == '[' {
		err = json.Unmarshal(data, &list.Sessions)
	} else if len(data) > 0 {
		err = json.Unmarshal(data, &list)
	}
	if err != nil {
		return nil, errors.New("data is not a list of sessions")
	}
	out := make([]domain.Report, 0, len(list.Sessions))
	for _, item := range list.Sessions {
		var s session
		if json.Unmarshal(item, &s) != nil || s.SessionID == "" {
			continue
		}
		r := c.report(s, workerID)
		r.Snapshot = true
		out = append(out, r)
	}
	return out, nil
}

// readData returns the data member of a response's envelope.
func readData(body []byte) (json.RawMessage, error) {
	var a struct {
		Success json.RawMessage `json:"success"`
		Data    json.RawMessage `json:"data"`
	}
	if err := unmarshal(body, &a); err != nil {
		return nil, errors.New("not a JSON object")
	}
	if string(a.Success) == "false" {
		return nil, errors.New("success is false in spite of a 2xx")
	}
	if isNull(a.Data) {
		return nil, nil
	}
	return a.Data, nil
}

// checkConfirmation returns an error if the body of a 2xx does not confirm a command. An empty
// body confirms it, and JSON whose success is not false.
func checkConfirmation(body []byte) error {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, byteOrderMark))
	switch {
	case len(body) == 0:
		return nil
	case body[0] == '{':
		_, err := readData(body)
		return err
	case !json.Valid(body):
		return errors.New("not JSON")
	}
	return nil
}

// sent is the data of the response to a send.
type sent struct {
	MessageID json.RawMessage `json:"messageId"`
	Status    lenientText     `json:"status"`
	Timestamp lenientText     `json:"timestamp"`
}

// readSent decodes the response to a send. The status word decides whether the
// message was sent. A response without a usable message id is an error, unless
// it says that the message was not sent: later reports could not be matched with
// the message.
func readSent(body []byte) (ports.Sent, error) {
	if id, status, at, ok := scanSent(body); ok && isUsableID(string(id)) {
		return ports.Sent{WhatsAppID: string(id), Status: sentStatus(string(status)), At: timestamp(string(at))}, nil
	}
	var a struct {
		Success json.RawMessage `json:"success"`
		Data    json.RawMessage `json:"data"`
		sent
	}
	if err := unmarshal(body, &a); err != nil {
		return ports.Sent{}, errors.New("not a JSON object")
	}
	var data sent
	var id string
	switch {
	case !isNull(a.Data):
		if json.Unmarshal(a.Data, &data) != nil {
			return ports.Sent{}, errors.New("data is not an object")
		}
	case len(a.MessageID) > 0:
		data = a.sent // some workers have no envelope
	}
	if json.Unmarshal(data.MessageID, &id) != nil || !isUsableID(id) {
		id = ""
	}
	s := ports.Sent{WhatsAppID: id, Status: sentStatus(string(data.Status)), At: timestamp(string(data.Timestamp))}
	switch {
	case s.Status == domain.MessageFailed:
		reason := readError(a.Data)
		if reason.text == "" {
			reason = readError(body)
		}
		if reason.inForm {
			s.Error = domain.PublicText(reason.text)
		}
	case string(a.Success) == "false":
		return ports.Sent{}, errors.New("success is false in spite of a 2xx")
	case id == "":
		return ports.Sent{}, errors.New("no usable messageId")
	}
	return s, nil
}

// isUsableID reports whether later reports can name a message by the id.
func isUsableID(id string) bool {
	switch id {
	case "", "undefined", "null": // what JavaScript makes of an id that is not there
		return false
	}
	return len(id) <= 255 && utf8.ValidString(id) && strings.IndexFunc(id, isHidden) < 0
}

// sentStatus translates the status in the response to a send. A response without
// a status means SENT, because it is a success. Any unknown word means PENDING.
func sentStatus(word string) domain.MessageStatus {
	switch word {
	case "SENT", "sent", "":
		return domain.MessageSent
	}
	if strings.EqualFold(strings.TrimSpace(word), "error") {
		return domain.MessageFailed
	}
	if status, err := domain.ParseMessageStatus(word); err == nil {
		return status
	}
	return domain.MessagePending
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
	if err != nil || n <= 0 || n > 1e15 {
		return time.Time{}
	}
	if n < 1e11 { // the year 5138 in seconds, 1973 in milliseconds
		return time.Unix(n, 0).UTC()
	}
	return time.UnixMilli(n).UTC()
}
