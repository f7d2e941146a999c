package orchestrator

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const sendLimit = 35 * time.Second // a send may take, whatever became of its caller

// Send records the message as PENDING, forwards it once, and records the
// outcome before it returns. If the outcome is unknown the message stays
// PENDING, and the error says so.
func (o *messageService) Send(ctx context.Context, h service.Sender, out *domain.Outgoing) (*domain.Message, error) {
	if err := o.ready(ctx); err != nil {
		return nil, err
	}
	if err := out.Validate(); err != nil {
		return nil, err
	}
	to, err := domain.ParseRecipient(out.To)
	if err != nil {
		return nil, err
	}
	r, w, err := o.connected(ctx, h)
	if err != nil {
		return nil, err
	}
	a, err := o.allowance(ctx, h.UserID)
	if err != nil {
		return nil, o.fault(err)
	}
	now := o.now()
	usage, err := o.takeMessages(ctx, a, now, 1)
	if err != nil {
		return nil, o.fault(err)
	}
	if !usage.Allowed {
		return nil, domain.Errorf(domain.Exceeded, domain.CodeMessageLimit,
			"Message limit exceeded. %s tier allows %d messages per hour", a.user.Tier, usage.Limit).
			WithCause(usedUp{usage, usage.ResetAt.Sub(now)})
	}
	m := &domain.Message{
		ID: o.ids.NewID(), SessionID: h.SessionID, UserID: h.UserID, Direction: domain.Outbound,
		From: jid(r.Phone), To: string(to), Type: out.Type, Content: out.Body(), MediaURL: out.MediaURL,
		Filename: out.Filename, Caption: out.Caption, Status: domain.MessagePending, CreatedAt: now,
	}
	if err := o.putMessage(ctx, m); err != nil {
		o.giveBack(ctx, a)
		return nil, o.fault(sessionMissing(err))
	}
	// It is recorded: from here on the caller's hanging up changes nothing.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendLimit)
	defer cancel()
	early := o.sending.begin(h.SessionID)
	send := ports.Send{SessionID: h.SessionID, ClientMessageID: m.ID, To: to, Message: out}
	sent, err := o.workers.Send(ctx, ref(w), send)
	if err != nil {
		if next := o.moved(ctx, h, w, err); next != nil {
			w = next
			sent, err = o.workers.Send(ctx, ref(w), send)
		}
	}
	if err != nil {
		o.ended(ctx, early, "")
		return o.unsent(ctx, a, w, m, err)
	}
	m.WhatsAppID = sent.WhatsAppID
	m.TransitionTo(domain.MessageSent, o.now(), "")
	err = o.putMessage(ctx, m)
	o.ended(ctx, early, sent.WhatsAppID)
	if err != nil {
		if errors.Is(err, ports.ErrConflict) || errors.Is(err, ports.ErrNotFound) {
			return m, nil // the session was deleted meanwhile, with its history
		}
		// It was sent, but this could not be recorded: the truth for the caller
		// is that nothing is certain.
		return m, o.fault(err)
	}
	return m, nil
}

// jid gives the address of an account by its number, or nothing.
func jid(phone string) string {
	if phone == "" {
		return ""
	}
	return phone + "@s.whatsapp.net"
}

func (o *Orchestrator) putMessage(ctx context.Context, m *domain.Message) error {
	rev := m.Rev
	return o.store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		m.Rev = rev
		return tx.Messages.Put(ctx, m)
	})
}

// moved gives the worker that the session is on by now, if the call was certainly
// not carried out because that is another than the one that was asked.
func (o *Orchestrator) moved(ctx context.Context, h service.Sender, asked *domain.Worker, err error) *domain.Worker {
	var failure *ports.WorkerError
	if !o.shared() || !errors.As(err, &failure) || !failure.IsNotExecuted() {
		return nil
	}
	_, w, err := o.usableNow(ctx, h)
	if err != nil || w.ID == asked.ID && w.Endpoint == asked.Endpoint {
		return nil
	}
	o.noteCall(ctx, asked, failure)
	return w
}

