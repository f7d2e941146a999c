package httpapi

import (
	"cmp"
	"context"

	"github.com/danielgtaylor/huma/v2"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	getScheduledDescription = "Returns the message while it waits. Afterwards it is in the history. " +
		"Fails with INVALID_STATE once the message has left the queue; the error says what has become of it."
	updateScheduledDescription = "Changes what is given, and checks the message as if it were sent. The type stays: content of another type is refused, as are members of a send that the change does not take. A new `sendAt` moves the deadline along unless one is given. " +
		"Fails with INVALID_STATE once the message has left the queue; the error says what has become of it."
	cancelScheduledDescription = "Removes the message, which is not sent. Fails with INVALID_STATE once it has left the queue; the error says what has become of it."
)

func scheduledRoutes() []route {
	const all, one = "/sessions/{id}/scheduled", "/sessions/{id}/scheduled/{messageId}"
	of := func(id, method, path, message, summary, description string, codes ...domain.Code) route {
		return route{
			id: id, method: method, path: path, tag: tagMessages, credential: user, limit: perUser, message: message,
			summary: summary, description: description, errors: append([]domain.Code{domain.CodeSessionNotFound}, codes...),
		}
	}
	update := of("updateScheduledMessage", put, one, "Message changed", "Change a message that waits", updateScheduledDescription,
		domain.CodeMessageNotFound, domain.CodeInvalidState, domain.CodeMessageLimit)
	update.media = true
	return []route{
		operation(of("listScheduledMessages", get, all, "Scheduled messages", "The messages that wait",
			"Lists the messages with `sendAt` or `queue` that wait, in the order in which they are sent."), (*api).scheduled),
		operation(of("getScheduledMessage", get, one, "Scheduled message", "One message that waits",
			getScheduledDescription,
			domain.CodeMessageNotFound, domain.CodeInvalidState), (*api).scheduledByID),
		operation(update, (*api).updateScheduled),
		operation(of("cancelScheduledMessage", del, one, "Message cancelled", "Cancel a message that waits", cancelScheduledDescription,
			domain.CodeMessageNotFound, domain.CodeInvalidState), (*api).cancelScheduled),
	}
}

type scheduledView struct {
	ID        string               `json:"id" doc:"Our id, which the message keeps" example:"01JX3B5ZKQ7M"`
	SessionID string               `json:"sessionId" example:"support"`
	To        string               `json:"to" doc:"The recipient's JID" example:"6281234567890@s.whatsapp.net"`
	Type      domain.MessageType   `json:"type" example:"text"`
	Status    domain.MessageStatus `json:"status" doc:"PENDING" example:"PENDING"`
	SendAt    view.Time            `json:"sendAt" doc:"Not sent before this time"`
	Deadline  view.Time            `json:"deadline" doc:"FAILED at this time, unless it was sent"`
	CreatedAt view.Time            `json:"createdAt"`
	Content   view.MessageContent  `json:"content"`
	MediaURL  view.String          `json:"mediaUrl" example:"https://example.com/a.png"`
	Filename  view.String          `json:"filename" example:"a.pdf"`
	Caption   view.String          `json:"caption" example:"The invoice"`
	Attempts  int                  `json:"attempts" doc:"How often a worker was given the message and certainly did not send it" example:"0"`
	Size      int64                `json:"size" doc:"Bytes, with media that is not given by URL" example:"530"`
}

func viewScheduled(q *domain.QueuedMessage) scheduledView {
	m := q.NewMessage(q.CreatedAt)
	return scheduledView{
		ID: q.ID, SessionID: q.SessionID, To: m.To, Type: m.Type, Status: m.Status, SendAt: view.Time(q.SendAt), Deadline: view.Time(q.Deadline),
		CreatedAt: view.Time(q.CreatedAt), Content: view.Content(m), MediaURL: view.String(m.MediaURL), Filename: view.String(m.Filename),
		Caption: view.String(m.Caption), Attempts: q.Attempts, Size: q.Size,
	}
}

type scheduledInput struct {
	SessionPath
	Cursor string `query:"cursor" doc:"nextCursor of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"100" doc:"How many to return; 20 if it is not given" example:"20"`
	after  domain.Cursor
}

// Resolve reads the parameters.
func (in *scheduledInput) Resolve(huma.Context) []error {
	var p problems
	parse(&p, "cursor", in.Cursor, &in.after, domain.ParseCursor)
	return p
}

type scheduledListView struct {
	Messages   []scheduledView `json:"messages"`
	NextCursor view.String     `json:"nextCursor" doc:"Null on the last page" example:"AAYxyz"`
}

func (a *api) scheduled(ctx context.Context, c *requestContext, in *scheduledInput) (scheduledListView, error) {
	list, next, err := a.Scheduled.List(ctx, c.principal.UserID, c.sessionRef(), in.after, cmp.Or(in.Limit, defaultLimit))
	if err != nil {
		return scheduledListView{}, err
	}
	v := scheduledListView{Messages: make([]scheduledView, len(list)), NextCursor: view.String(next.String())}
	for i, m := range list {
		v.Messages[i] = viewScheduled(m)
	}
	return v, nil
}

