package httpapi

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// sessionReportBody is a worker's report on a session.
type sessionReportBody struct {
	Incomplete         `json:"-"`
	SessionID          lenientString     `json:"sessionId" example:"\"support\""`
	Status             reportedStatus    `json:"status"`
	QRCode             qrString          `json:"qrCode,omitempty" doc:"The QR code: its text, or a PNG as a data URL" example:"\"2@Zx81kQ0Vqf6h\""`
	QRString           qrString          `json:"qrString,omitempty" doc:"The QR code's text" example:"\"2@Zx81kQ0Vqf6h\""`
	PairingCode        lenientString     `json:"pairingCode,omitempty" example:"\"ABCD-1234\""`
	PhoneNumber        lenientString     `json:"phoneNumber,omitempty" example:"\"6281234567890\""`
	DisplayName        lenientString     `json:"displayName,omitempty" example:"\"Ada's shop\""`
	WorkerID           lenientString     `json:"workerId,omitempty" example:"\"worker-1\""`
	Timestamp          lenientTime       `json:"timestamp,omitempty"`
	Reason             lenientString     `json:"reason,omitempty"`
	Error              lenientString     `json:"error,omitempty"`
	LoggedOutAt        lenientTime       `json:"loggedOutAt,omitempty"`
	LoggedOutFromPhone lenientBool       `json:"loggedOutFromPhone,omitempty"`
	Generation         lenientGeneration `json:"generation,omitempty" example:"3"`
}

// report returns a report that is received at now; a QR in it is good for life.
func (b *sessionReportBody) report(now time.Time, life time.Duration) domain.Report {
	r := domain.Report{
		SessionID: b.SessionID.sessionRef(), Status: b.Status.status, PairingCode: b.PairingCode.cut(maxWord),
		PhoneNumber: b.PhoneNumber.phone(), DisplayName: b.DisplayName.cut(maxID), WorkerID: b.WorkerID.workerRef(),
		At: b.Timestamp.at, Reason: b.Reason.cut(maxWorkerText), Error: b.Error.cut(maxWorkerText), Generation: b.Generation.value,
		LoggedOut: b.Status.loggedOut || bool(b.LoggedOutFromPhone) || !b.LoggedOutAt.at.IsZero(),
	}
	qr, err := domain.ParseQR(string(b.QRCode), string(b.QRString), now, life)
	if err != nil {
		qr, _ = domain.ParseQR(string(b.QRCode), "", now, life) // the other may be all right
	}
	r.QR = qr
	return r
}

type sessionReportInput struct {
	Body     sessionReportBody
	warnings warnings
}

// Resolve checks the required members. An unknown status or an unusable generation is a
// warning, and the report changes nothing.
func (in *sessionReportInput) Resolve(ctx huma.Context) []error {
	var p problems
	b := &in.Body
	if b.SessionID.sessionRef() == "" {
		p.addMissing("sessionId", "Session ID")
	}
	switch {
	case b.Status.status != "":
	case b.Status.problem() == noStatus:
		p.addMissing("status", "Status")
	default:
		in.warnings.add("The report %s", b.Status.problem())
	}
	in.warnings.addProblem("The report", b.Generation.problem())
	p.addIncomplete(&in.warnings, contextOf(ctx.Context()).incompleteReason(b.Incomplete))
	return p
}

type sessionReportedView struct {
	SessionID string      `json:"sessionId" example:"support"`
	Status    view.String `json:"status" example:"CONNECTED"`
	Applied   bool        `json:"applied" doc:"False if the report is stale, not by the session's worker, or of an unknown status or unusable generation" example:"true"`
	Warnings  []string    `json:"warnings,omitempty" doc:"What could not be used"`
}

func (a *api) sessionReport(ctx context.Context, c *requestContext, in *sessionReportInput) (sessionReportedView, error) {
	workerID, err := c.authorizeWorker(in.Body.WorkerID.workerRef())
	if err != nil {
		return sessionReportedView{}, err
	}
	r := in.Body.report(c.start, a.QRLife)
	r.WorkerID = workerID
	c.logWarnings(workerID, in.warnings)
	v := sessionReportedView{SessionID: r.SessionID, Status: view.String(r.Status), Warnings: in.warnings.texts}
	switch {
	case r.Status == "":
		c.message = "Session status ignored: unknown"
		return v, nil
	case in.Body.Generation.problem() != "":
		c.message = "Session status ignored: unusable generation"
		return v, nil
	}
	r.QR = a.decodeQR(ctx, c, &r)
	outcome, err := a.Protocol.ReportSession(ctx, r)
	if err != nil {
		return sessionReportedView{}, err
	}
	switch outcome {
	case domain.Applied, domain.Repeated, domain.Unchanged:
		v.Applied = true
	default:
		c.message = "Session status ignored: " + outcome.String()
	}
	return v, nil
}