// connected gives the route and the worker of a session that can send. A route may
// be older than the row, on this replica for a moment: what it forbids is looked up.
func (o *Orchestrator) connected(ctx context.Context, h service.Sender) (ports.Route, *domain.Worker, error) {
	r, err := o.route(ctx, h.SessionID)
	if err != nil {
		return r, nil, o.fault(err)
	}
	if r, w, err := o.usable(h, r); err == nil {
		return r, w, nil
	}
	return o.usableNow(ctx, h)
}

// usableNow is usable by what the store says now.
func (o *Orchestrator) usableNow(ctx context.Context, h service.Sender) (ports.Route, *domain.Worker, error) {
	r, err := o.routeAfresh(ctx, h.SessionID)
	if err == nil && r.WorkerID != "" {
		err = o.rereadSome(ctx, []string{r.WorkerID})
	}
	if err != nil {
		return r, nil, o.fault(err)
	}
	return o.usable(h, r)
}

// usable gives the worker that a route leads to, if the session can send by it.
func (o *Orchestrator) usable(h service.Sender, r ports.Route) (ports.Route, *domain.Worker, error) {
	switch {
	case r.UserID != h.UserID:
		return r, nil, sessionMissing(ports.ErrNotFound)
	case r.WorkerID == "" || r.Status != domain.Connected && r.Status != domain.Reconnecting:
		return r, nil, domain.Errorf(domain.Conflict, domain.CodeSessionNotConnected, "Session is not connected; connect it and scan the QR code first")
	}
	w := o.fleet.worker(r.WorkerID)
	switch {
	case w == nil || !w.Online:
		return r, nil, domain.Errorf(domain.Unavailable, domain.CodeWorkerUnreachable,
			"The session's worker is offline; the session is being brought back, try again in a minute")
	case r.Status != domain.Connected:
		return r, nil, domain.Errorf(domain.Conflict, domain.CodeSessionNotConnected, "Session is reconnecting; try again in a moment")
	}
	return r, w, nil
}

// route finds where a session is, from the routes or else the store.
func (o *Orchestrator) route(ctx context.Context, sessionID string) (ports.Route, error) {
	r, err := o.routes.Get(ctx, sessionID)
	if err == nil {
		return r, nil
	}
	if !errors.Is(err, ports.ErrNotFound) {
		o.log.WarnContext(ctx, "route not read", "session", sessionID, "error", err)
	}
	return o.routeAfresh(ctx, sessionID)
}

// routeAfresh finds where a session is from the store, and keeps the route.
func (o *Orchestrator) routeAfresh(ctx context.Context, sessionID string) (ports.Route, error) {
	var s *domain.Session
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		s, err = tx.Sessions.Get(ctx, sessionID)
		return sessionMissing(err)
	})
	if err != nil {
		return ports.Route{}, err
	}
	r := route(s)
	if err := o.routes.Put(ctx, r); err != nil {
		o.log.WarnContext(ctx, "route not kept", "session", sessionID, "error", err)
	}
	return r, nil
}

// takeMessages counts messages of a user. When the limiter was told of none before,
// because a process has just begun or what was kept is lost, those that the
// history has of the last hour are counted first. What is counted here is not in
// the history before the limiter was seeded, so that nothing counts twice.
func (o *Orchestrator) takeMessages(ctx context.Context, a *allowance, now time.Time, n int) (domain.Usage, error) {
	take := func(n int) (domain.Usage, error) {
		return o.limiter.AllowN(ctx, a.messages, now, hour, a.limits.MessagesPerHour, n)
	}
	if !a.seeded.Load() {
		usage, err := take(0)
		if err == nil && !usage.Backfilled {
			err = o.seed(ctx, a, now)
		}
		if err != nil {
			return usage, err
		}
		a.seeded.Store(true)
	}
	usage, err := take(n)
	if err != nil || usage.Backfilled || !usage.Allowed { // what the history has makes room for nobody
		return usage, err
	}
	if err := o.seed(ctx, a, now); err != nil {
		if n > 0 {
			o.giveBack(ctx, a)
		}
		return usage, err
	}
	if usage, err = take(0); err == nil && n > 0 && usage.Used > usage.Limit {
		o.giveBack(ctx, a)
		usage.Allowed = false
	}
	return usage, err
}

