package simworker

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// The caller of each method in this file holds the worker's lock.

// start starts a run of a session. With a linked phone it connects at once,
// otherwise it shows a QR.
func (w *Worker) start(s *session, now time.Time) error {
	if err := w.cfg.State.Record(w.sessionEntry(Started, s, now)); err != nil {
		return err
	}
	s.running, s.loggedOut, s.fault, s.reason = true, false, "", ""
	s.qrs, s.qrAt, s.scanAt, s.upAt = 0, time.Time{}, time.Time{}, time.Time{}
	w.sessions[s.id] = s
	w.known[s.id] = max(w.known[s.id], s.generation)
	if phone, linked := w.cfg.State.Phone(s.id); linked {
		w.connect(s, phone, now)
	} else {
		w.nextQR(s, now)
	}
	return nil
}

// stop ends the run of a session and keeps its credentials.
func (w *Worker) stop(s *session, reason string, now time.Time) { w.stopEffective(s, reason, now, now) }

// stopEffective ends the run of a session that was over in effect at or before now.
func (w *Worker) stopEffective(s *session, reason string, now, effective time.Time) {
	if s.running {
		e := w.sessionEntry(Stopped, s, now)
		e.Reason = reason
		if effective.Before(now) {
			e.Effective = effective
		}
		_ = w.cfg.State.Record(e) // stop even if the entry cannot be written
	}
	s.running = false
	s.qrAt, s.scanAt, s.upAt = time.Time{}, time.Time{}, time.Time{}
	s.qr, s.code, s.reason = "", "", reason
	w.setStatus(s, domain.Disconnected, now)
}

// setStatus changes the status and schedules its report.
func (w *Worker) setStatus(s *session, status domain.Status, now time.Time) {
	s.status, s.statusAt, s.reportAt = status, now, now
}

func (w *Worker) connect(s *session, phone string, now time.Time) {
	s.phone, s.qr, s.code, s.reason = phone, "", "", ""
	s.qrAt, s.scanAt, s.upAt = time.Time{}, time.Time{}, time.Time{}
	w.setStatus(s, domain.Connected, now)
}

// nextQR shows the next QR, or stops the session after maxQRs.
func (w *Worker) nextQR(s *session, now time.Time) {
	if s.qrs == maxQRs {
		w.stop(s, "QR attempts used up", now)
		return
	}
	s.qrs++
	s.phone = ""
	s.qr = "2@" + w.token(s.id, "ref") + "," + w.token(s.id, "key") + "," + w.token(s.id, "identity")
	s.qrAt = now.Add(qrLife)
	if s.pairing != "" && s.code == "" {
		sum := sha256.Sum256([]byte(s.qr))
		code := strings.ToUpper(hex.EncodeToString(sum[:4]))
		s.code = code[:4] + "-" + code[4:]
	}
	if s.scanAt.IsZero() && w.cfg.ScanAfter >= 0 {
		s.scanAt = now.Add(w.cfg.ScanAfter)
	}
	w.setStatus(s, domain.QRRequired, now)
}

// scan links the session's phone.
func (w *Worker) scan(s *session, now time.Time) {
	s.scanAt = time.Time{}
	phone := s.pairing
	if phone == "" {
		phone = PhoneOf(s.id)
	}
	if err := w.cfg.State.Link(s.id, phone, s.generation); err != nil {
		s.fault = "credentials could not be saved"
		w.stop(s, s.fault, now)
		w.setStatus(s, domain.Errored, now)
		return
	}
	w.connect(s, phone, now)
}

// advance does one due action of the session itself. It reports whether there was
// one.
func (w *Worker) advance(s *session, now time.Time) bool {
	due := func(t time.Time) bool { return !t.IsZero() && !t.After(now) }
	switch {
	case due(s.upAt):
		s.upAt = time.Time{}
		if phone, linked := w.cfg.State.Phone(s.id); linked {
			w.connect(s, phone, now)
		} else {
			s.qrs = 0
			w.nextQR(s, now)
		}
	case due(s.scanAt):
		w.scan(s, now)
	case due(s.qrAt):
		w.nextQR(s, now)
	default:
		return false
	}
	return true
}

// dueAt returns when the session or its report is next due.
func (s *session) dueAt() time.Time {
	return earliest(s.qrAt, s.scanAt, s.upAt, s.reportAt)
}

// report returns the report on the session.
func (w *Worker) report(s *session) domain.Report {
	r := domain.Report{
		SessionID: s.id, Status: s.status, PhoneNumber: s.phone, LoggedOut: s.loggedOut,
		Reason: s.reason, Error: s.fault, At: s.statusAt,
	}
	if s.phone != "" {
		r.DisplayName = s.name
	}
	if s.status == domain.QRRequired {
		r.QR = domain.QR{Code: s.qr} // the core knows how long it lives
		r.PairingCode = s.code
	}
	if !w.cfg.Legacy {
		r.WorkerID, r.Generation = w.cfg.ID, s.generation
	} else if s.status == domain.QRRequired {
		r.WorkerID = w.cfg.ID // legacy workers send the id in this status only
	}
	return r
}

