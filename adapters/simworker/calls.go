package simworker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var (
	errNobody = errors.New("there is no control plane")
	errCutOff = errors.New("the worker is cut off")
)

// The methods of this file are the calls of the control plane. Each failure is
// a *ports.WorkerError.

func failure(f ports.WorkerFailure, status int, message string) *ports.WorkerError {
	return &ports.WorkerError{Failure: f, Status: status, Message: message}
}

// begin begins a call: it takes the lock unless the worker cannot be reached,
// or the call is one of those that fail. A lease that has run out takes effect.
func (w *Worker) begin(ctx context.Context, mayFail bool) (now time.Time, err *ports.WorkerError) {
	if ctx.Err() != nil {
		e := failure(ports.WorkerUnreachable, 0, "The call to the worker was given up")
		e.Err = ctx.Err()
		return now, e
	}
	w.mu.Lock()
	now = w.cfg.Now()
	w.fence(now)
	switch {
	case w.cut:
		err = failure(ports.WorkerUnreachable, 0, "Connection timed out: the worker did not accept it")
	case !w.up:
		err = failure(ports.WorkerConnectionRefused, 0, "Connection refused: nothing listens at the worker's endpoint")
	case w.hung:
		err = failure(ports.WorkerTimedOut, 0, "Timed out: the worker did not answer in time")
	case mayFail && w.cfg.FailRate > 0 && w.random.Float64() < w.cfg.FailRate:
		err = failure(ports.WorkerFailed, 500, "The worker failed: it is made to, now and then")
	}
	if err != nil {
		w.mu.Unlock()
		return now, err
	}
	return now, nil
}

// Health is the health route.
func (w *Worker) Health(ctx context.Context) error {
	if _, err := w.begin(ctx, false); err != nil {
		return err
	}
	w.mu.Unlock()
	return nil
}

// Start starts a session, unless it runs already or its generation is over. While
// no lease is held nothing is started.
func (w *Worker) Start(ctx context.Context, order ports.Start) (domain.Report, error) {
	id, err := domain.NormalizeSessionID(order.SessionID)
	if err != nil {
		return domain.Report{}, failure(ports.WorkerRejected, 400, "The worker rejected the call: sessionId is missing or malformed")
	}
	if w.cfg.Legacy {
		order.Generation, order.PairingPhone = 0, ""
	}
	now, refused := w.begin(ctx, true)
	if refused != nil {
		return domain.Report{}, refused
	}
	s := w.sessions[id]
	switch {
	case w.damage != nil:
		refused = broken(w.damage)
	case w.over(id, order.Generation):
		refused = outdated()
	case !w.mayRun():
		refused = leaseless()
	case s != nil && s.running:
		if order.Generation > s.generation {
			if err := w.goOn(s, order.Generation, now); err != nil {
				refused = broken(err)
				break
			}
		}
		r := w.report(s)
		w.mu.Unlock()
		return r, nil
	case w.limited(id, "session", 5, 5*time.Minute, now, &refused):
	case w.running() >= w.cfg.Capacity:
		refused = failure(ports.WorkerRejected, 409, "The worker rejected the call: it has no room for another session")
	}
	if refused != nil {
		w.mu.Unlock()
		return domain.Report{}, refused
	}
	s = &session{id: id, user: order.UserID, name: order.SessionName, generation: order.Generation, pairing: order.PairingPhone}
	if err := w.start(s, now); err != nil {
		w.mu.Unlock()
		return domain.Report{}, broken(err)
	}
	r := w.report(s)
	w.told(ctx, s, r)
	return r, nil
}

// told ends a call that changed a session. Older workers report it before they
// answer; the others leave it to Tick. It releases the lock.
func (w *Worker) told(ctx context.Context, s *session, reports ...domain.Report) {
	if !w.cfg.Legacy {
		w.mu.Unlock()
		w.due()
		return
	}
	if s != nil {
		s.reportAt = time.Time{}
	}
	w.mu.Unlock()
	for _, r := range reports {
		if control, err := w.line(); err == nil {
			_, _ = control.ReportSession(ctx, r) // never repeated
		}
	}
	w.due()
}

// Status tells of one session.
func (w *Worker) Status(ctx context.Context, sessionID string) (domain.Report, error) {
	if _, err := w.begin(ctx, true); err != nil {
		return domain.Report{}, err
	}
	defer w.mu.Unlock()
	s := w.sessions[domain.NormalizeSessionRef(sessionID)]
	if s == nil {
		return domain.Report{}, unknown()
	}
	return w.report(s), nil
}

// List tells of all sessions.
func (w *Worker) List(ctx context.Context) ([]domain.Report, error) {
	if _, err := w.begin(ctx, true); err != nil {
		return nil, err
	}
	defer w.mu.Unlock()
	return w.list(), nil
}

