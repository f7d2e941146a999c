package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func bulkSendRoute() route {
	return operation(route{
		id: "sendBulk", method: post, path: "/sessions/{id}/messages/bulk", tag: tagMessages, credential: keyOrUser, limit: perKey, message: "Messages sent",
		media: true, hot: true, sendsMany: true,
		summary: "Send up to 100 messages",
		description: "Sends the messages in the order of the list, one at a time, and answers with one result for each. A message is a body of POST /sessions/{id}/send, with an `idempotencyKey` of its own if it " +
			"should have one; it counts and fails as there. A message that fails does not stop those after it: the answer is 200 if the list itself can be read and has 1 to 100 messages. " +
			"Where the operator has set a pace, they keep to it. The call begins no message after 30 seconds, nor after its client has hung up or the server has begun to stop. The messages that it did not come to have the code OVERLOADED and were not sent. " +
			"With the header `Idempotency-Key` the whole call may be repeated: each message has a key that follows from it and from the index, and the repeat sends only what has not been sent.",
		errors: []domain.Code{domain.CodeSessionNotFound},
	}, (*api).sendBulk)
}

// bulkMessage is a message of a bulk call.
type bulkMessage struct {
	AnyBody
	IdempotencyKey *string `json:"idempotencyKey,omitempty" minLength:"1" maxLength:"255" doc:"Like the header Idempotency-Key of a send, for this message; it takes precedence over the header of the call" example:"order-17"`
}

// bulkMessages is the list of a bulk call. A message that cannot be read is no problem of the
// list. Messages beyond the limit are counted and not kept.
type bulkMessages struct {
	items []service.SendItem
	n     int
}

// UnmarshalJSONFrom reads the list. Any other value is an error.
func (b *bulkMessages) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != jsontext.KindBeginArray {
		return errors.Join(dec.SkipValue(), errNoList)
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	*b = bulkMessages{}
	for dec.PeekKind() != jsontext.KindEndArray {
		raw, err := dec.ReadValue()
		if err != nil {
			return err
		}
		if b.n < service.SendAllLimit {
			b.items = append(b.items, readItem(raw))
		}
		b.n++
	}
	_, err := dec.ReadToken()
	return err
}

var errNoList = errors.New("httpapi: not a list")

// Schema describes the list.
func (bulkMessages) Schema(r huma.Registry) *huma.Schema {
	least, most := 1, service.SendAllLimit
	return &huma.Schema{Type: huma.TypeArray, MinItems: &least, MaxItems: &most, Items: r.Schema(reflect.TypeFor[bulkMessage](), true, "")}
}

// itemRoute stands for the route of a single message, by which problems of a message are told.
var itemRoute = sync.OnceValue(func() *route {
	registry := theSurface().huma.OpenAPI().Components.Schemas
	t := reflect.TypeFor[bulkMessage]()
	return &route{hot: true, registry: registry, schema: registry.Schema(t, true, ""), fields: jsonNames(t)}
})

var itemRequirements = requirements(reflect.TypeFor[bulkMessage]())

// readItem reads one message. What is wrong with it becomes its result.
func readItem(raw jsontext.Value) service.SendItem {
	if raw.Kind() != jsontext.KindBeginObject {
		return service.SendItem{Refusal: malformed("body", "A message must be a JSON object")}
	}
	var m bulkMessage
	err := unmarshal(raw, &m)
	item := service.SendItem{Message: m.outgoing(), Key: valueOf(m.IdempotencyKey)}
	var keyError error
	if m.IdempotencyKey != nil {
		keyError = renamed(domain.CheckIdempotencyKey(item.Key), itemNames)
	}
	schedule := m.scheduleProblems()
	if err == nil && keyError == nil && len(schedule) == 0 && isComplete(reflect.ValueOf(m), itemRequirements) {
		return item
	}
	var p problems
	p.merge(renamed(item.Message.Validate(), genericNames))
	p.merge(keyError)
	p = append(p, schedule...)
	return service.SendItem{Refusal: itemRoute().explain(raw, nil, nil, p)}
}

// itemNames has the name of the idempotency key in a message.
var itemNames = map[string]string{idempotencyKey: "idempotencyKey"}