// adoptGeneration continues the run of a session under a higher generation.
func (w *Worker) adoptGeneration(s *session, generation int64, now time.Time) error {
	previous := s.generation
	s.generation = generation
	if err := w.cfg.State.Record(w.sessionEntry(Continued, s, now)); err != nil {
		s.generation = previous
		return err
	}
	w.known[s.id] = generation
	return nil
}

// mayRunSessions reports whether sessions may run. Legacy workers may always run them, the
// others only while they hold a lease.
func (w *Worker) mayRunSessions() bool {
	return w.cfg.Legacy || w.control == nil || w.registered && !w.fenced
}

// isEnded reports whether a generation of a session must not run here any more,
// because it was blocked or a higher one was started since.
func (w *Worker) isEnded(id string, generation int64) bool {
	return generation != 0 && (generation <= w.ended[id] || generation < w.known[id])
}

// blockGeneration records that a generation of a session, and every lower one,
// must never start here. It prevents this race:
//
//	control plane                        worker
//	start of generation 1 (delayed)
//	stop of generation 1            →    blocks generation 1
//	starts generation 2 elsewhere
//	                   delayed start →   refused
func (w *Worker) blockGeneration(id string, generation int64) error {
	if generation <= w.ended[id] {
		return nil
	}
	if normal, _ := domain.NormalizeSessionID(id); normal == "" || normal != id {
		return nil // no session of that name can start
	}
	if err := w.cfg.State.recordEnded(w.id(), id, generation); err != nil {
		return err
	}
	w.ended[id] = generation
	return nil
}

// fence stops every session if the lease has ended, because other workers may
// have them now. No session is started until the control plane accepts another
// message. It closes the callers' connections: requests in them may be old.
func (w *Worker) fence(now time.Time) {
	end := w.leaseEnd()
	if end.IsZero() || now.Before(end) || w.fenced {
		return
	}
	w.fenced = true
	w.stopAll("the lease ran out", now, end)
	if w.hangUp != nil {
		w.hangUp()
	}
}

// acceptMessage records that the control plane accepted a message that was sent at a
// time. It applies the commands before it allows starts again. [Worker.within]
// has applied the end of an earlier lease before.
func (w *Worker) acceptMessage(sent, now time.Time, lease time.Duration, commands []service.StopCommand) {
	w.applyCommands(commands, now)
	if w.acceptedAt.Before(sent) {
		w.acceptedAt = sent
	}
	w.lease = lease
	wasFenced := w.fenced
	w.fenced = false
	w.fence(now)
	if wasFenced && !w.fenced && w.hangUp != nil {
		w.hangUp() // drop requests that arrived during the fence and are only read now
	}
}

// applyCommands stops sessions that belong to other workers, for good.
func (w *Worker) applyCommands(commands []service.StopCommand, now time.Time) {
	if w.cfg.Legacy {
		return
	}
	for _, c := range commands {
		id := domain.NormalizeSessionRef(c.SessionID)
		_ = w.blockGeneration(id, c.Generation) // on an error the control plane repeats the command
		if s := w.sessions[id]; s != nil && s.generation <= c.Generation {
			w.stop(s, "told to stop", now)
			delete(w.sessions, id)
		}
	}
}

// stopAll stops and removes all sessions. They were over in effect at the given time.
func (w *Worker) stopAll(reason string, now, effective time.Time) {
	for _, s := range w.sorted() {
		if s.running {
			w.stopEffective(s, reason, now, effective)
		}
		delete(w.sessions, s.id)
	}
}

// leaseEnd returns when the worker must stop its sessions, or zero for never. The
// lease starts at the sending of the accepted message, which is before the control
// plane starts to count.
func (w *Worker) leaseEnd() time.Time {
	if w.cfg.Legacy || w.lease <= 0 || w.acceptedAt.IsZero() {
		return time.Time{}
	}
	return w.acceptedAt.Add(w.lease)
}

// entry returns a journal entry with the worker's names.
func (w *Worker) entry(e Event, now time.Time) Entry {
	return Entry{Time: now, Event: e, Worker: w.cfg.ID, Process: w.process}
}

// sessionEntry returns a journal entry about a session.
func (w *Worker) sessionEntry(e Event, s *session, now time.Time) Entry {
	entry := w.entry(e, now)
	entry.Session, entry.Generation = s.id, s.generation
	return entry
}

// token returns text that looks random, is unique, and is the same in a replay.
func (w *Worker) token(parts ...string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d %v", w.cfg.ID, w.process, w.random.Uint64(), parts))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// PhoneOf returns the number of the phone that scans the session's QR.
func PhoneOf(sessionID string) string {
	return fmt.Sprintf("628%010d", hash(sessionID)%1e10)
}

func hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s)) // a hash returns no error
	return h.Sum64()
}

// earliest returns the first of the times that are set.
func earliest(times ...time.Time) time.Time {
	var first time.Time
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}
