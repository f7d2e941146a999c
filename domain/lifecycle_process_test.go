package domain_test

import (
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

// enter makes the process of one more worker.
func (w *world) enter(id string, modern bool, clock time.Duration) *process {
	p := &process{
		id: id, modern: modern, clock: clock,
		sessions: map[string]domain.Status{}, versions: map[string]int64{},
		linked: map[string]bool{}, doomed: map[string]bool{}, excused: map[string]bool{},
	}
	w.processes[id] = p
	return p
}

// running reports whether the session really runs there.
func (p *process) running(session string) bool { return p.up && p.sessions[session].IsActive() }

// expired reports whether the worker has a lease and it has run out.
func (p *process) expired(w *world) bool { return p.modern && w.now.Sub(p.beatAt) >= w.timing.Lease }

// run begins to run a session.
func (p *process) run(w *world, session string, generation int64, status domain.Status) {
	if p.linked[session] && p.doomed[session] && !p.late {
		w.t.Fatalf("%s starts on %s with credentials that a logout had to wipe", session, p.id)
	}
	for _, other := range w.processes {
		if other != p && other.running(session) && !other.excused[session] && !p.late {
			w.t.Fatalf("%s starts on %s and still runs on %s", session, p.id, other.id)
		}
	}
	p.sessions[session], p.versions[session] = status, generation
	p.excused[session] = p.late
}

// obey does what a call asks for and returns the status that it answers.
func (p *process) obey(w *world, session string, order domain.Command, generation int64) domain.Status {
	there := p.running(session)
	switch order {
	case domain.CommandStart:
		if there {
			p.versions[session] = generation
			p.excused[session] = p.excused[session] && p.late
			break
		}
		p.run(w, session, generation, domain.Init)
		p.report(w, domain.Report{SessionID: session, Status: domain.Init})
	case domain.CommandRestart:
		p.run(w, session, generation, domain.Init)
		if there {
			p.restarts(w, session)
		}
	default:
		loggedOut := order != domain.CommandDisconnect && order != domain.CommandMove
		if loggedOut {
			delete(p.linked, session)
			delete(p.doomed, session)
		}
		if _, known := p.sessions[session]; known {
			p.sessions[session] = domain.Disconnected // it goes on listing it
			p.report(w, domain.Report{SessionID: session, Status: domain.Disconnected, LoggedOut: loggedOut})
		}
		return ""
	}
	return p.sessions[session]
}

// restarts reports what a restart looks like from outside.
func (p *process) restarts(w *world, session string) {
	both := []domain.Report{{SessionID: session, Status: domain.Disconnected}, {SessionID: session, Status: domain.Reconnecting}}
	for i := range both {
		both[i].At = p.tick(w)
	}
	if w.pick("order of reports", 2) == 1 {
		both[0], both[1] = both[1], both[0]
	}
	for _, r := range both {
		p.report(w, r)
	}
}

// tick gives the time by the worker's own clock, which never stands still.
func (p *process) tick(w *world) time.Time {
	at := w.now.Add(p.clock)
	if !at.After(p.stamp) {
		at = p.stamp.Add(time.Millisecond)
	}
	p.stamp = at
	return at
}

// report sends a report, which may come at once, late, twice, or never.
func (p *process) report(w *world, r domain.Report) {
	if p.clock == 0 {
		r.At = time.Time{} // this one has no timestamps
	} else if r.At.IsZero() {
		r.At = p.tick(w)
	}
	if p.modern {
		r.WorkerID, r.Generation = p.id, p.versions[r.SessionID]
	} else if r.Status == domain.QRRequired {
		r.WorkerID = p.id
	}
	if r.Status == domain.QRRequired {
		r.QR = domain.QR{Code: "scan me", ExpiresAt: w.now.Add(w.timing.QRLife)}
	}
	if p.cutOff {
		return
	}
	switch w.pick("report", 5) {
	case 2:
		w.mail = append(w.mail, r, r)
	case 3:
		w.mail = append(w.mail, r)
	case 4:
	default:
		w.deliver(r)
	}
}

// live lets something happen to a session that runs there: what is usual, or
// one of the things that go wrong.
func (p *process) live(w *world, session string) {
	become := func(s domain.Status) {
		p.sessions[session] = s
		p.report(w, domain.Report{SessionID: session, Status: s, PhoneNumber: map[bool]string{true: "6281234567890"}[s == domain.Connected]})
	}
	odd := w.pick("odd", 6)
	switch p.sessions[session] {
	case domain.Init, domain.Reconnecting:
		switch {
		case odd == 5:
			become(domain.Disconnected)
		case odd == 4:
			become(domain.Errored)
		case p.linked[session]:
			become(domain.Connected)
		default:
			become(domain.QRRequired)
		}
	case domain.QRRequired:
		switch odd {
		case 5: // nobody scans
			become(domain.Disconnected)
		case 4:
			become(domain.QRRequired)
		default:
			p.linked[session] = true
			delete(p.doomed, session)
			become(domain.Connected)
		}
	case domain.Connected:
		switch odd {
		case 1:
			become(domain.Reconnecting)
		case 2: // logged out on the phone
			delete(p.linked, session)
			delete(p.doomed, session)
			p.sessions[session] = domain.Disconnected
			p.report(w, domain.Report{SessionID: session, Status: domain.Disconnected, LoggedOut: true})
		case 3: // by itself
			p.sessions[session] = domain.Reconnecting
			p.restarts(w, session)
		case 4:
			become(domain.Errored) // banned
		case 5:
			become(domain.Disconnected)
		}
	}
}