func (o *Orchestrator) seed(ctx context.Context, a *allowance, now time.Time) error {
	var sent int
	var first time.Time
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		sent, first, err = tx.Messages.CountSince(ctx, a.user.ID, now.Add(-hour))
		return err
	})
	if err != nil {
		return err
	}
	if sent == 0 {
		first = now.Add(-hour * 3 / 2) // that window is over, also by a clock that is behind
	}
	return o.limiter.Backfill(ctx, a.messages, first, hour, sent)
}

func (o *Orchestrator) giveBack(ctx context.Context, a *allowance) {
	_, err := o.limiter.AllowN(context.WithoutCancel(ctx), a.messages, o.now(), hour, a.limits.MessagesPerHour, -1)
	o.logFailure(ctx, "message not given back", err, "user", a.user.ID)
}

// unsent records that a message was not sent, or may not have been.
func (o *Orchestrator) unsent(ctx context.Context, a *allowance, w *domain.Worker, m *domain.Message, err error) (*domain.Message, error) {
	o.noteCall(ctx, w, err)
	var failure *ports.WorkerError
	known := errors.As(err, &failure)
	accepted := known && failure.Failure == ports.WorkerFailed && failure.Status/100 == 2 // but the answer makes no sense
	if !known || accepted || failure.Failure == ports.WorkerTimedOut || failure.Failure == ports.WorkerConnectionLost {
		return m, domain.Errorf(domain.Timeout, domain.CodeWorkerTimeout,
			"The worker did not answer, so it is not known whether the message was sent; look at its status before sending it again").WithCause(err)
	}
	m.TransitionTo(domain.MessageFailed, o.now(), failure.Message)
	if err := o.putMessage(ctx, m); err != nil && !errors.Is(err, ports.ErrConflict) {
		o.logFailure(ctx, "failed message not recorded", err, "message", m.ID)
	}
	if failure.IsNotExecuted() {
		o.giveBack(ctx, a)
	}
	switch failure.Failure {
	case ports.WorkerConnectionRefused, ports.WorkerNameUnknown, ports.WorkerUnreachable, ports.WorkerCircuitOpen:
		return m, o.workerFault(err)
	case ports.WorkerSessionNotFound:
		return m, domain.Errorf(domain.Conflict, domain.CodeSessionNotConnected,
			"The worker does not have the session at the moment; it is being brought back, try again in a minute").WithCause(err)
	case ports.WorkerBusy:
		return m, domain.Errorf(domain.BadGateway, domain.CodeMessageSendFailed,
			"The worker limits how fast this session sends; try again in a minute").WithCause(err)
	}
	return m, domain.Errorf(domain.BadGateway, domain.CodeMessageSendFailed,
		"The worker could not send the message: %s", failure.Message).WithCause(err)
}

// PerformAction does something to a message or in a chat.
func (o *messageService) PerformAction(ctx context.Context, h service.Sender, a domain.Action) error {
	if err := o.ready(ctx); err != nil {
		return err
	}
	if err := a.Validate(); err != nil {
		return err
	}
	_, w, err := o.connected(ctx, h)
	if err != nil {
		return err
	}
	err = o.workers.PerformAction(ctx, ref(w), h.SessionID, a)
	if err != nil {
		if next := o.moved(ctx, h, w, err); next != nil {
			w = next
			err = o.workers.PerformAction(ctx, ref(w), h.SessionID, a)
		}
	}
	if err != nil {
		o.noteCall(ctx, w, err)
		return o.workerFault(err)
	}
	return nil
}

// History lists messages of a session, newest first. next is the zero cursor
// on the last page.
func (o *messageService) History(ctx context.Context, userID, sessionID string, f domain.MessageFilter) (page []*domain.Message, next domain.Cursor, err error) {
	limit := f.Limit
	f.Limit++ // one more tells whether there is a next page
	err = o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		if _, err := owned(ctx, tx, userID, sessionID); err != nil {
			return err
		}
		page, err = tx.Messages.List(ctx, sessionID, f)
		return err
	})
	if err != nil {
		return nil, next, o.fault(err)
	}
	if limit > 0 && len(page) > limit {
		page = page[:limit]
		last := page[limit-1]
		next = domain.Cursor{At: last.CreatedAt, ID: last.ID}
	}
	return page, next, nil
}

