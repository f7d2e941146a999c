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
	errNoControlPlane = errors.New("there is no control plane")
	errCutOff         = errors.New("the worker is cut off")
)

// The exported methods of this file are the calls of the control plane. Each
// failure is a *ports.WorkerError.

func failure(f ports.WorkerFailure, status int, message string) *ports.WorkerError {
	return &ports.WorkerError{Failure: f, Status: status, Message: message}
}

// begin starts a call: it acquires the lock, applies a lease that has ended, and
// returns the time. It returns an error, without the lock, if the worker cannot
// be reached. It also fails at random, at the configured rate, if mayFail is set.
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
	case w.cutOff:
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

// Health answers the health route.
func (w *Worker) Health(ctx context.Context) error {
	if _, err := w.begin(ctx, false); err != nil {
		return err
	}
	w.mu.Unlock()
	return nil
}

// Start starts a session. It returns the present report if the session runs. It
// refuses a generation that was blocked, and every start without a lease.
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
	case w.stateErr != nil:
		refused = stateError(w.stateErr)
	case w.isEnded(id, order.Generation):
		refused = generationEnded()
	case !w.mayRunSessions():
		refused = noLease()
	case s != nil && s.running:
		if order.Generation > s.generation {
			if err := w.adoptGeneration(s, order.Generation, now); err != nil {
				refused = stateError(err)
				break
			}
		}
		r := w.report(s)
		w.mu.Unlock()
		return r, nil
	default:
		refused = w.countUse(sessionOps, id, now)
		if refused == nil && w.countRunning() >= w.cfg.Capacity {
			refused = failure(ports.WorkerRejected, 409, "The worker rejected the call: it has no room for another session")
		}
	}
	if refused != nil {
		w.mu.Unlock()
		return domain.Report{}, refused
	}
	s = &session{id: id, user: order.UserID, name: order.SessionName, generation: order.Generation, pairing: order.PairingPhone}
	if err := w.start(s, now); err != nil {
		w.mu.Unlock()
		return domain.Report{}, stateError(err)
	}
	r := w.report(s)
	w.finishCall(ctx, s, r)
	return r, nil
}

// finishCall ends a call that changed a session, and releases the lock. Legacy workers
// report the change before they answer; the others leave the report to Tick.
func (w *Worker) finishCall(ctx context.Context, s *session, reports ...domain.Report) {
	if !w.cfg.Legacy {
		w.mu.Unlock()
		w.notifyDue()
		return
	}
	if s != nil {
		s.reportAt = time.Time{}
	}
	w.mu.Unlock()
	for _, r := range reports {
		if control, err := w.controlPlane(); err == nil {
			_, _ = control.ReportSession(ctx, r) // legacy workers do not retry
		}
	}
	w.notifyDue()
}

// Status returns the report on one session.
func (w *Worker) Status(ctx context.Context, sessionID string) (domain.Report, error) {
	if _, err := w.begin(ctx, true); err != nil {
		return domain.Report{}, err
	}
	defer w.mu.Unlock()
	s := w.sessions[domain.NormalizeSessionRef(sessionID)]
	if s == nil {
		return domain.Report{}, sessionNotFound()
	}
	return w.report(s), nil
}

// List returns the reports on all sessions.
func (w *Worker) List(ctx context.Context) ([]domain.Report, error) {
	if _, err := w.begin(ctx, true); err != nil {
		return nil, err
	}
	defer w.mu.Unlock()
	return w.list(), nil
}

// list returns the reports on all sessions. The caller holds the lock.
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

// Restart stops a session and starts it again, unless its generation is blocked.
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
	case w.isEnded(id, generation):
		refused = generationEnded()
	case !w.mayRunSessions():
		refused = noLease()
	case s == nil:
		refused = sessionNotFound()
	default:
		refused = w.countUse(sessionOps, id, now)
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
		return stateError(err)
	}
	s.statusAt = now.Add(2 * time.Millisecond)
	if w.random.IntN(2) == 0 {
		down.At, back.At = back.At, down.At
		down, back = back, down
	}
	w.finishCall(ctx, s, down, back, w.report(s))
	return nil
}

// Disconnect stops a session and keeps its credentials. Like Logout and Delete, it
// blocks its generation and lower ones for good. It does nothing to a session
// that runs under a higher generation.
func (w *Worker) Disconnect(ctx context.Context, sessionID string, generation int64) error {
	return w.endSession(ctx, sessionID, generation, domain.CommandDisconnect)
}

