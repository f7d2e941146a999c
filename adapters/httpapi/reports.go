package httpapi

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

func (a *api) sessionReport(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	r, err := decodeSessionReport(b, c.start, a.QRLife)
	if err != nil {
		return nil, err
	}
	outcome, err := a.Workers.SessionReport(ctx, r)
	if err != nil {
		return nil, err
	}
	v := struct {
		SessionID string        `json:"sessionId"`
		Status    domain.Status `json:"status"`
		Applied   bool          `json:"applied"`
	}{r.SessionID, r.Status, false}
	switch outcome {
	case domain.Applied, domain.Repeated, domain.Unchanged:
		v.Applied = true
	default:
		c.message = "Session status ignored: " + outcome.String()
	}
	return v, nil
}

// decodeSessionReport reads a report that is received at now; a QR in it is
// good for life.
func decodeSessionReport(b *body, now time.Time, life time.Duration) (domain.Report, error) {
	var r domain.Report
	var qrCode, qrString string
	var loggedOutAt time.Time
	fromPhone := false
	for b.next() {
		switch b.member() {
		case "sessionId":
			b.sessionID(&r.SessionID)
		case "status":
			b.reported(&r)
		case "qrCode":
			b.string(&qrCode)
		case "qrString":
			b.string(&qrString)
		case "pairingCode":
			b.text(&r.PairingCode, maxWord)
		case "phoneNumber":
			b.text(&r.PhoneNumber, maxID)
		case "displayName":
			b.text(&r.DisplayName, maxID)
		case "workerId":
			b.text(&r.WorkerID, maxID)
			r.WorkerID = domain.NormalizeWorkerRef(r.WorkerID)
		case "timestamp":
			b.time(&r.At)
		case "reason":
			b.text(&r.Reason, maxNote)
		case "error":
			b.text(&r.Error, maxNote)
		case "loggedOutAt":
			b.time(&loggedOutAt)
		case "loggedOutFromPhone":
			b.bool(&fromPhone)
		case "generation":
			b.integer(&r.Generation, 0, maxExact)
		}
	}
	if r.SessionID == "" {
		b.lack("sessionId", "Session ID")
	}
	if r.Status == "" {
		b.lack("status", "Status")
	}
	if fromPhone || !loggedOutAt.IsZero() {
		r.LoggedOut = true
	}
	qr, err := domain.ParseQR(qrCode, qrString, now, life)
	b.check("qrCode", err)
	if err := b.end(); err != nil {
		return domain.Report{}, err
	}
	r.QR = readable(qr) // the expensive part comes last
	return r, nil
}

func (a *api) messageReport(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	r, err := decodeMessageReport(b)
	if err != nil {
		return nil, err
	}
	applied, err := a.Workers.MessageReport(ctx, r)
	if err != nil {
		return nil, err
	}
	return struct {
		SessionID string               `json:"sessionId"`
		MessageID string               `json:"messageId"`
		Status    domain.MessageStatus `json:"status"`
		Applied   bool                 `json:"applied"`
	}{r.SessionID, r.WhatsAppID, r.Status, applied}, nil
}

func decodeMessageReport(b *body) (domain.MessageReport, error) {
	var r domain.MessageReport
	var status *string
	for b.next() {
		switch b.member() {
		case "sessionId":
			b.sessionID(&r.SessionID)
		case "messageId":
			b.text(&r.WhatsAppID, maxID)
		case "status":
			b.optional(&status)
		case "timestamp":
			b.time(&r.At)
		case "deliveredAt":
			b.time(&r.DeliveredAt)
		case "readAt":
			b.time(&r.ReadAt)
		case "errorMessage":
			b.text(&r.Error, maxNote)
		}
	}
	if r.SessionID == "" {
		b.lack("sessionId", "Session ID")
	}
	if r.WhatsAppID == "" {
		b.lack("messageId", "Message ID")
	}
	if raw := b.need("status", status, "Status"); raw != "" {
		s, err := domain.ParseMessageStatus(raw)
		b.check("status", err)
		r.Status = s
	}
	return r, b.end()
}

func (a *api) messageReceived(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	m, err := decodeInbound(b)
	if err != nil {
		return nil, err
	}
	stored, err := a.Workers.MessageReceived(ctx, m)
	if err != nil {
		return nil, err
	}
	return struct {
		SessionID string `json:"sessionId"`
		MessageID string `json:"messageId"`
		Stored    bool   `json:"stored"`
	}{m.SessionID, m.WhatsAppID, stored}, nil
}

const maxContent = 64 << 10 // bytes of a message that is kept

func decodeInbound(b *body) (ports.InboundMessage, error) {
	var m ports.InboundMessage
	var kind *string
	for b.next() {
		switch b.member() {
		case "sessionId":
			b.sessionID(&m.SessionID)
		case "messageId":
			b.text(&m.WhatsAppID, maxID)
		case "from":
			b.text(&m.From, maxID)
		case "to":
			b.text(&m.To, maxID)
		case "type":
			b.optional(&kind)
		case "content":
			b.content(&m.Content)
		case "mediaUrl":
			b.text(&m.MediaURL, 2048)
		case "caption":
			b.text(&m.Caption, maxContent)
		case "timestamp":
			b.time(&m.At)
		case "generation":
			b.integer(&m.Generation, 0, maxExact)
		}
	}
	if m.SessionID == "" {
		b.lack("sessionId", "Session ID")
	}
	if m.WhatsAppID == "" {
		b.lack("messageId", "Message ID")
	}
	if m.From == "" {
		b.lack("from", "From")
	}
	if raw := b.need("type", kind, "Type"); raw != "" {
		t, err := domain.ParseMessageType(raw)
		b.check("type", err)
		m.Type = t
	}
	if m.At.IsZero() {
		b.lack("timestamp", "Timestamp")
	}
	return m, b.end()
}

// content reads a text, or the object of a structured message as JSON.
func (b *body) content(to *string) {
	if b.kind() != '{' {
		b.text(to, maxContent)
		return
	}
	raw, ok := b.value()
	if !ok {
		return
	}
	document := raw.Clone() // the original is the body itself
	if err := document.Compact(); err != nil || len(document) > maxContent {
		b.mistyped("at most 64 KiB")
		return
	}
	*to = string(document)
}