type bulkSendBody struct {
	Messages bulkMessages `json:"messages" doc:"1 to 100 messages, in the order in which they are sent"`
	Immediate
}

type bulkSendInput struct {
	SessionPath
	Body bulkSendBody
}

// Resolve states the rules, to be told with what else is wrong.
func (in *bulkSendInput) Resolve(ctx huma.Context) []error {
	contextOf(ctx.Context()).rules = in.rules
	return nil
}

func (in *bulkSendInput) rules() []error {
	p := in.Body.refused("is given in each message of the list")
	if n := in.Body.Messages.n; n == 0 || n > service.SendAllLimit {
		p.add("messages", "Give 1 to %d messages; use several calls for more", service.SendAllLimit)
	}
	return p
}

type bulkSendView struct {
	Total     int              `json:"total" example:"2"`
	Succeeded int              `json:"succeeded" doc:"Results with a statusCode below 300" example:"1"`
	Failed    int              `json:"failed" example:"1"`
	Results   []bulkSendResult `json:"results" nullable:"false" doc:"One for each message, in the order of the messages"`
}

// bulkSendResult tells what became of one message.
type bulkSendResult struct {
	Index      int          `json:"index" doc:"Of the message in the list, from 0" example:"0"`
	StatusCode int          `json:"statusCode" doc:"What the send of this message alone would have answered" example:"200"`
	Replayed   bool         `json:"replayed,omitzero" doc:"The message had been sent before, under its idempotency key" example:"false"`
	Message    *sentView    `json:"message,omitzero" doc:"If it succeeded"`
	Error      *failureView `json:"error,omitzero" doc:"If it failed"`
	RetryAfter int64        `json:"retryAfter,omitzero" doc:"Seconds after which it may be tried again, if that is known" example:"60"`
}

func (a *api) sendBulk(ctx context.Context, c *requestContext, in *bulkSendInput) (bulkSendView, error) {
	if len(in.rules()) > 0 {
		return bulkSendView{}, c.invalid(nil)
	}
	key, isGiven, err := c.idempotencyKey()
	if err == nil && isGiven {
		err = domain.CheckIdempotencyKey(key)
	}
	if err != nil {
		return bulkSendView{}, err
	}
	sending, cancel := a.untilStopping(ctx)
	defer cancel()
	results, err := a.Messages.SendAll(sending, c.sender(), key, in.Body.Messages.items)
	if err != nil {
		return bulkSendView{}, err
	}
	v := bulkSendView{Total: len(results), Results: make([]bulkSendResult, len(results))}
	isRepeat := true
	for i := range results {
		v.Results[i] = c.viewResult(ctx, i, &in.Body.Messages.items[i], &results[i])
		isRepeat = isRepeat && results[i].IsReplay
		if v.Results[i].Error == nil {
			v.Succeeded++
		}
	}
	v.Failed = v.Total - v.Succeeded
	if isRepeat {
		c.w.Header().Set(replayed, "true")
	}
	c.message = fmt.Sprintf("%s accepted, %d refused", counted(v.Succeeded, "message"), v.Failed)
	return v, nil
}

func (c *requestContext) viewResult(ctx context.Context, index int, item *service.SendItem, r *service.SendResult) bulkSendResult {
	v := bulkSendResult{Index: index, StatusCode: http.StatusOK, Replayed: r.IsReplay}
	if r.Err == nil {
		if item.Message.Schedule != nil {
			v.StatusCode = http.StatusAccepted
		}
		sent := viewSent(r.Message)
		v.Message = &sent
		return v
	}
	f := toHTTPError(withMessageID(renamed(r.Err, genericNames), r.Message))
	v.StatusCode, v.Error = f.status, &failureView{Code: f.code, Message: f.message, Details: f.fields}
	if f.retry > 0 {
		v.RetryAfter = seconds(f.retry)
	}
	if f.status == http.StatusInternalServerError {
		c.Log().ErrorContext(ctx, "message of a bulk call failed", "request", c.id, "session", c.sessionID(), "index", index, "error", r.Err)
	}
	return v
}

// untilStopping returns a context that ends with ctx, and when the server begins to stop.
func (a *api) untilStopping(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if a.Stopping == nil {
		return ctx, cancel
	}
	stop := context.AfterFunc(a.Stopping, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}