// Get finds one message by our id or WhatsApp's.
func (o *messageService) Get(ctx context.Context, userID, sessionID, messageID string) (m *domain.Message, err error) {
	err = o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		if _, err := owned(ctx, tx, userID, sessionID); err != nil {
			return err
		}
		if m, err = tx.Messages.Get(ctx, sessionID, messageID); errors.Is(err, ports.ErrNotFound) {
			m, err = tx.Messages.ByWhatsAppID(ctx, sessionID, messageID)
		}
		return messageMissing(err)
	})
	return m, o.fault(err)
}

func messageMissing(err error) error {
	if errors.Is(err, ports.ErrNotFound) {
		return domain.Errorf(domain.NotFound, domain.CodeMessageNotFound, "Message not found in this session's history")
	}
	return err
}

// ReportMessage applies a worker's word on a message. A report can overtake
// the answer to the send that it is about. If that is under way here, the
// report is kept until it is answered; if it may be under way at another replica,
// the report waits a little.
func (o *workerProtocol) ReportMessage(ctx context.Context, r domain.MessageReport) (applied bool, err error) {
	r.SessionID, r.WorkerID = domain.NormalizeSessionRef(r.SessionID), domain.NormalizeWorkerRef(r.WorkerID)
	held := o.sending.hold(r)
	applied, err = o.applyReport(ctx, r)
	switch {
	case !errors.Is(err, ports.ErrNotFound):
		o.sending.drop(r)
	case held:
		return true, nil
	default:
		applied, err = o.applyLater(ctx, r)
	}
	return applied, o.fault(messageMissing(err))
}

// ended ends a send, and applies the reports that came before its answer. Those
// that are about none of the sends of this replica are another's.
func (o *Orchestrator) ended(ctx context.Context, u *underWay, whatsAppID string) {
	early, rest := o.sending.end(u, whatsAppID)
	for _, r := range early {
		if _, err := o.applyReport(ctx, r); err != nil && !errors.Is(err, ports.ErrNotFound) {
			o.logFailure(ctx, "early report not applied", err, "session", r.SessionID)
		}
	}
	if len(rest) > 0 && o.others() {
		o.spawn(func() { _, _ = o.applyLater(context.WithoutCancel(ctx), rest...) })
	}
}

// applyLater applies reports about messages that other replicas may be sending,
// in about two seconds, which is less than workers wait for an answer. It gives
// what became of the last.
func (o *Orchestrator) applyLater(ctx context.Context, reports ...domain.MessageReport) (applied bool, err error) {
	err = ports.ErrNotFound
	for pause := earlyPause; len(reports) > 0 && pause <= earlyLimit && o.others(); pause *= 2 {
		if o.sleep(ctx, pause) != nil {
			break
		}
		reports = slices.DeleteFunc(reports, func(r domain.MessageReport) bool {
			applied, err = o.applyReport(ctx, r)
			return !errors.Is(err, ports.ErrNotFound)
		})
	}
	return applied, err
}

// Between two looks for a message that another replica may be sending.
const (
	earlyPause = 30 * time.Millisecond
	earlyLimit = time.Second
)

func (o *Orchestrator) applyReport(ctx context.Context, r domain.MessageReport) (applied bool, err error) {
	err = o.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		applied = false
		if r.WorkerID != "" {
			s, err := tx.Sessions.Get(ctx, r.SessionID)
			if err != nil {
				return err
			}
			if !speaksOf(s, r.WorkerID) {
				return nil
			}
		}
		m, err := reported(ctx, tx, r)
		if err != nil {
			return err
		}
		if applied = advance(m, r, o.now()); !applied {
			return nil
		}
		return tx.Messages.Put(ctx, m)
	})
	return applied, err
}

// speaksOf reports whether a worker may speak of the messages of a session: only
// the one that has it now, as with the session's status. One that had it before may
// say the truth, but nothing in its words proves that. Little is lost: WhatsApp sends
// receipts to whoever has the account's connection, and that a message was sent is in
// the answer to its send. A worker that does not say who it is is believed.
func speaksOf(s *domain.Session, workerID string) bool {
	return workerID == "" || workerID == s.WorkerID
}

