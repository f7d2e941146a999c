package httpapi

import (
	"context"

	"github.com/danielgtaylor/huma/v2"

	"github.com/switchyard-wa/switchyard/domain"
)

func actionRoutes() []route {
	acting := func(id, path, message, summary, description string) route {
		return route{
			id: id, method: post, path: path, tag: tagMessages, credential: apiKey, limit: perKey, message: message, summary: summary,
			description: description + " Fails with SESSION_NOT_CONNECTED if the session is not connected, with MESSAGE_NOT_FOUND for an unknown id of ours, " +
				"with RATE_LIMIT_EXCEEDED while the worker is busy, and with WORKER_TIMEOUT if the outcome is unknown.",
			errors: []domain.Code{domain.CodeSessionNotFound, domain.CodeMessageNotFound, domain.CodeSessionNotConnected, domain.CodeInvalidState, domain.CodeRateLimit,
				domain.CodeWorkerUnreachable, domain.CodeWorkerTimeout, domain.CodeWorkerCommunication, domain.CodeNoAvailableWorkers},
		}
	}
	return []route{
		operation(acting("sendSeen", "/sendSeen", "Marked as seen", "Mark a received message as seen",
			"Shows the sender of a received message that it was seen."), actInChat[seenBody]),
		operation(acting("startTyping", "/startTyping", "Typing", "Show that one is typing",
			"Shows the chat that a message is being typed, until it is sent or `POST /stopTyping`."), actInChat[startTypingBody]),
		operation(acting("stopTyping", "/stopTyping", "Typing stopped", "Show that one has stopped typing",
			"Ends what `POST /startTyping` began."), actInChat[stopTypingBody]),
		operation(route{
			id: "getOwnSessionStatus", method: get, path: "/session/status", tag: tagMessages, credential: apiKey, limit: perKey, message: "Session status",
			summary:     "The state of the key's own session",
			description: "Returns the status of the session that the API key belongs to, and that of its worker.",
			errors:      []domain.Code{domain.CodeSessionNotFound},
		}, (*api).ownStatus),
		operation(acting("deleteMessage", "/message/{messageId}/delete", "Message deleted", "Delete a message",
			"Deletes a message, for everyone in the chat if so asked."), actOnMessage[deleteBody]),
		operation(acting("unsendMessage", "/message/{messageId}/unsend", "Message unsent", "Take a sent message back",
			"Removes a message that was sent from the chat of the recipient."), actOnMessage[unsendBody]),
		operation(acting("editMessage", "/message/{messageId}/edit", "Message edited", "Change the text of a sent message",
			"Replaces the text of a message that was sent."), actOnMessage[editBody]),
		operation(acting("reactToMessage", "/message/{messageId}/reaction", "Reaction set", "React to a message",
			"Sets one emoji as the reaction to a message; an empty one removes it."), actOnMessage[reactionBody]),
		operation(acting("markMessageRead", "/message/{messageId}/read", "Message read", "Mark a message as read",
			"Marks a received message as read. The chat is named by `phone`, or by `jid` with the message's key."), actOnMessage[readBody]),
		operation(acting("starMessage", "/message/{messageId}/star", "Message starred", "Star a message",
			"Puts a star on a message."), actOnMessage[starBody]),
		operation(acting("unstarMessage", "/message/{messageId}/unstar", "Message unstarred", "Remove the star of a message",
			"Removes what `POST /message/{messageId}/star` has set."), actOnMessage[unstarBody]),
	}
}

// An actionBody is the body of a route that acts on a message or in a chat.
type actionBody interface {
	action() domain.Action
	refused(reason string) problems
}

// actsAtOnce says why a route that acts refuses the members about sending later.
const actsAtOnce = "cannot be given here: the action is done at once"

// chatInput is the input of a route that acts in a chat.
type chatInput[B actionBody] struct {
	Body   B
	action domain.Action
}

// Resolve applies the rules of the domain.
func (in *chatInput[B]) Resolve(huma.Context) []error {
	in.action = in.Body.action()
	p := in.Body.refused(actsAtOnce)
	p.merge(in.action.Validate())
	return p
}

func actInChat[B actionBody](a *api, ctx context.Context, c *requestContext, in *chatInput[B]) (actionView, error) {
	return a.perform(ctx, c, in.action)
}

// messageActionInput is the input of a route that acts on the message in the path.
type messageActionInput[B actionBody] struct {
	MessageID string `path:"messageId" doc:"WhatsApp's id of the message, or ours" example:"3EB0C767D26B"`
	Body      B
	action    domain.Action
}

// Resolve applies the rules of the domain.
func (in *messageActionInput[B]) Resolve(huma.Context) []error {
	in.action = in.Body.action()
	in.action.MessageID = in.MessageID // as it came: an id that was changed might be another message's
	p := in.Body.refused(actsAtOnce)
	if b, ok := any(in.Body).(reactionBody); ok && b.Emoji == nil {
		p.add("emoji", "Emoji is required; an empty one removes the reaction")
	}
	p.merge(in.action.Validate())
	return p
}

func actOnMessage[B actionBody](a *api, ctx context.Context, c *requestContext, in *messageActionInput[B]) (actionView, error) {
	return a.perform(ctx, c, in.action)
}