// list needs the lock.
func (w *Worker) list() []domain.Report {
	reports := []domain.Report{}
	for _, s := range w.sorted() {
		r := w.report(s)
		r.WorkerID, r.Snapshot = w.cfg.ID, true
		r.QR, r.PairingCode, r.At = domain.QR{}, "", time.Time{}
		reports = append(reports, r)
	}
	return reports
}

// Restart stops a session and starts it afresh, unless the generation is over.
func (w *Worker) Restart(ctx context.Context, sessionID string, generation int64) error {
	if w.cfg.Legacy {
		generation = 0
	}
	id := domain.NormalizeSessionRef(sessionID)
	now, refused := w.begin(ctx, true)
	if refused != nil {
		return refused
	}
	s := w.sessions[id]
	switch {
	case w.over(id, generation):
		refused = outdated()
	case !w.mayRun():
		refused = leaseless()
	case s == nil:
		refused = unknown()
	default:
		w.limited(id, "session", 5, 5*time.Minute, now, &refused)
	}
	if refused != nil {
		w.mu.Unlock()
		return refused
	}
	w.stop(s, "restart", now)
	s.generation = max(s.generation, generation)
	down := w.report(s)
	back := down
	back.Status, back.At = domain.Reconnecting, now.Add(time.Millisecond)
	if err := w.start(s, now); err != nil {
		w.mu.Unlock()
		return broken(err)
	}
	s.statusAt = now.Add(2 * time.Millisecond)
	if w.random.IntN(2) == 0 {
		down.At, back.At = back.At, down.At
		down, back = back, down
	}
	w.told(ctx, s, down, back, w.report(s))
	return nil
}

// Disconnect stops a session and keeps its credentials. It is for good for its
// generation and older ones, as are Logout and Delete; if what runs is newer,
// nothing happens.
func (w *Worker) Disconnect(ctx context.Context, sessionID string, generation int64) error {
	return w.end(ctx, sessionID, generation, domain.CommandDisconnect)
}

// Logout stops a session and forgets its credentials.
func (w *Worker) Logout(ctx context.Context, sessionID string, generation int64) error {
	return w.end(ctx, sessionID, generation, domain.CommandLogout)
}

// Delete forgets everything of a session.
func (w *Worker) Delete(ctx context.Context, sessionID string, generation int64) error {
	return w.end(ctx, sessionID, generation, domain.CommandDelete)
}

func (w *Worker) end(ctx context.Context, sessionID string, generation int64, order domain.Command) error {
	if w.cfg.Legacy {
		generation = 0
	}
	id := domain.NormalizeSessionRef(sessionID)
	now, refused := w.begin(ctx, true)
	if refused != nil {
		return refused
	}
	s := w.sessions[id]
	_, linked := w.cfg.State.Phone(id)
	forget := order != domain.CommandDisconnect
	nothing := s == nil && !(forget && linked) || generation != 0 && generation < w.known[id]
	if !nothing && w.limited(id, "session", 5, 5*time.Minute, now, &refused) {
		w.mu.Unlock()
		return refused
	}
	if err := w.blockGeneration(id, generation); err != nil {
		w.mu.Unlock()
		return broken(err)
	}
	if nothing {
		w.mu.Unlock()
		if generation == 0 {
			return unknown()
		}
		return nil
	}
	if forget {
		if err := w.cfg.State.Unlink(id); err != nil {
			w.mu.Unlock()
			return broken(err)
		}
	}
	if s == nil {
		w.mu.Unlock()
		return nil
	}
	w.stop(s, strings.ToLower(string(order)), now)
	if s.loggedOut = forget; forget {
		s.phone = ""
	}
	// Older workers go on listing a session that they have stopped.
	if !w.cfg.Legacy || order == domain.CommandDelete {
		delete(w.sessions, id)
	}
	w.told(ctx, s, w.report(s))
	return nil
}

