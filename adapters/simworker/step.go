package simworker

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Tick does everything that is due at now. It returns when it must be called
// again at the latest; zero means only after an event. The times are those of
// Config.Now.
func (w *Worker) Tick(ctx context.Context, now time.Time) time.Time {
	for {
		task := w.nextTask(now)
		if task == nil {
			break
		}
		task(ctx, now)
		if ctx.Err() != nil {
			break
		}
		if later := w.cfg.Now(); later.After(now) {
			now = later // the task took time, and a heartbeat may be due
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nextAt()
}

// Fence stops every session if the lease has ended at now. Tick does so too, but
// Tick may be waiting for the control plane. Fence never waits for it.
func (w *Worker) Fence(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.up {
		w.fence(now)
	}
}

// LeaseEnd returns when the worker must stop its sessions unless the control plane
// accepts a message before. Zero means never.
func (w *Worker) LeaseEnd() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.leaseEnd()
}

// nextAt returns when the next task is due. The caller holds the lock.
func (w *Worker) nextAt() time.Time {
	if !w.up {
		return time.Time{}
	}
	var at time.Time
	if len(w.sessions) > 0 {
		at = w.leaseEnd()
	}
	if w.hung {
		return at
	}
	at = earliest(at, w.registerAt, w.recoverAt, w.heartbeatAt)
	for _, s := range w.sessions {
		at = earliest(at, s.dueAt())
	}
	for _, queue := range w.receipts {
		if len(queue) > 0 {
			at = earliest(at, queue[0].at)
		}
	}
	return at
}

// nextTask returns one due task that calls the control plane, or nil. It does the due
// tasks that need no call itself. The caller runs the task without the lock.
func (w *Worker) nextTask(now time.Time) func(context.Context, time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.up {
		return nil
	}
	w.fence(w.cfg.Now())
	if w.hung {
		return nil
	}
	due := func(t time.Time) bool { return !t.IsZero() && !t.After(now) }
	switch {
	case due(w.registerAt):
		w.registerAt = time.Time{}
		return w.register
	case due(w.recoverAt):
		w.recoverAt = time.Time{}
		return w.recover
	case due(w.heartbeatAt):
		w.heartbeatAt = time.Time{}
		return w.sendHeartbeat
	}
	for s := w.mostDue(now); s != nil; s = w.mostDue(now) {
		if w.advance(s, now) {
			continue
		}
		s.reportAt = time.Time{}
		r, process := w.report(s), w.process
		return func(ctx context.Context, _ time.Time) { w.reportSession(ctx, s, r, process) }
	}
	for i, queue := range w.receipts {
		if len(queue) > 0 && due(queue[0].at) {
			w.receipts[i] = queue[1:]
			process := w.process
			return func(ctx context.Context, _ time.Time) { w.deliver(ctx, queue[0], process) }
		}
	}
	return nil
}

// mostDue returns the session whose task is due longest, or nil. The caller holds
// the lock.
func (w *Worker) mostDue(now time.Time) *session {
	var most *session
	var at time.Time
	for _, s := range w.sessions {
		t := s.dueAt()
		if t.IsZero() || t.After(now) {
			continue
		}
		if most == nil || t.Before(at) || t.Equal(at) && s.id < most.id {
			most, at = s, t
		}
	}
	return most
}

// withProcess runs fn under the lock with the current time, if the process that began
// a call still runs. It first applies the end of a lease.
func (w *Worker) withProcess(process int64, fn func(now time.Time)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.process == process && w.up {
		now := w.cfg.Now()
		w.fence(now)
		fn(now)
	}
}

// register registers the worker and schedules what follows.
func (w *Worker) register(ctx context.Context, sent time.Time) {
	w.mu.Lock()
	process := w.process
	r := domain.Registration{
		WorkerID: w.cfg.ID, Endpoint: w.cfg.Endpoint, Capacity: w.cfg.Capacity, Description: w.cfg.Description,
		Version: w.cfg.Version, Environment: w.cfg.Environment,
	}
	if !w.cfg.Legacy {
		r.Labels, r.Interval, r.Capabilities = w.cfg.Labels, w.cfg.Interval, w.Capabilities()
		r.StateGroup = w.cfg.State.Group()
	}
	w.mu.Unlock()
	control, err := w.controlPlane()
	var answer *service.RegisterResult
	if err == nil {
		answer, err = control.Register(ctx, r)
	}
	w.withProcess(process, func(now time.Time) {
		before := w.refusal
		w.refusal = err
		w.logRefusal(ctx, before)
		if err == nil {
			w.applyRegistration(answer, sent, now)
			return
		}
		w.tries++
		switch {
		case !w.cfg.Legacy:
			w.registerAt = now.Add(min(time.Second<<min(w.tries-1, 10), maxRetry))
			if w.lease <= 0 {
				w.stopAll("not registered", now, now) // no lease would end the sessions
			}
		case w.tries < legacyTries:
			w.registerAt = now.Add(legacyRetry)
		default: // legacy workers stop trying, but start to send heartbeats
			w.heartbeatAt = now.Add(w.interval)
		}
	})
}

// logRefusal logs a refusal that no repetition mends, unless the registration before
// was refused for the same reason. The caller holds the lock.
func (w *Worker) logRefusal(ctx context.Context, before error) {
	if !isPermanent(w.refusal) || before != nil && before.Error() == w.refusal.Error() {
		return
	}
	cmp.Or(w.cfg.Log, slog.Default()).ErrorContext(ctx, "registration refused", "worker", w.cfg.ID, "error", w.refusal)
}

// isPermanent reports whether the control plane refused the configuration itself, such
// as an invalid id.
func isPermanent(err error) bool {
	var e *domain.Error
	return errors.As(err, &e) && e.Kind == domain.Invalid
}

// applyRegistration applies the response to a registration. The caller holds the lock.
func (w *Worker) applyRegistration(answer *service.RegisterResult, sent, now time.Time) {
	w.acceptMessage(sent, now, answer.Lease, answer.Commands)
	w.registered, w.tries = true, 0
	if !w.cfg.Legacy && w.cfg.Interval <= 0 && answer.Interval > 0 {
		w.interval = answer.Interval
	}
	w.heartbeatAt = sent.Add(w.interval)
	if answer.Assigned > 0 {
		w.recoverAt = now
	}
}

// recover resumes the sessions that the control plane has assigned to this worker,
// and reports the results.
func (w *Worker) recover(ctx context.Context, now time.Time) {
	w.mu.Lock()
	process, ready := w.process, w.mayRunSessions()
	if !ready {
		w.recoverAt = now.Add(reportRetry) // wait for a lease
	}
	w.mu.Unlock()
	if !ready {
		return
	}
	control, err := w.controlPlane()
	var assigned []service.AssignedSession
	if err == nil {
		assigned, err = control.AssignedSessions(ctx, w.cfg.ID)
	}
	var results []service.RecoveryResult
	if err == nil {
		w.withProcess(process, func(now time.Time) {
			for _, a := range assigned {
				results = append(results, w.resume(a, now))
			}
		})
	}
	if len(results) > 0 {
		_, err = control.ReportRecovery(ctx, w.cfg.ID, results)
	}
	if err != nil && !w.cfg.Legacy {
		w.withProcess(process, func(now time.Time) { w.recoverAt = now.Add(reportRetry) })
	}
}

// resume starts one assigned session. A session without credentials starts too and
// waits for a scan. The caller holds the lock.
func (w *Worker) resume(a service.AssignedSession, now time.Time) service.RecoveryResult {
	result := service.RecoveryResult{SessionID: a.ID, Status: service.RecoverySkipped, At: now}
	generation := a.Generation
	if w.cfg.Legacy {
		generation = 0
	}
	s := w.sessions[a.ID]
	switch {
	case w.stateErr != nil:
		result.Error = "its state cannot be read"
		return result
	case w.isEnded(a.ID, generation):
		result.Error = "this generation of the session is over here"
		return result
	case !w.mayRunSessions():
		result.Error = "the lease ran out"
		return result
	case s == nil || !s.running:
		if w.countRunning() >= w.cfg.Capacity {
			result.Error = "no room"
			return result
		}
		s = &session{id: a.ID, user: a.UserID, name: a.Name, generation: generation, pairing: a.PairingPhone}
		if err := w.start(s, now); err != nil {
			result.Status, result.Error = service.RecoveryFailed, "its state cannot be written"
			return result
		}
	case generation > s.generation:
		if err := w.adoptGeneration(s, generation, now); err != nil {
			result.Error = "its state cannot be written"
			return result
		}
	}
	if s.status == domain.Connected {
		result.Status = service.RecoverySuccess
	} else {
		result.Error = "no credentials; it waits for a scan"
	}
	return result
}

// sendHeartbeat sends a heartbeat and applies the response.
func (w *Worker) sendHeartbeat(ctx context.Context, sent time.Time) {
	w.mu.Lock()
	process := w.process
	h := domain.Heartbeat{
		WorkerID: w.cfg.ID, Sessions: w.list(), IsFullSnapshot: true,
		CPU: min(2+float64(len(w.sessions))/2, 95), Memory: min(10+float64(len(w.sessions)), 95),
		Uptime: sent.Sub(w.bootedAt), MessageCount: w.sent,
		Capacity: w.cfg.Capacity, Version: w.cfg.Version, Environment: w.cfg.Environment,
	}
	w.mu.Unlock()
	control, err := w.controlPlane()
	var answer *service.HeartbeatResult
	if err == nil {
		answer, err = control.Heartbeat(ctx, h)
	}
	w.withProcess(process, func(now time.Time) {
		w.heartbeatAt = sent.Add(w.interval)
		switch {
		case err == nil:
			w.acceptMessage(sent, now, cmp.Or(answer.Lease, w.lease), answer.Commands)
		case w.cfg.Legacy: // the next heartbeat replaces this one
		case domain.CodeOf(err) == domain.CodeWorkerNotFound, unauthenticated(err):
			w.registered, w.registerAt, w.heartbeatAt = false, now, time.Time{}
		default:
			w.heartbeatAt = sent.Add(min(retry, w.interval))
		}
	})
}

// unauthenticated reports whether the worker's token was refused. Another
// registration returns a new token.
func unauthenticated(err error) bool {
	var e *domain.Error
	return errors.As(err, &e) && e.Kind == domain.Unauthenticated
}

// reportSession reports a session. Legacy workers report once. The others repeat
// the report until it is accepted or out of date.
func (w *Worker) reportSession(ctx context.Context, s *session, r domain.Report, process int64) {
	control, err := w.controlPlane()
	if err == nil {
		_, err = control.ReportSession(ctx, r)
	}
	if errors.Is(err, errNoControlPlane) {
		return
	}
	w.withProcess(process, func(now time.Time) {
		if w.sessions[s.id] != s || s.status != r.Status || !s.statusAt.Equal(r.At) || w.cfg.Legacy {
			return
		}
		switch {
		case err != nil && domain.CodeOf(err) != domain.CodeSessionNotFound:
			s.reportAt = now.Add(reportRetry)
		case !s.running:
			delete(w.sessions, s.id) // the control plane knows that it has ended
		}
	})
}

// deliver reports the status of a message. It retries, because the report can
// overtake the response to the send.
func (w *Worker) deliver(ctx context.Context, r receipt, process int64) {
	control, err := w.controlPlane()
	if err == nil {
		_, err = control.ReportMessage(ctx, r.report)
	}
	r.attempts++
	if err == nil || w.cfg.Legacy || r.attempts >= receiptAttempts {
		return
	}
	w.withProcess(process, func(now time.Time) {
		r.at = now.Add(reportRetry)
		w.receipts[2] = append(w.receipts[2], r)
	})
}

// Receive simulates a message to the session's phone, and passes it to the control
// plane at once.
func (w *Worker) Receive(ctx context.Context, sessionID, from, text string) error {
	return w.receive(ctx, sessionID, func(m *service.InboundMessage, _ string) {
		m.From, m.Type, m.Content = from, domain.TypeText, text
	})
}

// receive simulates a message that fill completes. token is new with each message.
func (w *Worker) receive(ctx context.Context, sessionID string, fill func(m *service.InboundMessage, token string)) error {
	now, refused := w.begin(ctx, false)
	if refused != nil {
		return refused
	}
	s, refused := w.connectedSession(sessionID)
	if refused != nil {
		w.mu.Unlock()
		return refused
	}
	token := w.token(s.id)[:16]
	m := service.InboundMessage{
		SessionID: s.id, WhatsAppID: "3AEB" + token, To: s.phone + "@s.whatsapp.net", At: now, Generation: s.generation,
	}
	if !w.cfg.Legacy {
		m.WorkerID = w.cfg.ID
	}
	w.mu.Unlock()
	fill(&m, strings.NewReplacer("+", "-", "/", "_").Replace(token))
	control, err := w.controlPlane()
	if err != nil {
		return err
	}
	_, err = control.ReceiveMessage(ctx, m)
	return err
}

// Scan simulates that the phone scans the session's QR now.
func (w *Worker) Scan(sessionID string) error {
	return w.injectEvent(sessionID, func(s *session, now time.Time) {
		if s.status == domain.QRRequired {
			w.scan(s, now)
		}
	})
}

// Unlink simulates a logout on the phone, which deletes the credentials.
func (w *Worker) Unlink(sessionID string) error {
	return w.injectEvent(sessionID, func(s *session, now time.Time) {
		_ = w.cfg.State.Unlink(s.id) // the phone has deleted its side in any case
		w.stop(s, "logged out on the phone", now)
		s.loggedOut, s.phone = true, ""
	})
}

// LoseLink interrupts the session's connection to WhatsApp for a while.
func (w *Worker) LoseLink(sessionID string, d time.Duration) error {
	return w.injectEvent(sessionID, func(s *session, now time.Time) {
		s.upAt = now.Add(d)
		w.setStatus(s, domain.Reconnecting, now)
	})
}

// Ban simulates that WhatsApp bans the session's number.
func (w *Worker) Ban(sessionID string) error {
	return w.injectEvent(sessionID, func(s *session, now time.Time) {
		w.stop(s, "banned", now)
		s.fault = "the number was banned"
		w.setStatus(s, domain.Errored, now)
	})
}

// injectEvent applies an event to a running session. Tick reports the result.
func (w *Worker) injectEvent(sessionID string, fn func(*session, time.Time)) error {
	w.mu.Lock()
	now := w.cfg.Now()
	w.fence(now)
	s := w.sessions[domain.NormalizeSessionRef(sessionID)]
	if s == nil || !s.running {
		w.mu.Unlock()
		return sessionNotFound()
	}
	fn(s, now)
	w.mu.Unlock()
	w.notifyDue()
	return nil
}
