package simworker

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Tick does everything that is due at now, and returns when it has to be called
// again unless something happens before; zero: only then. Time is of the clock
// that the worker was configured with.
func (w *Worker) Tick(ctx context.Context, now time.Time) time.Time {
	for {
		task := w.next(now)
		if task == nil {
			break
		}
		if task(ctx, now); ctx.Err() != nil {
			break
		}
		if later := w.cfg.Now(); later.After(now) {
			now = later // the task took its time, and a heartbeat may be due
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nextAt()
}

// Fence stops every session if the lease has run out by now. Tick does it too,
// but may be waiting for the control plane, which this never does.
func (w *Worker) Fence(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.up {
		w.fence(now)
	}
}

// LeaseEnd gives when the worker has to stop its sessions unless it is heard of
// before; zero: never.
func (w *Worker) LeaseEnd() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.leaseEnd()
}

// nextAt is when something is next due. It needs the lock.
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
	at = earliest(at, w.registerAt, w.recoverAt, w.beatAt)
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

// next finds one thing to do that needs the control plane, and does by the way
// what needs it not. The task runs without the lock.
func (w *Worker) next(now time.Time) func(context.Context, time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.up {
		return nil
	}
	if w.fence(w.cfg.Now()); w.hung {
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
	case due(w.beatAt):
		w.beatAt = time.Time{}
		return w.beat
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

// mostDue gives the session that has waited longest for something due, or nil.
// It needs the lock.
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

// within runs fn under the lock with the time it is then, unless the process that
// began the call has ended since. A lease that has run out takes effect before.
func (w *Worker) within(process int64, fn func(now time.Time)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.process == process && w.up {
		now := w.cfg.Now()
		w.fence(now)
		fn(now)
	}
}

func (w *Worker) register(ctx context.Context, sent time.Time) {
	w.mu.Lock()
	process := w.process
	r := domain.Registration{
		WorkerID: w.cfg.ID, Endpoint: w.cfg.Endpoint, Capacity: w.cfg.Capacity, Description: w.cfg.Description,
		Version: w.cfg.Version, Environment: w.cfg.Environment,
	}
	if !w.cfg.Legacy {
		r.Labels, r.Interval, r.Capabilities = w.cfg.Labels, w.cfg.Interval, w.Capabilities()
	}
	w.mu.Unlock()
	control, err := w.line()
	var answer *service.RegisterResult
	if err == nil {
		answer, err = control.Register(ctx, r)
	}
	w.within(process, func(now time.Time) {
		w.refusal = err
		if err == nil {
			w.accepted(answer, sent, now)
			return
		}
		w.tries++
		switch {
		case !w.cfg.Legacy:
			w.registerAt = now.Add(min(time.Second<<min(w.tries-1, 10), maxRetry))
			if w.lease <= 0 {
				w.drop("not registered", now, now) // nothing may run here that no lease ends
			}
		case w.tries < legacyTries:
			w.registerAt = now.Add(legacyRetry)
		default: // never again; but their heartbeats come all the same
			w.beatAt = now.Add(w.interval)
		}
	})
}

// accepted takes in the answer to a registration. It needs the lock.
func (w *Worker) accepted(answer *service.RegisterResult, sent, now time.Time) {
	w.heard(sent, now, answer.Lease, answer.Commands)
	w.registered, w.tries = true, 0
	if !w.cfg.Legacy && w.cfg.Interval <= 0 && answer.Interval > 0 {
		w.interval = answer.Interval
	}
	w.beatAt = sent.Add(w.interval)
	if answer.Assigned > 0 {
		w.recoverAt = now
	}
}

// recover resumes the sessions that the control plane says are this worker's,
// and tells it how that went.
func (w *Worker) recover(ctx context.Context, now time.Time) {
	w.mu.Lock()
	process, ready := w.process, w.mayRun()
	if !ready {
		w.recoverAt = now.Add(reportRetry) // once there is a lease
	}
	w.mu.Unlock()
	if !ready {
		return
	}
	control, err := w.line()
	var assigned []service.AssignedSession
	if err == nil {
		assigned, err = control.AssignedSessions(ctx, w.cfg.ID)
	}
	var results []service.RecoveryResult
	if err == nil {
		w.within(process, func(now time.Time) {
			for _, a := range assigned {
				results = append(results, w.resume(a, now))
			}
		})
	}
	if len(results) > 0 {
		_, err = control.ReportRecovery(ctx, w.cfg.ID, results)
	}
	if err != nil && !w.cfg.Legacy {
		w.within(process, func(now time.Time) { w.recoverAt = now.Add(reportRetry) })
	}
}

// resume starts one session that was assigned before. Without credentials it is
// started all the same, and asks for a scan. It needs the lock.
func (w *Worker) resume(a service.AssignedSession, now time.Time) service.RecoveryResult {
	result := service.RecoveryResult{SessionID: a.ID, Status: service.RecoverySkipped, At: now}
	generation := a.Generation
	if w.cfg.Legacy {
		generation = 0
	}
	s := w.sessions[a.ID]
	switch {
	case w.damage != nil:
		result.Error = "its state cannot be read"
		return result
	case w.over(a.ID, generation):
		result.Error = "this generation of the session is over here"
		return result
	case !w.mayRun():
		result.Error = "the lease ran out"
		return result
	case s == nil || !s.running:
		if w.running() >= w.cfg.Capacity {
			result.Error = "no room"
			return result
		}
		s = &session{id: a.ID, user: a.UserID, name: a.Name, generation: generation, pairing: a.PairingPhone}
		if err := w.start(s, now); err != nil {
			result.Status, result.Error = service.RecoveryFailed, "its state cannot be written"
			return result
		}
	case generation > s.generation:
		if err := w.goOn(s, generation, now); err != nil {
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

func (w *Worker) beat(ctx context.Context, sent time.Time) {
	w.mu.Lock()
	process := w.process
	h := domain.Heartbeat{
		WorkerID: w.cfg.ID, Sessions: w.list(), IsFullSnapshot: true,
		CPU: min(2+float64(len(w.sessions))/2, 95), Memory: min(10+float64(len(w.sessions)), 95),
		Uptime: sent.Sub(w.bootedAt), MessageCount: w.sent,
		Capacity: w.cfg.Capacity, Version: w.cfg.Version, Environment: w.cfg.Environment,
	}
	w.mu.Unlock()
	control, err := w.line()
	var answer *service.HeartbeatResult
	if err == nil {
		answer, err = control.Heartbeat(ctx, h)
	}
	w.within(process, func(now time.Time) {
		w.beatAt = sent.Add(w.interval)
		switch {
		case err == nil:
			w.heard(sent, now, cmp.Or(answer.Lease, w.lease), answer.Commands)
		case w.cfg.Legacy: // the next one repairs what this one missed
		case domain.CodeOf(err) == domain.CodeWorkerNotFound, unauthenticated(err):
			w.registered, w.registerAt, w.beatAt = false, now, time.Time{}
		default:
			w.beatAt = sent.Add(min(retry, w.interval))
		}
	})
}

// unauthenticated reports whether the worker's token was refused: by registering
// again it gets another.
func unauthenticated(err error) bool {
	var e *domain.Error
	return errors.As(err, &e) && e.Kind == domain.Unauthenticated
}

// reportSession reports a session. Older workers say it once; the others until it has
// been heard, or there is something newer to say.
func (w *Worker) reportSession(ctx context.Context, s *session, r domain.Report, process int64) {
	control, err := w.line()
	if err == nil {
		_, err = control.ReportSession(ctx, r)
	}
	if errors.Is(err, errNobody) {
		return
	}
	w.within(process, func(now time.Time) {
		if w.sessions[s.id] != s || s.status != r.Status || !s.statusAt.Equal(r.At) || w.cfg.Legacy {
			return
		}
		switch {
		case err != nil && domain.CodeOf(err) != domain.CodeSessionNotFound:
			s.reportAt = now.Add(reportRetry)
		case !s.running:
			delete(w.sessions, s.id) // it is known to have ended
		}
	})
}

// deliver reports the status of a message. It may not be known yet, for the
// answer to its send can be slower.
func (w *Worker) deliver(ctx context.Context, r receipt, process int64) {
	control, err := w.line()
	if err == nil {
		_, err = control.ReportMessage(ctx, r.report)
	}
	if r.tries++; err == nil || w.cfg.Legacy || r.tries >= receiptTries {
		return
	}
	w.within(process, func(now time.Time) {
		r.at = now.Add(reportRetry)
		w.receipts[2] = append(w.receipts[2], r)
	})
}

// Receive has the session's phone receive a message, which the control plane is
// told of at once.
func (w *Worker) Receive(ctx context.Context, sessionID, from, text string) error {
	now, refused := w.begin(ctx, false)
	if refused != nil {
		return refused
	}
	s, refused := w.connected(sessionID)
	if refused != nil {
		w.mu.Unlock()
		return refused
	}
	m := service.InboundMessage{
		SessionID: s.id, WhatsAppID: "3AEB" + w.token(s.id)[:16], From: from, To: s.phone + "@s.whatsapp.net",
		Type: domain.TypeText, Content: text, At: now, Generation: s.generation,
	}
	w.mu.Unlock()
	control, err := w.line()
	if err != nil {
		return err
	}
	_, err = control.ReceiveMessage(ctx, m)
	return err
}

// Scan has the phone scan the session's QR now.
func (w *Worker) Scan(sessionID string) error {
	return w.injectEvent(sessionID, func(s *session, now time.Time) {
		if s.status == domain.QRRequired {
			w.scan(s, now)
		}
	})
}

// Unlink has the user log the session out on the phone: its credentials are gone.
func (w *Worker) Unlink(sessionID string) error {
	return w.injectEvent(sessionID, func(s *session, now time.Time) {
		_ = w.cfg.State.Unlink(s.id) // the phone has forgotten it all the same
		w.stop(s, "logged out on the phone", now)
		s.loggedOut, s.phone = true, ""
	})
}

// LoseLink interrupts the session's connection to WhatsApp for a while.
func (w *Worker) LoseLink(sessionID string, d time.Duration) error {
	return w.injectEvent(sessionID, func(s *session, now time.Time) {
		s.upAt = now.Add(d)
		w.enter(s, domain.Reconnecting, now)
	})
}

// Ban has WhatsApp ban the session's number.
func (w *Worker) Ban(sessionID string) error {
	return w.injectEvent(sessionID, func(s *session, now time.Time) {
		w.stop(s, "banned", now)
		s.fault = "the number was banned"
		w.enter(s, domain.Errored, now)
	})
}

// injectEvent lets something happen to a session that runs; Tick reports it.
func (w *Worker) injectEvent(sessionID string, fn func(*session, time.Time)) error {
	w.mu.Lock()
	now := w.cfg.Now()
	w.fence(now)
	s := w.sessions[domain.NormalizeSessionRef(sessionID)]
	if s == nil || !s.running {
		w.mu.Unlock()
		return unknown()
	}
	fn(s, now)
	w.mu.Unlock()
	w.due()
	return nil
}