// ScheduledPath names a message that waits.
type ScheduledPath struct {
	SessionPath
	MessageID string `path:"messageId" doc:"Our id of the message" example:"01JX3B5ZKQ7M"`
}

func (a *api) scheduledByID(ctx context.Context, c *requestContext, _ *ScheduledPath) (scheduledView, error) {
	return shownScheduled(a.Scheduled.Get(ctx, c.principal.UserID, c.sessionRef(), c.pathText("messageId")))
}

// shownScheduled returns the view of a message, or the error.
func shownScheduled(m *domain.QueuedMessage, err error) (scheduledView, error) {
	if err != nil {
		return scheduledView{}, err
	}
	return viewScheduled(m), nil
}

// ScheduledBody lists the changes of a message that waits. Members that are left out stay.
type ScheduledBody struct {
	SendAt   *string      `json:"sendAt,omitempty" doc:"RFC 3339, at most 30 days ahead" example:"2026-03-01T18:00:00Z"`
	Deadline *string      `json:"deadline,omitempty" doc:"How long it waits at most, from sendAt on: a length of time such as 90m, or seconds; or a time in RFC 3339" example:"2h"`
	To       *string      `json:"to,omitempty" doc:"An international number or a JID" example:"6281234567890"`
	Message  *string      `json:"message,omitempty" doc:"Of a text, at most 4096 characters" example:"Your code is 123456."`
	MediaURL *string      `json:"mediaUrl,omitempty" doc:"Of media: replaces URL and media"`
	Media    *string      `json:"media,omitempty" doc:"Of media: replaces URL and media by base64"`
	Caption  *string      `json:"caption,omitempty" doc:"Of an image, document or video, at most 1024 characters"`
	Filename *string      `json:"filename,omitempty" doc:"Of a document, without a path"`
	Location *anyPlace    `json:"location,omitempty"`
	Contact  *contactBody `json:"contact,omitempty"`
	Link     *anyLink     `json:"link,omitempty"`
	Poll     *anyPoll     `json:"poll,omitempty"`
	Unchangeable
}

// changesContent reports whether the body has anything but times.
func (b *ScheduledBody) changesContent() bool {
	return b.To != nil || b.Message != nil || b.MediaURL != nil || b.Media != nil || b.Caption != nil || b.Filename != nil ||
		b.Location != nil || b.Contact != nil || b.Link != nil || b.Poll != nil
}

// edit applies the body to a message, unless the body has content of another type.
func (b *ScheduledBody) edit(m *domain.Outgoing) error {
	if err := b.checkMembersOf(m.Type); err != nil {
		return err
	}
	replace(&m.To, b.To)
	replace(&m.Text, b.Message)
	if b.MediaURL != nil || b.Media != nil {
		m.MediaURL, m.Media, m.Upload, m.MediaType = "", "", nil, ""
	}
	replace(&m.MediaURL, b.MediaURL)
	replace(&m.Media, b.Media)
	replace(&m.Caption, b.Caption)
	replace(&m.Filename, b.Filename)
	if b.Location != nil {
		m.Location = (*Place)(b.Location).location()
	}
	if b.Contact != nil {
		m.Contact = b.Contact.contact()
	}
	if b.Link != nil {
		m.Link = (*Link)(b.Link).link()
	}
	if b.Poll != nil {
		m.Poll = (*pollBody)(b.Poll).poll()
	}
	return nil
}

// replace replaces a text unless by is nil.
func replace(text, by *string) {
	if by != nil {
		*text = *by
	}
}

type updateScheduledInput struct {
	ScheduledPath
	Body   ScheduledBody
	change service.ScheduledChange
}

// Resolve reads the times, and refuses the members that cannot be changed.
func (in *updateScheduledInput) Resolve(huma.Context) []error {
	b := &in.Body
	p := b.refused()
	if b.SendAt != nil || b.Deadline != nil {
		schedule, more := parseSchedule(b.SendAt, b.Deadline)
		in.change.Schedule, p = schedule, append(p, more...)
	}
	if b.changesContent() {
		in.change.Edit = b.edit
	}
	return p
}

func (a *api) updateScheduled(ctx context.Context, c *requestContext, in *updateScheduledInput) (scheduledView, error) {
	v, err := shownScheduled(a.Scheduled.Update(ctx, c.principal.UserID, c.sessionRef(), c.pathText("messageId"), in.change))
	return v, renamed(err, genericNames)
}

type cancelledMessageView struct {
	ID        string `json:"id" example:"01JX3B5ZKQ7M"`
	Cancelled bool   `json:"cancelled" example:"true"`
}

func (a *api) cancelScheduled(ctx context.Context, c *requestContext, _ *ScheduledPath) (cancelledMessageView, error) {
	id := c.pathText("messageId")
	return cancelledMessageView{id, true}, a.Scheduled.Cancel(ctx, c.principal.UserID, c.sessionRef(), id)
}
