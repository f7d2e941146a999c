package domain_test

import (
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

// addProcess adds the process of another worker.
func (w *simulation) addProcess(id string, modern bool, clock time.Duration) *process {
	p := &process{
		id: id, modern: modern, clock: clock,
		sessions: map[string]domain.Status{}, versions: map[string]int64{},
		linked: map[string]bool{}, doomed: map[string]bool{}, excused: map[string]bool{},
	}
	w.processes[id] = p
	return p
}

// share lets two workers share credentials.
func (w *simulation) share(a, b string) {
	w.workers[a].StateGroup, w.workers[b].StateGroup = "group", "group"
	w.processes[b].linked, w.processes[b].doomed = w.processes[a].linked, w.processes[a].doomed
}

// running reports whether the process really runs the session.
func (p *process) running(session string) bool { return p.up && p.sessions[session].IsActive() }

// expired reports whether the worker's lease has ended.
func (p *process) expired(w *simulation) bool {
	return p.modern && w.now.Sub(p.beatAt) >= w.timing.Lease
}

// run starts a session. It fails the test if the session may run twice.
func (p *process) run(w *simulation, session string, generation int64, status domain.Status) {
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

// execute executes a command and returns the status of the response.
func (p *process) execute(w *simulation, session string, command domain.Command, generation int64) domain.Status {
	there := p.running(session)
	switch command {
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
			p.reportRestart(w, session)
		}
	default:
		loggedOut := command != domain.CommandDisconnect && command != domain.CommandMove
		if loggedOut {
			delete(p.linked, session)
			delete(p.doomed, session)
		}
		if _, known := p.sessions[session]; known {
			p.sessions[session] = domain.Disconnected // the worker continues to list it
			p.report(w, domain.Report{SessionID: session, Status: domain.Disconnected, LoggedOut: loggedOut})
		}
		return ""
	}
	return p.sessions[session]
}

// reportRestart reports a restart in the order in which workers report it.
func (p *process) reportRestart(w *simulation, session string) {
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

// tick returns the time of the worker's clock, which never stands still.
func (p *process) tick(w *simulation) time.Time {
	at := w.now.Add(p.clock)
	if !at.After(p.stamp) {
		at = p.stamp.Add(time.Millisecond)
	}
	p.stamp = at
	return at
}

// report sends a report. With faults it may arrive late, twice or never.
func (p *process) report(w *simulation, r domain.Report) {
	if p.clock == 0 {
		r.At = time.Time{} // this worker sends no timestamps
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

// runSession lets a running session continue, or one of its faults happen.
func (p *process) runSession(w *simulation, session string) {
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
		case 5: // nobody scans the QR
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
		case 2: // the phone logged out
			delete(p.linked, session)
			delete(p.doomed, session)
			p.sessions[session] = domain.Disconnected
			p.report(w, domain.Report{SessionID: session, Status: domain.Disconnected, LoggedOut: true})
		case 3: // an unrequested restart
			p.sessions[session] = domain.Reconnecting
			p.reportRestart(w, session)
		case 4:
			become(domain.Errored) // WhatsApp banned the account
		case 5:
			become(domain.Disconnected)
		}
	}
}

// register adds a worker to the fleet, or a new process of a known worker.
func (w *simulation) register(p *process, capacity int) {
	k := w.workers[p.id]
	if k == nil {
		k = &domain.Worker{ID: p.id}
		w.workers[p.id] = k
	}
	r := domain.Registration{WorkerID: p.id, Endpoint: "http://" + p.id, Capacity: capacity, StateGroup: k.StateGroup}
	if p.modern {
		r.Capabilities = []domain.Capability{domain.CapLease, domain.CapGeneration}
	}
	k.Register(r, w.timing, w.now)
	p.up, p.cutOff, p.beatAt = true, false, w.now
	clear(p.sessions)
	w.onWorkerReturned(p.id, w.timing.StartTimeout)
	if w.pick("recovers by itself", 2) == 0 {
		for _, id := range sorted(w.sessions) {
			if s := w.sessions[id]; domain.IsRecoverableBy(s, p.id) && p.linked[id] {
				p.run(w, id, s.Generation, domain.Connected)
				p.report(w, domain.Report{SessionID: id, Status: domain.Connected})
			}
		}
	}
}

// heartbeat delivers a worker's heartbeat.
func (w *simulation) heartbeat(p *process) {
	w.heartbeatSaying(p, domain.MaintenanceNotStated)
}

// heartbeatSaying delivers a worker's heartbeat with a word about maintenance.
func (w *simulation) heartbeatSaying(p *process, maintenance domain.Maintenance) {
	k := w.workers[p.id]
	if !p.up || p.cutOff || k == nil {
		return
	}
	wasOnline := k.Online
	k.ApplyHeartbeat(domain.Heartbeat{WorkerID: p.id, CPU: -1, Memory: -1, MessageCount: -1, Maintenance: maintenance}, w.timing, w.now)
	p.beatAt = w.now
	if !wasOnline {
		w.onWorkerReturned(p.id, w.timing.DisconnectDebounce)
	}
	for _, id := range sorted(p.sessions) {
		r := domain.Report{SessionID: id, WorkerID: p.id, Status: p.sessions[id], Snapshot: true}
		if p.modern {
			r.Generation = p.versions[id]
		}
		outcome := w.deliver(r)
		s := w.sessions[id]
		stopping := s != nil && s.WorkerID == p.id && s.Command.Stops()
		if r.Status.IsActive() && !stopping && (outcome == domain.NotOwner || outcome == domain.NotWanted) {
			if p.modern {
				p.execute(w, id, domain.CommandDisconnect, 0)
			} else {
				w.addCleanup(p.id, id, domain.CommandDisconnect)
			}
		}
	}
	w.eachOn(p.id, "missing", func(s *domain.Session) []domain.Event {
		status, there := p.sessions[s.ID]
		if p.modern && !status.IsActive() && p.versions[s.ID] != s.Generation {
			there = false // it lists the rest of an earlier assignment
		}
		if there || s.Intent == domain.Down || s.Command != domain.CommandNone || !s.Status.IsActive() ||
			w.now.Sub(s.AssignedAt) <= w.timing.StartTimeout {
			return nil
		}
		return s.ReportedMissing(w.now)
	})
}
