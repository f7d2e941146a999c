package httpapi

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
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
	if r.WorkerID, err = c.speaksFor(r.WorkerID); err != nil {
		return nil, err
	}
	outcome, err := a.Protocol.ReportSession(ctx, r)
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
			b.qrText(&qrCode)
		case "qrString":
			b.qrText(&qrString)
		case "pairingCode":
			b.note(&r.PairingCode, maxWord)
		case "phoneNumber":
			b.accountPhone(&r.PhoneNumber)
		case "displayName":
			b.note(&r.DisplayName, maxID)
		case "workerId":
			b.note(&r.WorkerID, maxID)
			r.WorkerID = domain.NormalizeWorkerRef(r.WorkerID)
		case "timestamp":
			b.about(&r.At)
		case "reason":
			b.note(&r.Reason, maxNote)
		case "error":
			b.note(&r.Error, maxNote)
		case "loggedOutAt":
			b.about(&loggedOutAt)
		case "loggedOutFromPhone":
			b.flag(&fromPhone)
		case "generation":
			b.generation(&r.Generation)
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
	if err != nil {
		qr, _ = domain.ParseQR(qrCode, "", now, life) // the other may be all right
	}
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
	if r.WorkerID, err = c.speaksFor(b.worker); err != nil {
		return nil, err
	}
	applied, err := a.Protocol.ReportMessage(ctx, r)
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
			b.messageID(&r.WhatsAppID)
		case "clientMessageId":
			b.note(&r.ID, maxID)
		case "workerId":
			b.workerID()
		case "status":
			b.optional(&status)
		case "timestamp":
			b.about(&r.At)
		case "deliveredAt":
			b.about(&r.DeliveredAt)
		case "readAt":
			b.about(&r.ReadAt)
		case "errorMessage":
			b.note(&r.Error, maxNote)
		}
	}
	if r.SessionID == "" {
		b.lack("sessionId", "Session ID")
	}
	if r.WhatsAppID == "" && r.ID == "" {
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
	if m.WorkerID, err = c.speaksFor(b.worker); err != nil {
		return nil, err
	}
	stored, err := a.Protocol.ReceiveMessage(ctx, m)
	if err != nil {
		return nil, err
	}
	return struct {
		SessionID string `json:"sessionId"`
		MessageID string `json:"messageId"`
		Stored    bool   `json:"stored"`
	}{m.SessionID, m.WhatsAppID, stored}, nil
}

// messageID reads WhatsApp's id of a message, which is kept as it is or not at all:
// two that were cut might be the same.
func (b *body) messageID(to *string) {
	var s string
	if !b.string(&s) {
		return
	}
	if s != clean(s, maxID) {
		b.mistyped(fmt.Sprintf("an id of at most %d bytes", maxID))
		return
	}
	*to = s
}

const maxContent = 64 << 10 // bytes of a message that is kept

func decodeInbound(b *body) (service.InboundMessage, error) {
	var m service.InboundMessage
	var kind string
	for b.next() {
		switch b.member() {
		case "sessionId":
			b.sessionID(&m.SessionID)
		case "messageId":
			b.messageID(&m.WhatsAppID)
		case "workerId":
			b.workerID()
		case "from":
			b.note(&m.From, maxID)
		case "to":
			b.note(&m.To, maxID)
		case "type":
			b.note(&kind, maxWord)
		case "content":
			b.content(&m.Content)
		case "mediaUrl":
			b.note(&m.MediaURL, 2048)
		case "caption":
			b.note(&m.Caption, maxContent)
		case "timestamp":
			b.time(&m.At)
		case "generation":
			b.generation(&m.Generation)
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
	if kind == "" {
		b.lack("type", "Type")
	}
	m.Type = inboundType(kind)
	if m.At.IsZero() {
		b.lack("timestamp", "Timestamp")
	}
	return m, b.end()
}

// inboundType is the type of a message that came in, which workers name as we
// do or as WhatsApp does. What nobody knows here is text.
func inboundType(word string) domain.MessageType {
	if t, err := domain.ParseMessageType(word); err == nil {
		return t
	}
	switch strings.ToLower(strings.TrimSpace(word)) {
	case "imagemessage":
		return domain.TypeImage
	case "videomessage", "ptvmessage":
		return domain.TypeVideo
	case "audiomessage", "ptt":
		return domain.TypeAudio
	case "documentmessage", "documentwithcaptionmessage":
		return domain.TypeDocument
	case "stickermessage":
		return domain.TypeSticker
	case "locationmessage", "livelocationmessage":
		return domain.TypeLocation
	case "contactmessage", "contactsarraymessage", "vcard", "multi_vcard":
		return domain.TypeContact
	case "pollcreationmessage", "pollcreationmessagev2", "pollcreationmessagev3", "poll_creation":
		return domain.TypePoll
	}
	return domain.TypeText // conversation, extendedTextMessage, chat, …
}

// content reads a text, or the object of a structured message as JSON; one
// that is too long to keep is as if it were not there.
func (b *body) content(to *string) {
	if b.kind() != '{' {
		b.note(to, maxContent)
		return
	}
	raw, ok := b.value()
	if !ok {
		return
	}
	document := raw.Clone() // the original is the body itself
	if err := document.Compact(); err != nil || len(document) > maxContent {
		return
	}
	*to = string(document)
}
