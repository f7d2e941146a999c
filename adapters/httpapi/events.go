package httpapi

import (
	"cmp"
	"context"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const eventsDescription = "Lists what happened, oldest first: `message.received`, `sent`, `delivered`, `read` and `failed`, and the `session.` events. " +
	"Positions are one sequence of the whole server, in the order of commits and with gaps. `nextAfter` is the `after` of the next page. " +
	"With `Accept: text/event-stream` the events come as Server-Sent Events, as they happen. Their id is the position: Last-Event-ID, or `after`, goes on " +
	"where a stream broke off. A session's QR codes come as `session.qr_updated` with `data.qr` and without an id, for they are not recorded. A comment comes at least every 15 s. " +
	"Fails with EVENTS_EXPIRED if events after the position are no longer kept."

func eventRoutes() []route {
	return []route{
		operation(route{
			id: "listSessionEvents", method: get, path: "/sessions/{id}/events", tag: tagEvents, credential: user, limit: perUser, message: "Events",
			summary: "The recorded events of a session", description: eventsDescription,
			errors: []domain.Code{domain.CodeSessionNotFound, domain.CodeEventsExpired},
		}, (*api).sessionEvents),
		operation(route{
			id: "listEvents", method: get, path: "/events", tag: tagEvents, credential: user, limit: perUser, message: "Events",
			summary: "The recorded events of all own sessions", description: eventsDescription + " Deleted sessions have their events here.",
			errors: []domain.Code{domain.CodeEventsExpired},
		}, (*api).events),
	}
}

// EventsInput selects a page of the event log.
type EventsInput struct {
	After int64 `query:"after" minimum:"0" doc:"Position of the last event that the caller has. Without it a page begins with the oldest events, and a stream with the next one" example:"4711"`
	Limit int   `query:"limit" minimum:"1" maximum:"100" doc:"How many a page has; 20 if it is not given" example:"20"`
}

// Resolve refuses two positions, and a position that is not written as the server writes it.
func (in *EventsInput) Resolve(ctx huma.Context) []error {
	var p problems
	query := contextOf(ctx.Context()).query
	after := strings.TrimSpace(query.Get("after"))
	if _, isPosition := parsePosition(after); after != "" && !isPosition {
		p.add("after", "after must be a position, a whole number from 0 in plain digits")
	}
	return p
}

// parsePosition reads the position of an event as the server writes it: plain digits without
// zeros in front.
func parsePosition(s string) (position int64, isPosition bool) {
	position, err := strconv.ParseInt(s, 10, 64)
	return position, err == nil && position >= 0 && strconv.FormatInt(position, 10) == s
}

type sessionEventsInput struct {
	SessionPath
	EventsInput
}

type eventsView struct {
	Events    []view.EventView `json:"events"`
	NextAfter int64            `json:"nextAfter" doc:"Position of the last event here, or the given one if there is none" example:"4711"`
}

func (a *api) sessionEvents(ctx context.Context, c *requestContext, in *sessionEventsInput) (eventsView, error) {
	return a.listEvents(ctx, c, ports.EventFilter{UserID: c.principal.UserID, SessionID: c.sessionRef()}, in.EventsInput)
}

func (a *api) events(ctx context.Context, c *requestContext, in *EventsInput) (eventsView, error) {
	return a.listEvents(ctx, c, ports.EventFilter{UserID: c.principal.UserID}, *in)
}

func (a *api) listEvents(ctx context.Context, c *requestContext, f ports.EventFilter, in EventsInput) (eventsView, error) {
	if c.wantsStream() {
		return eventsView{}, a.streamEvents(ctx, c, f, in)
	}
	var list []domain.Event
	err := c.readLong(ctx, func(ctx context.Context) (err error) {
		list, err = a.Events.List(ctx, f, in.After, cmp.Or(in.Limit, defaultLimit))
		return err
	})
	if err != nil {
		return eventsView{}, err
	}
	v := eventsView{Events: make([]view.EventView, len(list)), NextAfter: in.After}
	for i := range list {
		v.Events[i] = view.Event(&list[i])
		v.NextAfter = list[i].Seq
	}
	return v, nil
}
