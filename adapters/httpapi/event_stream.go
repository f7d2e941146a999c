package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	keepAlive            = 14 * time.Second // between two comments; the API promises 15 s
	maxStreams           = 20_000           // of one process
	maxStreamsPerUser    = 100
	maxStreamsPerNetwork = 500      // an office behind one address has several users
	flushFrom            = 16 << 10 // bytes of encoded events that are sent before further ones are encoded
)

// wantsStream reports whether the caller accepts Server-Sent Events. The quality 0 means not
// acceptable.
func (c *requestContext) wantsStream() bool {
	for _, accept := range c.r.Header["Accept"] {
		for text := range strings.SplitSeq(accept, ",") {
			kind, parameters, err := mime.ParseMediaType(text)
			if kind != "text/event-stream" || err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
				continue
			}
			quality, err := strconv.ParseFloat(parameters["q"], 64)
			return c.r.Method == get && (err != nil || quality > 0)
		}
	}
	return false
}

// firstPosition returns the position after which a stream begins. A client that reconnects by itself
// sends Last-Event-ID. It supersedes the parameter of the URL, which is from the first connection.
func (c *requestContext) firstPosition(in EventsInput) (int64, error) {
	if id := strings.TrimSpace(strings.Join(c.r.Header["Last-Event-Id"], ",")); id != "" {
		after, isPosition := parsePosition(id)
		if !isPosition {
			return 0, domain.Errorf(domain.Invalid, domain.CodeValidation, "Last-Event-ID must be the id of an event of this server, a whole number; leave it out to begin with the next event")
		}
		return after, nil
	}
	if c.query.Get("after") == "" {
		return service.FromNow, nil
	}
	return in.After, nil
}

// streamEvents answers with the events of a filter as they happen.
func (a *api) streamEvents(ctx context.Context, c *requestContext, f ports.EventFilter, in EventsInput) error {
	after, err := c.firstPosition(in)
	if err != nil {
		return err
	}
	caller := streamCaller{userID: f.UserID, network: c.streamNetwork()}
	if err := a.streams.begin(caller); err != nil {
		return err
	}
	subscription, err := a.Events.Subscribe(ctx, f, after)
	if err != nil {
		a.streams.end(caller)
		return err
	}
	s := &eventStream{api: a, caller: caller, filter: f, subscription: subscription, token: bearerToken(c.r), codes: make(map[string]string)}
	c.w.Header()["X-Accel-Buffering"] = []string{"no"}
	c.streamed = &streamedAnswer{contentType: "text/event-stream", write: s.write, detach: s.writeDetached}
	return nil
}

// eventStream is one client's stream of events. It keeps nothing of the request, whose memory is
// several times its own.
type eventStream struct {
	api          *api
	caller       streamCaller
	filter       ports.EventFilter
	subscription service.EventSubscription
	token        string
	codes        map[string]string // by session, the QR code that was sent last
	out          bytes.Buffer
}

// writeDetached writes the stream to a connection that the HTTP server has handed over.
func (s *eventStream) writeDetached(w *detachedWriter) {
	defer func() {
		if p := recover(); p != nil {
			s.api.Log.Error("stream panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
		_ = w.conn.Close()
	}()
	_ = s.write(context.Background(), w) // an error means that the client is gone
}

// write writes events until the client goes, its credential ends, the session is deleted or the
// server stops. It checks the credential before it writes an event or a keep-alive.
func (s *eventStream) write(ctx context.Context, w flushWriter) error {
	defer s.api.streams.end(s.caller)
	defer s.subscription.Close()
	ctx, cancel := s.api.untilStopping(ctx)
	defer cancel()
	s.out.WriteString("retry: 2000\n\n")
	for {
		if err := s.flush(w); err != nil {
			return err
		}
		events, err := s.next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			_, err = s.api.Accounts.Authenticate(ctx, s.token)
		}
		if err != nil {
			s.addError(err)
			return s.flush(w)
		}
		if len(events) == 0 {
			s.addKeepAlive()
			continue
		}
		isLast, err := s.writeEvents(ctx, w, events)
		if isLast || err != nil {
			return err
		}
	}
}

// writeEvents writes events, and reports whether the last of them ends the stream.
func (s *eventStream) writeEvents(ctx context.Context, w flushWriter, events []domain.Event) (isLast bool, err error) {
	for i := range events {
		if !s.api.streams.encode(ctx, func() { s.add(ctx, &events[i]) }) {
			return true, nil
		}
		isLast = s.filter.SessionID != "" && events[i].Type == domain.EventSessionDeleted
		if isLast || s.out.Len() > flushFrom {
			if err := s.flush(w); err != nil {
				return false, err
			}
		}
	}
	return isLast, nil
}

// next returns the events that follow, or none when a keep-alive is due.
func (s *eventStream) next(ctx context.Context) ([]domain.Event, error) {
	limited, cancel := context.WithTimeout(ctx, keepAlive)
	defer cancel()
	events, err := s.subscription.Next(limited)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, nil
	}
	return events, err
}

// flush sends what was added.
func (s *eventStream) flush(w flushWriter) error {
	_, err := w.Write(s.out.Bytes())
	s.out = bytes.Buffer{} // most streams wait for long
	if err != nil {
		return err
	}
	return w.Flush()
}

// addKeepAlive adds a comment, and the present position. A client that reconnects from there skips
// the events of others.
func (s *eventStream) addKeepAlive() {
	s.out.WriteString(": still here\n")
	s.addID(s.subscription.Position())
	s.out.WriteString("\n")
}

// addID adds a position, from which the client goes on after a new connection.
func (s *eventStream) addID(position int64) {
	s.out.WriteString("id: ")
	s.out.Write(strconv.AppendInt(s.out.AvailableBuffer(), position, 10))
	s.out.WriteString("\n")
}

// add adds an event. An event without a Seq stands for a QR code, and has no id.
func (s *eventStream) add(ctx context.Context, e *domain.Event) {
	v := view.Event(e)
	if e.Seq == 0 {
		qr := s.unsentQR(ctx, e.SessionID)
		if qr == nil {
			return
		}
		v = view.QREvent(e, qr)
	} else {
		s.addID(e.Seq)
	}
	s.addData(string(e.Type), v)
}

// unsentQR returns the present code of a session, or nil if it was sent already.
func (s *eventStream) unsentQR(ctx context.Context, sessionID string) *view.QRView {
	shown, err := s.api.Sessions.QR(ctx, s.filter.UserID, sessionID)
	if err != nil {
		return nil
	}
	v := viewQR(shown, false, s.api.Clock.Now())
	code := string(v.QRString) + string(v.QRCode)
	if v.PairingCode != nil {
		code += string(*v.PairingCode)
	}
	if code == "" || s.codes[sessionID] == code {
		return nil
	}
	s.codes[sessionID] = code
	return &v.QRView
}

// addError adds the error that ends the stream. It has no id: a new connection goes on after the last
// event.
func (s *eventStream) addError(err error) {
	f := toHTTPError(err)
	s.addData("error", failureView{Code: f.code, Message: f.message})
}

// addData adds the name and the JSON form of an event.
func (s *eventStream) addData(event string, data any) {
	s.out.WriteString("event: " + event + "\ndata: ")
	if err := json.MarshalWrite(&s.out, data); err != nil {
		s.api.Log.Error("event not written", "error", err)
	}
	s.out.WriteString("\n\n")
}
