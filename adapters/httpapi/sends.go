package httpapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
)

const (
	sentMessage     = "Message sent"
	acceptedMessage = "Message accepted; it is sent later"

	sendDescription = "`to` is an international number or a JID. The message is recorded before it is forwarded, and is never sent twice by the " +
		"server. With WORKER_TIMEOUT the outcome is unknown: the message stays PENDING, `details` has its id, and a later report settles it. " +
		"Fails with SESSION_NOT_CONNECTED if the session is not connected, with WORKER_UNREACHABLE if its worker is offline, with " +
		"MESSAGE_SEND_FAILED if the worker fails, with VALIDATION_ERROR if it never sends such a message, with RATE_LIMIT_EXCEEDED while it is busy, and with " +
		"MESSAGE_LIMIT_EXCEEDED if the tier's messages of this hour are used up. A reply to a message of the history that is not there fails with " +
		"MESSAGE_NOT_FOUND; a reply or a mention by a worker that cannot send them with INVALID_STATE. With the header `Idempotency-Key` (1 to 255 printable ASCII characters) " +
		"a send may be repeated for 24 hours: a repeat with the same body sends nothing and is answered by what has become of the message, with the header " +
		"`Idempotency-Replayed: true`. With another body it fails with IDEMPOTENCY_CONFLICT. A key stands for the message that was recorded with it, even if " +
		"that failed: give a new key to send it again. A request that was refused before that leaves its key free. " + laterDescription

	laterDescription = "With `sendAt` or `queue` the message waits in the session's queue, and the answer is 202 with status PENDING and our id; a repeat with its key is " +
		"answered 202 with its present state. Messages of a session leave the queue in the order of `sendAt`, or of acceptance, while the session is connected. One that " +
		"cannot be sent yet holds up the later ones; a message without `sendAt` and `queue` does not wait for them. A message counts in the hour in which it is forwarded, and waits for the next " +
		"one when that hour is used up. At its `deadline` it is FAILED, and `errorMessage` says what it was waiting for. It enters the history when it leaves the queue. " +
		"1000 messages of a session and 100 MiB of a user may wait; more fail with MESSAGE_LIMIT_EXCEEDED. A file of a form that waits may have at most 16 MiB."
)

// sendErrors are what any send can fail with.
var sendErrors = []domain.Code{domain.CodeSessionNotFound, domain.CodeSessionNotConnected, domain.CodeInvalidState, domain.CodeIdempotencyConflict, domain.CodeMessageNotFound, domain.CodeMessageLimit, domain.CodeRateLimit,
	domain.CodeWorkerUnreachable, domain.CodeWorkerTimeout, domain.CodeWorkerCommunication, domain.CodeMessageSendFailed, domain.CodeNoAvailableWorkers}

func messageRoutes() []route {
	sending := func(id, path, what, description string, kind domain.MessageType) route {
		return route{
			id: id, method: post, path: path, tag: tagMessages, credential: apiKey, limit: perKey, message: sentMessage,
			media: kind.MaxMedia() > 0, file: fileOf(kind),
			hot: true, summary: "Send " + what, description: description + sendDescription, errors: sendErrors,
		}
	}
	const byMedia = "The media comes by URL, as base64 in `media`, or as the file `media` of a form (multipart/form-data) whose fields are the other members. It is not kept. Media that is sent along is checked by its content, whatever it is declared to be. "
	return []route{
		operation(sending("sendText", "/sendText", "a text", "", domain.TypeText), send[textBody]),
		operation(sending("sendImage", "/sendImage", "an image", byMedia, domain.TypeImage), send[imageBody]),
		operation(sending("sendFile", "/sendFile", "a document", byMedia, domain.TypeDocument), send[fileBody]),
		operation(sending("sendVoice", "/sendVoice", "a voice message", byMedia, domain.TypeAudio), send[voiceBody]),
		operation(sending("sendVideo", "/sendVideo", "a video", byMedia, domain.TypeVideo), send[videoBody]),
		operation(sending("sendSticker", "/sendSticker", "a sticker", byMedia, domain.TypeSticker), send[stickerBody]),
		operation(sending("sendLocation", "/sendLocation", "a location", "", domain.TypeLocation), send[sendLocationBody]),
		operation(sending("sendContactVcard", "/sendContactVcard", "a contact", "", domain.TypeContact), send[vcardBody]),
		operation(sending("sendLink", "/sendLink", "a link with a preview", "", domain.TypeLink), send[sendLinkBody]),
		operation(sending("sendPoll", "/sendPoll", "a poll", "", domain.TypePoll), send[sendPollBody]),
	}
}

// fileOf returns the size of the file that a form may have, for a route that sends
// messages of a type. A sticker that is too large is told by its own rule.
func fileOf(kind domain.MessageType) int64 {
	if kind.MaxMedia() == 0 {
		return 0
	}
	return max(kind.MaxMedia(), domain.MaxMediaSize)
}

// sentView is the answer to a send.
type sentView struct {
	ID        string               `json:"id" doc:"Our id" example:"01JX3B5ZKQ7M"`
	MessageID view.String          `json:"messageId" doc:"The id by which WhatsApp knows the message; null while it is PENDING" example:"3EB0C767D26B"`
	SessionID string               `json:"sessionId" example:"support"`
	To        string               `json:"to" doc:"The recipient's JID" example:"6281234567890@s.whatsapp.net"`
	Type      domain.MessageType   `json:"type" example:"text"`
	Status    domain.MessageStatus `json:"status" doc:"PENDING, SENT, DELIVERED, READ or FAILED" example:"SENT"`
	Timestamp view.Time            `json:"timestamp" doc:"When it was sent; when it was recorded, while it is PENDING"`
}