// Send sends one message. A repeated client message id gets the first answer
// again, and nothing is sent.
func (w *Worker) Send(ctx context.Context, m ports.Send) (ports.Sent, error) {
	now, refused := w.begin(ctx, true)
	if refused != nil {
		return ports.Sent{}, refused
	}
	defer w.mu.Unlock()
	key := ""
	if !w.cfg.Legacy && m.ClientMessageID != "" {
		// First of all: it went out, whatever has become of the session since.
		key = dedupeKey(domain.NormalizeSessionRef(m.SessionID), m.ClientMessageID)
		if sent, repeated := w.done[key]; repeated {
			return sent, nil
		}
	}
	s, refused := w.connected(m.SessionID)
	if refused != nil {
		return ports.Sent{}, refused
	}
	if w.limited(s.id, "send", 10, time.Minute, now, &refused) {
		return ports.Sent{}, refused
	}
	text := ""
	if m.Message != nil {
		text = m.Message.Body()
	}
	sum := sha256.Sum256([]byte(w.token(s.id)))
	// Once more, as close to the act as can be: what is between a look at the clock
	// and an act is what no lease can rule out.
	now = w.cfg.Now()
	if w.fence(now); !s.running {
		return ports.Sent{}, unknown()
	}
	sent := ports.Sent{WhatsAppID: "3EB0" + strings.ToUpper(hex.EncodeToString(sum[:8])), Status: domain.MessageSent, At: now}
	entry := w.about(SentOut, s, now)
	entry.MessageID, entry.To, entry.Text = sent.WhatsAppID, string(m.To), text
	if !w.cfg.Legacy {
		entry.ClientMessageID = m.ClientMessageID
	}
	if err := w.cfg.State.Record(entry); err != nil {
		return ports.Sent{}, broken(err)
	}
	w.sent++
	if key != "" {
		w.remember(key, sent)
	}
	if w.cfg.ReceiptAfter >= 0 && w.control != nil {
		w.promise(s.id, sent, now)
	}
	return sent, nil
}

// dedupeKey names a message by the control plane's ids.
func dedupeKey(sessionID, messageID string) string { return sessionID + " " + messageID }

// remember keeps an answer for repeats, and forgets the oldest.
func (w *Worker) remember(key string, sent ports.Sent) {
	w.done[key] = sent
	w.doneKeys = append(w.doneKeys, key)
	if len(w.doneKeys) > dedupeKept {
		delete(w.done, w.doneKeys[0])
		w.doneKeys = w.doneKeys[1:]
	}
}

// promise has a message delivered and read in a moment.
func (w *Worker) promise(sessionID string, sent ports.Sent, now time.Time) {
	if len(w.receipts[1]) >= receiptsKept {
		return // it is more than the control plane takes; the phone is slow, then
	}
	idle := len(w.receipts[0]) == 0
	for i, status := range []domain.MessageStatus{domain.MessageDelivered, domain.MessageRead} {
		at := now.Add(time.Duration(i+1) * w.cfg.ReceiptAfter)
		w.receipts[i] = append(w.receipts[i], receipt{at: at, report: domain.MessageReport{
			SessionID: sessionID, WhatsAppID: sent.WhatsAppID, Status: status, At: at,
		}})
	}
	if idle && w.onDue != nil {
		w.onDue()
	}
}

// PerformAction does something to a message or in a chat, of which nothing is to be seen.
func (w *Worker) PerformAction(ctx context.Context, sessionID string, _ domain.Action) error {
	if _, err := w.begin(ctx, true); err != nil {
		return err
	}
	defer w.mu.Unlock()
	if _, err := w.connected(sessionID); err != nil {
		return err
	}
	return nil
}

// connected gives a session that can send. It needs the lock.
func (w *Worker) connected(sessionID string) (*session, *ports.WorkerError) {
	s := w.sessions[domain.NormalizeSessionRef(sessionID)]
	switch {
	case s == nil:
		return nil, unknown()
	case s.status != domain.Connected:
		return nil, failure(ports.WorkerRejected, 409, "The worker rejected the call: the session is not connected")
	}
	return s, nil
}

// limited counts a use and refuses one too many. It needs the lock.
func (w *Worker) limited(id, kind string, most int, in time.Duration, now time.Time, refused **ports.WorkerError) bool {
	if !w.cfg.Limited {
		return false
	}
	key := kind + " " + id
	uses := w.uses[key]
	for len(uses) > 0 && !uses[0].After(now.Add(-in)) {
		uses = uses[1:]
	}
	if len(uses) < most {
		w.uses[key] = append(uses, now)
		return false
	}
	w.uses[key] = uses
	*refused = failure(ports.WorkerBusy, 429, "The worker is busy; try again later")
	(*refused).Retry = uses[0].Add(in).Sub(now)
	return true
}

// running counts the sessions that run. It needs the lock.
func (w *Worker) running() int {
	n := 0
	for _, s := range w.sessions {
		if s.running {
			n++
		}
	}
	return n
}

// outdated refuses what must not run here any more.
func outdated() *ports.WorkerError {
	return failure(ports.WorkerRejected, 409, "The worker rejected the call: this generation of the session is over here")
}

// leaseless refuses what no lease would end. The caller may try again in a moment.
func leaseless() *ports.WorkerError {
	return failure(ports.WorkerFailed, 503, "The worker failed: it holds no lease until the control plane accepts its heartbeat or registration")
}

func unknown() *ports.WorkerError {
	return failure(ports.WorkerSessionNotFound, 404, "The worker does not have this session")
}

func broken(err error) *ports.WorkerError {
	e := failure(ports.WorkerFailed, 500, "The worker failed: its state cannot be written")
	e.Err = err
	return e
}