// decodeQR returns the QR of a report, with its text if it came as a picture that can be
// decoded. The picture is decoded only if the session is assigned to the worker. It stays
// a picture while too many others are decoded.
func (a *api) decodeQR(ctx context.Context, c *requestContext, r *domain.Report) domain.QR {
	if r.QR.Code != "" || len(r.QR.Image) == 0 || !a.isAssigned(ctx, r.WorkerID, r.SessionID) {
		return r.QR
	}
	release, err := a.queues[decoding].Acquire(ctx, c.shareKey())
	if err != nil {
		return r.QR
	}
	defer release()
	return decodePicture(r.QR)
}

// isAssigned reports whether a session is assigned to a worker. An empty worker id stands
// for any worker: legacy workers do not name themselves.
func (a *api) isAssigned(ctx context.Context, workerID, sessionID string) bool {
	if workerID == "" {
		return true
	}
	assigned, err := a.Protocol.AssignedSessions(ctx, workerID)
	return err == nil && slices.ContainsFunc(assigned, func(s service.AssignedSession) bool { return s.ID == sessionID })
}

// whatsAppID returns WhatsApp's id of a message, or "" if a store cannot keep it as it is.
// Two ids that were cut might be equal.
func whatsAppID(s lenientString) string {
	if s.cut(maxID) != string(s) {
		return ""
	}
	return string(s)
}

// addUnusableID adds the problem of a message id that is missing or cannot be kept.
func (p *problems) addUnusableID(s lenientString) {
	if s != "" {
		p.add("messageId", "messageId must be an id of at most %d bytes", maxID)
		return
	}
	p.addMissing("messageId", "Message ID")
}

// messageReportBody is a worker's report on the status of a message.
type messageReportBody struct {
	Incomplete      `json:"-"`
	SessionID       lenientString `json:"sessionId" example:"\"support\""`
	MessageID       lenientString `json:"messageId,omitempty" doc:"WhatsApp's id; required without clientMessageId" example:"\"3EB0C767D26B\""`
	ClientMessageID lenientString `json:"clientMessageId,omitempty" doc:"Our id, from the send" example:"\"01JX3B5ZKQ7M\""`
	WorkerID        lenientString `json:"workerId,omitempty" example:"\"worker-1\""`
	Status          lenientString `json:"status" doc:"PENDING, SENT, DELIVERED, READ or FAILED, in any case" example:"\"DELIVERED\""`
	Timestamp       lenientTime   `json:"timestamp,omitempty"`
	DeliveredAt     lenientTime   `json:"deliveredAt,omitempty"`
	ReadAt          lenientTime   `json:"readAt,omitempty"`
	ErrorMessage    lenientString `json:"errorMessage,omitempty"`
}

type messageReportInput struct {
	Body     messageReportBody
	report   domain.MessageReport
	warnings warnings
}

// Resolve checks the required members. An unknown status is a warning, and changes
// nothing.
func (in *messageReportInput) Resolve(ctx huma.Context) []error {
	var p problems
	b := &in.Body
	r := domain.MessageReport{
		SessionID: b.SessionID.sessionRef(), WhatsAppID: whatsAppID(b.MessageID), ID: b.ClientMessageID.cut(maxID), At: b.Timestamp.at,
		DeliveredAt: b.DeliveredAt.at, ReadAt: b.ReadAt.at, Error: b.ErrorMessage.cut(maxWorkerText),
	}
	if r.SessionID == "" {
		p.addMissing("sessionId", "Session ID")
	}
	if r.WhatsAppID == "" && r.ID == "" {
		p.addUnusableID(b.MessageID)
	}
	word := clean(strings.TrimSpace(string(b.Status)), 40)
	status, err := domain.ParseMessageStatus(word)
	switch {
	case word == "":
		p.addMissing("status", "Status")
	case err != nil:
		in.warnings.add("The report has the unknown status %q", word)
	}
	r.Status = status
	in.report = r
	p.addIncomplete(&in.warnings, contextOf(ctx.Context()).incompleteReason(b.Incomplete))
	return p
}

type messageReportedView struct {
	SessionID string      `json:"sessionId" example:"support"`
	MessageID string      `json:"messageId" example:"3EB0C767D26B"`
	Status    view.String `json:"status" example:"DELIVERED"`
	Applied   bool        `json:"applied" doc:"False if it would take the status back, or is of an unknown status" example:"true"`
	Warnings  []string    `json:"warnings,omitempty" doc:"What could not be used"`
}

func (a *api) messageReport(ctx context.Context, c *requestContext, in *messageReportInput) (messageReportedView, error) {
	r := in.report
	var err error
	r.WorkerID, err = c.authorizeWorker(in.Body.WorkerID.workerRef())
	if err != nil {
		return messageReportedView{}, err
	}
	c.logWarnings(r.WorkerID, in.warnings)
	v := messageReportedView{r.SessionID, r.WhatsAppID, view.String(r.Status), false, in.warnings.texts}
	if r.Status == "" {
		c.message = "Message status ignored: unknown"
		return v, nil
	}
	v.Applied, err = a.Protocol.ReportMessage(ctx, r)
	return v, err
}