type actionView struct {
	SessionID string            `json:"sessionId" example:"support"`
	Action    domain.ActionType `json:"action" example:"star"`
	MessageID string            `json:"messageId,omitzero" example:"3EB0C767D26B"`
	To        domain.JID        `json:"to,omitzero" doc:"The chat" example:"6289999999999@s.whatsapp.net"`
}

func (a *api) perform(ctx context.Context, c *requestContext, action domain.Action) (actionView, error) {
	return actionView{SessionID: c.key.SessionID, Action: action.Type, MessageID: action.MessageID, To: chatOf(action)},
		a.Messages.PerformAction(ctx, c.sender(), action)
}

// chatOf returns the chat of an action.
func chatOf(a domain.Action) domain.JID {
	chat := a.Phone
	if chat == "" {
		chat = a.JID
	}
	jid, err := domain.ParseChat(chat)
	if err != nil {
		return ""
	}
	return jid
}

type seenBody struct {
	To        string `json:"to" minLength:"1" doc:"The chat: an international number or a JID" example:"6289999999999"`
	MessageID string `json:"messageId" minLength:"1" doc:"WhatsApp's id of the message, or ours" example:"3EB0C767D26B"`
	Immediate
}

func (b seenBody) action() domain.Action {
	return domain.Action{Type: domain.ActionSeen, Phone: b.To, MessageID: b.MessageID}
}

// Chat names the chat in which one is typing.
type Chat struct {
	To string `json:"to" minLength:"1" doc:"The chat: an international number or a JID" example:"6289999999999"`
	Immediate
}

type startTypingBody struct{ Chat }

func (b startTypingBody) action() domain.Action {
	return domain.Action{Type: domain.ActionTypingStart, Phone: b.To}
}

type stopTypingBody struct{ Chat }

func (b stopTypingBody) action() domain.Action {
	return domain.Action{Type: domain.ActionTypingStop, Phone: b.To}
}

// Phone names the chat of a message.
type Phone struct {
	Phone string `json:"phone" minLength:"1" doc:"The chat: an international number or a JID" example:"6289999999999"`
	MessageRef
}

func (b *Phone) action(kind domain.ActionType) domain.Action {
	return b.MessageRef.action(kind, b.Phone)
}

// MessageRef is how WhatsApp names a message.
type MessageRef struct {
	JID        string          `json:"jid,omitempty" doc:"The chat's JID" example:"6289999999999@s.whatsapp.net"`
	MessageKey *messageKeyBody `json:"messageKey,omitempty" doc:"The message's key, where the worker reported one"`
	Immediate
}

func (r *MessageRef) action(kind domain.ActionType, phone string) domain.Action {
	a := domain.Action{Type: kind, Phone: phone, JID: r.JID}
	if k := r.MessageKey; k != nil {
		a.MessageKey = &domain.MessageKey{RemoteJID: k.RemoteJID, FromMe: k.FromMe, ID: k.ID, Participant: k.Participant}
	}
	return a
}

type deleteBody struct {
	Phone
	ForEveryone bool `json:"forEveryone,omitempty" example:"true"`
}

func (b deleteBody) action() domain.Action {
	action := b.Phone.action(domain.ActionDelete)
	action.ForEveryone = b.ForEveryone
	return action
}

type unsendBody struct {
	Phone
	ForEveryone bool `json:"forEveryone,omitempty" example:"true"`
}

func (b unsendBody) action() domain.Action {
	action := b.Phone.action(domain.ActionUnsend)
	action.ForEveryone = b.ForEveryone
	return action
}

type editBody struct {
	Phone
	NewText string `json:"newText" minLength:"1" maxLength:"4096" example:"Your code is 654321."`
}

func (b editBody) action() domain.Action {
	action := b.Phone.action(domain.ActionEdit)
	action.NewText = b.NewText
	return action
}

type reactionBody struct {
	Emoji *string `json:"emoji" nullable:"false" doc:"One emoji; empty to remove the reaction" example:"👍"`
	Phone
}

func (b reactionBody) action() domain.Action {
	action := b.Phone.action(domain.ActionReaction)
	if b.Emoji != nil {
		action.Emoji = *b.Emoji
	}
	return action
}

type readBody struct {
	Phone string `json:"phone,omitempty" doc:"The chat; not needed with jid" example:"6289999999999"`
	MessageRef
}

type messageKeyBody struct {
	RemoteJID   string `json:"remoteJid,omitempty" doc:"The chat" example:"6289999999999@s.whatsapp.net"`
	FromMe      bool   `json:"fromMe,omitempty" example:"false"`
	ID          string `json:"id,omitempty" doc:"WhatsApp's id of the message, or ours" example:"3EB0C767D26B"`
	Participant string `json:"participant,omitempty" doc:"The author, in a group" example:"6289999999999@s.whatsapp.net"`
}

func (b readBody) action() domain.Action {
	return b.MessageRef.action(domain.ActionRead, b.Phone)
}

type starBody struct{ Phone }

func (b starBody) action() domain.Action { return b.Phone.action(domain.ActionStar) }

type unstarBody struct{ Phone }

func (b unstarBody) action() domain.Action { return b.Phone.action(domain.ActionUnstar) }