// Logout stops a session and deletes its credentials.
func (w *Worker) Logout(ctx context.Context, sessionID string, generation int64) error {
	return w.endSession(ctx, sessionID, generation, domain.CommandLogout)
}

// Delete deletes everything of a session.
func (w *Worker) Delete(ctx context.Context, sessionID string, generation int64) error {
	return w.endSession(ctx, sessionID, generation, domain.CommandDelete)
}

// endSession stops a session, and wipes its credentials if the order says so.
func (w *Worker) endSession(ctx context.Context, sessionID string, generation int64, order domain.Command) error {
	if w.cfg.Legacy {
		generation = 0
	}
	id := domain.NormalizeSessionRef(sessionID)
	now, refused := w.begin(ctx, true)
	if refused != nil {
		return refused
	}
	s, isDone, refused := w.prepareEnd(id, generation, order, now)
	if refused != nil || isDone {
		w.mu.Unlock()
		if refused != nil {
			return refused
		}
		return nil
	}
	w.stop(s, strings.ToLower(string(order)), now)
	if order.Wipes() {
		s.loggedOut, s.phone = true, ""
	}
	// Legacy workers go on listing a session that they have stopped.
	if !w.cfg.Legacy || order == domain.CommandDelete {
		delete(w.sessions, id)
	}
	w.finishCall(ctx, s, w.report(s))
	return nil
}

// prepareEnd does all of endSession but the stop. It returns the session that is left to stop. isDone
// reports that there is none. The caller holds the lock.
func (w *Worker) prepareEnd(id string, generation int64, order domain.Command, now time.Time) (s *session, isDone bool, refused *ports.WorkerError) {
	s = w.sessions[id]
	if w.cfg.Legacy && s != nil && !s.running && order == domain.CommandLogout {
		// The package comment says how deployed legacy workers answer.
		return nil, false, failure(ports.WorkerFailed, 500, "The worker failed: the session has no connection")
	}
	hasNothing := generation != 0 && generation < w.known[id] || s == nil && !(order.Wipes() && w.findsCredentials(id))
	if !hasNothing {
		refused = w.countUse(sessionOps, id, now)
		if refused != nil {
			return nil, false, refused
		}
	}
	if err := w.blockGeneration(id, generation); err != nil {
		return nil, false, stateError(err)
	}
	switch {
	case hasNothing && generation == 0:
		return nil, false, sessionNotFound()
	case hasNothing:
		return nil, true, nil
	case order.Wipes():
		if err := w.cfg.State.UnlinkUpTo(id, generation); err != nil {
			return nil, false, stateError(err)
		}
	}
	return s, s == nil, nil
}

// findsCredentials reports whether the worker can wipe a session that it does not have in memory. A
// legacy worker finds no credentials of a session that it has not started.
func (w *Worker) findsCredentials(id string) bool {
	_, linked := w.cfg.State.Phone(id)
	return linked && !w.cfg.Legacy
}

// Send sends one message. For a repeated client message id it returns the first
// result and sends nothing.
func (w *Worker) Send(ctx context.Context, m ports.Send) (ports.Sent, error) {
	now, refused := w.begin(ctx, true)
	if refused != nil {
		return ports.Sent{}, refused
	}
	defer w.mu.Unlock()
	key := ""
	if !w.cfg.Legacy && m.ClientMessageID != "" {
		// Look here first: the message was sent, whatever happened to the session since.
		key = dedupeKey(domain.NormalizeSessionRef(m.SessionID), m.ClientMessageID)
		if sent, repeated := w.done[key]; repeated {
			return sent, nil
		}
	}
	s, refused := w.connectedSession(m.SessionID)
	if refused != nil {
		return ports.Sent{}, refused
	}
	refused = w.countUse(sends, s.id, now)
	if refused != nil {
		return ports.Sent{}, refused
	}
	text := ""
	if m.Message != nil {
		text = m.Message.Body()
	}
	sum := sha256.Sum256([]byte(w.token(s.id)))
	// Read the clock again, as late as possible. No lease can cover the time
	// between the last look at the clock and the act.
	now = w.cfg.Now()
	w.fence(now)
	if !s.running {
		return ports.Sent{}, sessionNotFound()
	}
	sent := ports.Sent{WhatsAppID: "3EB0" + strings.ToUpper(hex.EncodeToString(sum[:8])), Status: domain.MessageSent, At: now}
	entry := w.sessionEntry(SentOut, s, now)
	entry.MessageID, entry.To, entry.Text = sent.WhatsAppID, string(m.To), text
	if !w.cfg.Legacy {
		entry.ClientMessageID = m.ClientMessageID
	}
	if err := w.cfg.State.Record(entry); err != nil {
		return ports.Sent{}, stateError(err)
	}
	w.sent++
	if key != "" {
		w.remember(key, sent)
	}
	if w.cfg.ReceiptAfter >= 0 && w.control != nil {
		w.scheduleReceipts(s.id, sent, now)
	}
	return sent, nil
}