// inboundBody is a message that a worker received.
type inboundBody struct {
	Incomplete `json:"-"`
	SessionID  lenientString  `json:"sessionId" example:"\"support\""`
	MessageID  lenientString  `json:"messageId" doc:"WhatsApp's id" example:"\"3EB0C767D26B\""`
	WorkerID   lenientString  `json:"workerId,omitempty" example:"\"worker-1\""`
	From       lenientString  `json:"from" example:"\"6289999999999@s.whatsapp.net\""`
	To         lenientString  `json:"to,omitempty" example:"\"6281234567890@s.whatsapp.net\""`
	Type       lenientString  `json:"type,omitempty" doc:"A type of message as we name it or as WhatsApp does; an unknown or missing one is text" example:"\"text\""`
	Content    inboundContent `json:"content,omitempty"`
	MediaURL   lenientString  `json:"mediaUrl,omitempty"`
	Media      inboundMedia   `json:"media,omitempty"`
	Caption    lenientString  `json:"caption,omitempty"`
	Inbound
	Timestamp  lenientTime       `json:"timestamp,omitempty" doc:"RFC 3339, or milliseconds (or seconds) since 1970; otherwise the time of arrival counts"`
	Generation lenientGeneration `json:"generation,omitempty" example:"3"`
}

const maxContent = 64 << 10 // bytes of a message that is kept

// inboundContent is a text, or the object of a structured message as JSON. One
// that is too long to keep counts as missing.
type inboundContent string

// UnmarshalJSONFrom reads the content.
func (c *inboundContent) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != jsontext.KindBeginObject {
		return (*lenientString)(c).UnmarshalJSONFrom(dec)
	}
	raw, err := dec.ReadValue()
	if err != nil {
		return err
	}
	document := raw.Clone() // the original is the body itself
	if err := document.Compact(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)); err == nil && len(document) <= maxContent {
		*c = inboundContent(document)
	}
	return nil
}

// Schema describes the content.
func (inboundContent) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "The text, or the object of a location, contact, link or poll", Examples: []any{"hello"}}
}

type inboundInput struct {
	Body     inboundBody
	message  service.InboundMessage
	warnings warnings
}

// Resolve checks the members without which a message cannot be stored.
func (in *inboundInput) Resolve(ctx huma.Context) []error {
	var p problems
	b := &in.Body
	kind, content := b.kindAndContent(inboundType(b.Type.cut(maxWord)), b.Content)
	m := service.InboundMessage{
		SessionID: b.SessionID.sessionRef(), WhatsAppID: whatsAppID(b.MessageID), From: b.From.cut(maxID), To: b.To.cut(maxID),
		Type: kind, Content: lenientString(content).cut(maxContent), MediaURL: b.MediaURL.cut(2048), Media: b.Media.ref(),
		Caption: b.Caption.cut(maxContent), Filename: b.Filename.cut(maxID), Relations: b.relations(kind, b.Content), At: b.Timestamp.at, Generation: b.Generation.value,
	}
	if m.SessionID == "" {
		p.addMissing("sessionId", "Session ID")
	}
	if m.WhatsAppID == "" {
		p.addUnusableID(b.MessageID)
	}
	if m.From == "" {
		p.addMissing("from", "From")
	}
	in.message = m
	in.warnings.addProblem("The message", b.Generation.problem())
	p.addIncomplete(&in.warnings, contextOf(ctx.Context()).incompleteReason(b.Incomplete))
	return p
}

type receivedView struct {
	SessionID string `json:"sessionId" example:"support"`
	MessageID string `json:"messageId" example:"3EB0C767D26B"`
	Stored    bool   `json:"stored" doc:"False if it was stored before, or is of another or an unusable generation" example:"true"`

	Warnings []string `json:"warnings,omitempty" doc:"What could not be used"`
}

func (a *api) messageReceived(ctx context.Context, c *requestContext, in *inboundInput) (receivedView, error) {
	m := in.message
	var err error
	m.WorkerID, err = c.authorizeWorker(in.Body.WorkerID.workerRef())
	if err != nil {
		return receivedView{}, err
	}
	c.logWarnings(m.WorkerID, in.warnings)
	v := receivedView{m.SessionID, m.WhatsAppID, false, in.warnings.texts}
	if in.Body.Generation.problem() != "" {
		c.message = "Message ignored: unusable generation"
		return v, nil
	}
	v.Stored, err = a.Protocol.ReceiveMessage(ctx, m)
	return v, err
}

// inboundType is the type of a message that came in, which workers name as we
// do or as WhatsApp does. An unknown name is text.
func inboundType(word string) domain.MessageType {
	if t, err := domain.ParseHistoryType(word); err == nil {
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
	case "pollupdatemessage", "pollvote", "poll_update":
		return domain.TypePollVote
	case "reactionmessage":
		return domain.TypeReaction
	case "editedmessage", "edited":
		return domain.TypeEdit
	case "revoked", "deleted", "delete":
		return domain.TypeDeletion
	}
	return domain.TypeText // conversation, extendedTextMessage, chat, …
}
