package view

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/switchyard-wa/switchyard/domain"
)

// EventView is a recorded event. Webhooks have the same form.
type EventView struct {
	Position  int64            `json:"position,omitzero" doc:"Where the event is in the log of the server; grows, with gaps. Missing for a QR code, which is in no log" example:"4711"`
	Type      domain.EventType `json:"type" doc:"What happened" example:"message.sent"`
	Timestamp Time             `json:"timestamp" nullable:"false" doc:"When it happened"`
	SessionID String           `json:"sessionId" example:"support"`
	Data      EventData        `json:"data"`
}

// EventData is the message or the session as the event left it.
type EventData struct {
	event *domain.Event
	qr    *QRView
}

// QRView is the QR code to scan, or the pairing code to type.
type QRView struct {
	QRCode      String  `json:"qrCode" doc:"The QR code as a PNG in a data URL" example:"data:image/png;base64,iVBORw0KGgo="`
	QRString    String  `json:"qrString" doc:"What the QR code says" example:"2@Zx81kQ0Vqf6h"`
	ExpiresAt   Time    `json:"expiresAt"`
	PairingCode *String `json:"pairingCode,omitzero" doc:"Where one was asked for" example:"ABCD-1234"`
}

// SessionEventView is the data of a session's event.
type SessionEventView struct {
	SessionView
	Reason       string  `json:"reason,omitzero" doc:"Why it happened, for people"`
	FromWorkerID string  `json:"fromWorkerId,omitzero" doc:"The former worker, after a move"`
	QR           *QRView `json:"qr,omitzero" doc:"The code to scan now, in live streams only"`
}

// Event returns the view of an event.
func Event(e *domain.Event) EventView {
	return EventView{Position: e.Seq, Type: e.Type, Timestamp: Time(e.At), SessionID: String(e.SessionID), Data: EventData{event: e}}
}

// QREvent returns the view of a session's event with the QR code to scan.
func QREvent(e *domain.Event, qr *QRView) EventView {
	v := Event(e)
	v.Data.qr = qr
	return v
}

// MarshalJSONTo writes the data.
func (d EventData) MarshalJSONTo(enc *jsontext.Encoder) error {
	switch e := d.event; {
	case e == nil:
	case e.Message != nil:
		return json.MarshalEncode(enc, Message(e.Message))
	case e.Session != nil:
		return json.MarshalEncode(enc, SessionEventView{sessionOf(e), e.Reason, e.FromWorker, d.qr})
	}
	return enc.WriteToken(jsontext.Null)
}

// sessionOf returns the session of an event. The event does not know the worker's state.
func sessionOf(e *domain.Event) SessionView {
	s := e.Session
	return Session(&domain.Session{
		ID: e.SessionID, UserID: e.UserID, WorkerID: e.WorkerID, Generation: e.Generation, Status: e.Status,
		Name: s.Name, Description: s.Description, DisplayName: s.DisplayName, PhoneNumber: s.PhoneNumber, LastError: s.LastError,
		LastSeenAt: s.LastSeenAt, CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt,
	}, nil)
}

// Schema describes the data.
func (EventData) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "The message or the session as the event left it",
		AnyOf: []*huma.Schema{
			r.Schema(reflect.TypeFor[MessageView](), true, ""), r.Schema(reflect.TypeFor[SessionEventView](), true, ""), {Type: "null"},
		},
	}
}