// dedupeKey returns the key of a message in the dedupe table.
func dedupeKey(sessionID, messageID string) string { return sessionID + " " + messageID }

// remember stores a result for repeats, and evicts the oldest above dedupeKept.
func (w *Worker) remember(key string, sent ports.Sent) {
	w.done[key] = sent
	w.doneKeys = append(w.doneKeys, key)
	if len(w.doneKeys) > dedupeKept {
		delete(w.done, w.doneKeys[0])
		w.doneKeys = w.doneKeys[1:]
	}
}

// scheduleReceipts schedules the receipts of a message: delivered, then read.
func (w *Worker) scheduleReceipts(sessionID string, sent ports.Sent, now time.Time) {
	if len(w.receipts[1]) >= receiptsKept {
		return // drop the receipts: the control plane is slower than the phones
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

// PerformAction accepts an action on a message or in a chat. It has no effect.
func (w *Worker) PerformAction(ctx context.Context, sessionID string, _ domain.Action) error {
	if _, err := w.begin(ctx, true); err != nil {
		return err
	}
	defer w.mu.Unlock()
	if _, err := w.connectedSession(sessionID); err != nil {
		return err
	}
	return nil
}

// connectedSession returns a session that can send. The caller holds the lock.
func (w *Worker) connectedSession(sessionID string) (*session, *ports.WorkerError) {
	s := w.sessions[domain.NormalizeSessionRef(sessionID)]
	switch {
	case s == nil:
		return nil, sessionNotFound()
	case s.status != domain.Connected:
		return nil, failure(ports.WorkerRejected, 409, "The worker rejected the call: the session is not connected")
	}
	return s, nil
}

// rateLimit is a limit for the calls about one session.
type rateLimit struct {
	name   string
	most   int
	window time.Duration
}

// The limits of legacy workers.
var (
	sessionOps = rateLimit{"session", 5, 5 * time.Minute}
	sends      = rateLimit{"send", 10, time.Minute}
)

// countUse counts a call against a limit. It returns an error for a call beyond
// the limit, which does not count. The caller holds the lock.
func (w *Worker) countUse(limit rateLimit, id string, now time.Time) *ports.WorkerError {
	if !w.cfg.Limited {
		return nil
	}
	key := limit.name + " " + id
	uses := w.uses[key]
	for len(uses) > 0 && !uses[0].After(now.Add(-limit.window)) {
		uses = uses[1:]
	}
	if len(uses) < limit.most {
		w.uses[key] = append(uses, now)
		return nil
	}
	w.uses[key] = uses
	e := failure(ports.WorkerBusy, 429, "The worker is busy; try again later")
	e.Retry = uses[0].Add(limit.window).Sub(now)
	return e
}

// countRunning counts the sessions that run. The caller holds the lock.
func (w *Worker) countRunning() int {
	n := 0
	for _, s := range w.sessions {
		if s.running {
			n++
		}
	}
	return n
}

// generationEnded returns the error for a generation that must not run here any more.
func generationEnded() *ports.WorkerError {
	return failure(ports.WorkerRejected, 409, "The worker rejected the call: this generation of the session is over here")
}

// noLease returns the error for a start without a lease. The caller may retry.
func noLease() *ports.WorkerError {
	return failure(ports.WorkerFailed, 503, "The worker failed: it holds no lease until the control plane accepts its heartbeat or registration")
}

// sessionNotFound returns the error for a session that the worker does not have.
func sessionNotFound() *ports.WorkerError {
	return failure(ports.WorkerSessionNotFound, 404, "The worker does not have this session")
}

// stateError returns the error for a state that cannot be written.
func stateError(err error) *ports.WorkerError {
	e := failure(ports.WorkerFailed, 500, "The worker failed: its state cannot be written")
	e.Err = err
	return e
}