func viewSent(m *domain.Message) sentView {
	at := m.SentAt
	if at.IsZero() {
		at = m.CreatedAt
	}
	return sentView{
		ID: m.ID, MessageID: view.String(m.WhatsAppID), SessionID: m.SessionID, To: m.To, Type: m.Type,
		Status: m.Status, Timestamp: view.Time(at),
	}
}

// An outgoingBody is the body of a route that sends.
type outgoingBody interface {
	// outgoing returns the message.
	outgoing() *domain.Outgoing
	// names returns the route's names of fields that domain names otherwise.
	names() map[string]string
	// scheduleProblems returns the problems of sendAt, queue and deadline.
	scheduleProblems() problems
}

// sendInput is the input of a route that sends by API key.
type sendInput[B outgoingBody] struct {
	Body    B
	message *domain.Outgoing
}

// Resolve makes the message. The service checks its rules; they are checked here
// only to be told together with what else is wrong.
func (in *sendInput[B]) Resolve(ctx huma.Context) []error {
	c := contextOf(ctx.Context())
	in.message = in.Body.outgoing()
	c.body.upload.attach(in.message)
	c.rules = in.rules
	return in.Body.scheduleProblems()
}

func (in *sendInput[B]) rules() []error {
	return checkMessage(in.message, in.Body.names(), in.Body.scheduleProblems())
}

// checkMessage returns the problems of a message, and those of its schedule.
func checkMessage(m *domain.Outgoing, names map[string]string, schedule problems) []error {
	var p problems
	p.merge(renamed(m.Validate(), names))
	return append(p, schedule...)
}

// send handles the routes that send by API key.
func send[B outgoingBody](a *api, ctx context.Context, c *requestContext, in *sendInput[B]) (sentView, error) {
	return a.sendMessage(ctx, c, in.message, in.Body.names())
}

// sendAnyInput is the input of the route for any type of message.
type sendAnyInput struct {
	SessionPath
	Body    AnyBody
	message *domain.Outgoing
}

// Resolve makes the message, as [sendInput] does.
func (in *sendAnyInput) Resolve(ctx huma.Context) []error {
	c := contextOf(ctx.Context())
	in.message = in.Body.outgoing()
	c.body.upload.attach(in.message)
	c.rules = in.rules
	return in.Body.scheduleProblems()
}

func (in *sendAnyInput) rules() []error {
	return checkMessage(in.message, genericNames, in.Body.scheduleProblems())
}

func (a *api) sendAny(ctx context.Context, c *requestContext, in *sendAnyInput) (sentView, error) {
	return a.sendMessage(ctx, c, in.message, genericNames)
}

func (a *api) sendMessage(ctx context.Context, c *requestContext, m *domain.Outgoing, names map[string]string) (sentView, error) {
	if err := m.CheckQueueable(); err != nil {
		return sentView{}, refuse(http.StatusRequestEntityTooLarge, domain.CodeValidation, "media", "A file that is sent later may have at most 16 MiB; give its URL instead")
	}
	sent, err := a.sendByKey(ctx, c, m)
	if err != nil {
		return sentView{}, withMessageID(renamed(err, names), sent)
	}
	if m.Schedule != nil {
		c.success, c.message = http.StatusAccepted, acceptedMessage
		return viewSent(sent), nil
	}
	if sent.Status == domain.MessagePending {
		c.message = "Message accepted; the worker has not confirmed that it was sent"
	}
	return viewSent(sent), nil
}

// The headers of sends that may be repeated.
const (
	idempotencyKey = "Idempotency-Key"
	replayed       = "Idempotency-Replayed"
)

// sendByKey sends a message, once if the request has an idempotency key.
func (a *api) sendByKey(ctx context.Context, c *requestContext, m *domain.Outgoing) (*domain.Message, error) {
	key, isGiven, err := c.idempotencyKey()
	if err != nil {
		return nil, err
	}
	if !isGiven {
		return a.Messages.Send(ctx, c.sender(), m)
	}
	sent, isReplay, err := a.Messages.SendOnce(ctx, c.sender(), key, m)
	if isReplay {
		c.w.Header().Set(replayed, "true")
	}
	return sent, err
}

// idempotencyKey returns the idempotency key of the request. Whoever uses the key checks it.
func (c *requestContext) idempotencyKey() (key string, isGiven bool, err error) {
	keys := c.r.Header[idempotencyKey]
	switch len(keys) {
	case 0:
		return "", false, nil
	case 1:
		return keys[0], true, nil
	}
	return "", false, refuse(http.StatusBadRequest, domain.CodeValidation, idempotencyKey, "Give one Idempotency-Key, not several")
}

// withMessageID adds the id of the message whose outcome is unknown. The sender can
// look it up.
func withMessageID(err error, m *domain.Message) error {
	var e *domain.Error
	if m == nil || m.ID == "" || !errors.As(err, &e) || e.Kind != domain.Timeout {
		return err
	}
	c := *e
	c.Fields = append(c.Fields[:len(c.Fields):len(c.Fields)], domain.FieldError{Field: "id", Message: m.ID})
	return &c
}