// reported finds the message that a report is about. One whose send was never
// answered is known by our id alone, and learns WhatsApp's from the report.
func reported(ctx context.Context, tx *ports.Tx, r domain.MessageReport) (*domain.Message, error) {
	if r.WhatsAppID != "" {
		m, err := tx.Messages.ByWhatsAppID(ctx, r.SessionID, r.WhatsAppID)
		if !errors.Is(err, ports.ErrNotFound) {
			return m, err
		}
	}
	id := r.ID
	if id == "" {
		id = r.WhatsAppID // some workers say ours there
	}
	m, err := tx.Messages.Get(ctx, r.SessionID, id)
	if err == nil && r.ID != "" && m.WhatsAppID == "" {
		m.WhatsAppID = r.WhatsAppID
	}
	return m, err
}

func advance(m *domain.Message, r domain.MessageReport, now time.Time) bool {
	at := now
	if !r.At.IsZero() {
		at = r.At
	}
	switch {
	case r.Status == domain.MessageDelivered && !r.DeliveredAt.IsZero():
		at = r.DeliveredAt
	case r.Status == domain.MessageRead && !r.ReadAt.IsZero():
		at = r.ReadAt
	}
	changed := false
	if r.Status == domain.MessageRead && !r.DeliveredAt.IsZero() {
		changed = m.TransitionTo(domain.MessageDelivered, r.DeliveredAt, "")
	}
	return m.TransitionTo(r.Status, at, r.Error) || changed
}

// ReceiveMessage stores an inbound message; one that is there already is not
// stored again.
func (o *workerProtocol) ReceiveMessage(ctx context.Context, in service.InboundMessage) (stored bool, err error) {
	in.SessionID, in.WorkerID = domain.NormalizeSessionRef(in.SessionID), domain.NormalizeWorkerRef(in.WorkerID)
	now := o.now()
	m := &domain.Message{
		ID: o.ids.NewID(), WhatsAppID: in.WhatsAppID, SessionID: in.SessionID, Direction: domain.Inbound,
		From: in.From, To: in.To, Type: in.Type, Content: in.Content, MediaURL: in.MediaURL,
		Caption: in.Caption, Status: domain.MessageDelivered, CreatedAt: now, SentAt: in.At, DeliveredAt: now,
	}
	if m.SentAt.IsZero() {
		m.SentAt = now
	}
	err = o.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		stored, m.Rev = false, 0
		s, err := tx.Sessions.Get(ctx, in.SessionID)
		if err != nil {
			return sessionMissing(err)
		}
		if !speaksOf(s, in.WorkerID) || in.Generation != 0 && in.Generation != s.Generation {
			return nil
		}
		if m.UserID = s.UserID; m.To == "" {
			m.To = jid(s.PhoneNumber)
		}
		err = tx.Messages.Put(ctx, m)
		if errors.Is(err, ports.ErrExists) {
			return nil
		}
		stored = err == nil
		return err
	})
	return stored, o.fault(err)
}

// sends knows the sessions with sends under way, and keeps reports that came
// before the answers that name their messages.
type sends struct {
	mu sync.Mutex
	m  map[string]*underWay
}

type underWay struct {
	sessionID string
	n         int
	early     []domain.MessageReport
}

// maxEarly bounds the reports kept of one session.
const maxEarly = 256

func (s *sends) begin(sessionID string) *underWay {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = make(map[string]*underWay)
	}
	u := s.m[sessionID]
	if u == nil {
		u = &underWay{sessionID: sessionID}
		s.m[sessionID] = u
	}
	u.n++
	return u
}

// end gives the reports that came early about the message; of the last send of
// the session also the rest, which nobody has asked for.
func (s *sends) end(u *underWay, whatsAppID string) (early, rest []domain.MessageReport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u.early = slices.DeleteFunc(u.early, func(r domain.MessageReport) bool {
		own := r.WhatsAppID == whatsAppID
		if own {
			early = append(early, r)
		}
		return own
	})
	if u.n--; u.n == 0 {
		delete(s.m, u.sessionID)
		rest = u.early
	}
	return early, rest
}

// drop forgets a report that was held and has been applied.
func (s *sends) drop(r domain.MessageReport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.m[r.SessionID]; u != nil {
		u.early = slices.DeleteFunc(u.early, func(held domain.MessageReport) bool { return held == r })
	}
}

// hold keeps the report if a send of its session is under way.
func (s *sends) hold(r domain.MessageReport) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.m[r.SessionID]
	if u == nil || len(u.early) >= maxEarly {
		return false
	}
	u.early = append(u.early, r)
	return true
}
