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

// The functions of this file need the worker's lock.

// start begins to run a session. If its phone is linked it is connected at
// once, otherwise there is a QR to scan.
func (w *Worker) start(s *session, now time.Time) error {
	if err := w.cfg.State.Record(w.about(Started, s, now)); err != nil {
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

// stop ends a session's run; its credentials stay.
func (w *Worker) stop(s *session, reason string, now time.Time) { w.stopped(s, reason, now, now) }

// stopped ends a session's run that was over in effect at a time, now or before.
func (w *Worker) stopped(s *session, reason string, now, effective time.Time) {
	if s.running {
		e := w.about(Stopped, s, now)
		if e.Reason = reason; effective.Before(now) {
			e.Effective = effective
		}
		_ = w.cfg.State.Record(e) // it stops, whether or not that can be noted
	}
	s.running = false
	s.qrAt, s.scanAt, s.upAt = time.Time{}, time.Time{}, time.Time{}
	s.qr, s.code, s.reason = "", "", reason
	w.enter(s, domain.Disconnected, now)
}

// enter changes the status and has it reported.
func (w *Worker) enter(s *session, status domain.Status, now time.Time) {
	s.status, s.statusAt, s.reportAt = status, now, now
}

func (w *Worker) connect(s *session, phone string, now time.Time) {
	s.phone, s.qr, s.code, s.reason = phone, "", "", ""
	s.qrAt, s.scanAt, s.upAt = time.Time{}, time.Time{}, time.Time{}
	w.enter(s, domain.Connected, now)
}

// nextQR shows another QR, or gives up.
func (w *Worker) nextQR(s *session, now time.Time) {
	if s.qrs == qrAttempts {
		w.stop(s, "QR attempts used up", now)
		return
	}
	s.qrs++
	s.phone = ""
	s.qr = "2@" + w.token(s.id, "ref") + "," + w.token(s.id, "key") + "," + w.token(s.id, "identity")
	s.qrAt = now.Add(qrLife)
	s.qrExpires = s.qrAt
	if s.pairing != "" && s.code == "" {
		sum := sha256.Sum256([]byte(s.qr))
		code := strings.ToUpper(hex.EncodeToString(sum[:4]))
		s.code = code[:4] + "-" + code[4:]
	}
	if s.scanAt.IsZero() && w.cfg.ScanAfter >= 0 {
		s.scanAt = now.Add(w.cfg.ScanAfter)
	}
	w.enter(s, domain.QRRequired, now)
}

// scan links the session's phone.
func (w *Worker) scan(s *session, now time.Time) {
	s.scanAt = time.Time{}
	phone := s.pairing
	if phone == "" {
		phone = PhoneOf(s.id)
	}
	if err := w.cfg.State.Link(s.id, phone); err != nil {
		s.fault = "credentials could not be saved"
		w.stop(s, s.fault, now)
		w.enter(s, domain.Errored, now)
		return
	}
	w.connect(s, phone, now)
}

// advance does one thing that is due about the session itself, and reports
// whether there was one.
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

// dueAt is when the session next needs attention, reports included.
func (s *session) dueAt() time.Time {
	return earliest(s.qrAt, s.scanAt, s.upAt, s.reportAt)
}

// report is what there is to say of the session.
func (w *Worker) report(s *session) domain.Report {
	r := domain.Report{
		SessionID: s.id, Status: s.status, PhoneNumber: s.phone, LoggedOut: s.loggedOut,
		Reason: s.reason, Error: s.fault, At: s.statusAt,
	}
	if s.phone != "" {
		r.DisplayName = s.name
	}
	if s.status == domain.QRRequired {
		r.QR = domain.QR{Code: s.qr, ExpiresAt: s.qrExpires}
		r.PairingCode = s.code
	}
	if !w.cfg.Legacy {
		r.WorkerID, r.Generation = w.cfg.ID, s.generation
	} else if s.status == domain.QRRequired {
		r.WorkerID = w.cfg.ID // they say so here and nowhere else
	}
	return r
}

// goOn gives a session that runs a newer generation: the same run goes on.
func (w *Worker) goOn(s *session, generation int64, now time.Time) error {
	older := s.generation
	s.generation = generation
	if err := w.cfg.State.Record(w.about(Continued, s, now)); err != nil {
		s.generation = older
		return err
	}
	w.known[s.id] = generation
	return nil
}

// mayRun reports whether sessions may run: older workers always let them, the
// others only while a lease ends it.
func (w *Worker) mayRun() bool {
	return w.cfg.Legacy || w.control == nil || w.registered && !w.fenced
}

// over reports whether a generation of a session must not run here any more: it
// was ordered to stop, or a newer one has been started since.
func (w *Worker) over(id string, generation int64) bool {
	return generation != 0 && (generation <= w.ended[id] || generation < w.known[id])
}

// blockGeneration remembers that a generation of a session, and every older one, was ordered
// to stop. It is for good, so that a start which was delayed on its way does not
// bring back what has moved on.
func (w *Worker) blockGeneration(id string, generation int64) error {
	if generation <= w.ended[id] {
		return nil
	}
	if normal, _ := domain.NormalizeSessionID(id); normal == "" || normal != id {
		return nil // nothing of that name is ever started
	}
	if err := w.cfg.State.end(w.id(), id, generation); err != nil {
		return err
	}
	w.ended[id] = generation
	return nil
}

// fence stops every session if the lease has run out: others may have them now.
// Until the worker is heard of again nothing is started, and what is asked for
// over connections that callers have open is not done any more: it may have been
// there for long.
func (w *Worker) fence(now time.Time) {
	end := w.leaseEnd()
	if end.IsZero() || now.Before(end) || w.fenced {
		return
	}
	w.fenced = true
	w.drop("the lease ran out", now, end)
	if w.hangUp != nil {
		w.hangUp()
	}
}

// heard notes that the control plane accepted a message that was sent at a time.
// If the lease has run out meanwhile, that has taken effect before, see
// [Worker.within]. What is commanded comes before anything that is started.
func (w *Worker) heard(sent, now time.Time, lease time.Duration, commands []service.StopCommand) {
	w.applyCommands(commands, now)
	if w.heardAt.Before(sent) {
		w.heardAt = sent
	}
	w.lease = lease
	wasFenced := w.fenced
	w.fenced = false
	if w.fence(now); wasFenced && !w.fenced && w.hangUp != nil {
		w.hangUp() // on those who connected before this process went on and read it only now
	}
}

// applyCommands stops sessions that belong to others, for good.
func (w *Worker) applyCommands(commands []service.StopCommand, now time.Time) {
	if w.cfg.Legacy {
		return
	}
	for _, c := range commands {
		id := domain.NormalizeSessionRef(c.SessionID)
		_ = w.blockGeneration(id, c.Generation) // if that cannot be kept, it is commanded again
		if s := w.sessions[id]; s != nil && s.generation <= c.Generation {
			w.stop(s, "told to stop", now)
			delete(w.sessions, id)
		}
	}
}

// drop stops all sessions, which were over in effect at a time, and forgets them.
func (w *Worker) drop(reason string, now, effective time.Time) {
	for _, s := range w.sorted() {
		if s.running {
			w.stopped(s, reason, now, effective)
		}
		delete(w.sessions, s.id)
	}
}

// leaseEnd is when the worker has to stop its sessions unless it is heard of
// before; zero: never. Time counts from when the message that was accepted had
// been sent, which is before the control plane begins to count.
func (w *Worker) leaseEnd() time.Time {
	if w.cfg.Legacy || w.lease <= 0 || w.heardAt.IsZero() {
		return time.Time{}
	}
	return w.heardAt.Add(w.lease)
}

// entry begins an entry of the journal.
func (w *Worker) entry(e Event, now time.Time) Entry {
	return Entry{Time: now, Event: e, Worker: w.cfg.ID, Process: w.process}
}

// about begins an entry about a session.
func (w *Worker) about(e Event, s *session, now time.Time) Entry {
	entry := w.entry(e, now)
	entry.Session, entry.Generation = s.id, s.generation
	return entry
}

// token makes text that looks random, differs each time, and is the same in a replay.
func (w *Worker) token(parts ...string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d %v", w.cfg.ID, w.process, w.random.Uint64(), parts))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// PhoneOf gives the number of the phone that scans the session's QR.
func PhoneOf(sessionID string) string {
	return fmt.Sprintf("628%010d", hash(sessionID)%1e10)
}

func hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s)) // never fails
	return h.Sum64()
}

// earliest gives the first of the times that are set.
func earliest(times ...time.Time) time.Time {
	var first time.Time
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}
