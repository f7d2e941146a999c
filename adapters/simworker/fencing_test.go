package simworker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	modelLease = 45 * time.Second
	modelDrift = time.Second
)

// model is a control plane that keeps the rules of ownership and nothing else.
// Its orders arrive after random delays, or twice. A worker is paused whenever
// time passes without a Tick.
type model struct {
	t       *rapid.T
	now     time.Time
	state   *simworker.State
	workers []*simworker.Worker
	heard   map[string]time.Time // when a worker's latest message was accepted; none: not registered
	owners  map[string]string    // worker by session
	numbers map[string]int64     // highest generation by session
	left    map[[2]string]int64  // stops still to be commanded: highest generation by worker and session
	bag     []order              // sent and not yet delivered
	over    []ended
	nested  bool
}

// order is a call on its way to a worker.
type order struct {
	kind       string
	worker     *simworker.Worker
	session    string
	generation int64
}

// ended is a generation that a worker must never start again.
type ended struct {
	worker, session string
	generation      int64
	entries         int // length of the journal at that time
}

func newModel(t *rapid.T) *model {
	m := &model{
		t: t, now: began, state: simworker.NewState(), heard: map[string]time.Time{}, owners: map[string]string{},
		numbers: map[string]int64{}, left: map[[2]string]int64{},
	}
	for _, id := range []string{"w-0", "w-1"} {
		m.workers = append(m.workers, simworker.New(simworker.Config{
			ID: id, Endpoint: "http://" + id + ".sim:1", State: m.state, ScanAfter: time.Second,
			Now: func() time.Time { return m.now },
		}, modelLine{m, id}))
	}
	return m
}

func (m *model) journal() []simworker.Entry {
	entries, err := m.state.Journal()
	require.NoError(m.t, err)
	return entries
}

// finished records that a generation has ended on a worker, which has
// acknowledged its stop.
func (m *model) finished(worker, session string, generation int64) {
	m.over = append(m.over, ended{worker, session, generation, len(m.journal())})
	if m.left[[2]string{worker, session}] <= generation {
		delete(m.left, [2]string{worker, session})
	}
}

func (m *model) someSession() string {
	return rapid.SampledFrom([]string{"one", "two"}).Draw(m.t, "session")
}
func (m *model) someWorker() *simworker.Worker {
	return rapid.SampledFrom(m.workers).Draw(m.t, "worker")
}

// assign assigns a session without an owner to a registered worker.
func (m *model) assign() {
	session, w := m.someSession(), m.someWorker()
	if _, known := m.heard[w.ID()]; !known || m.owners[session] != "" {
		return
	}
	m.owners[session] = w.ID()
	m.numbers[session]++
	m.post("start", w, session)
}

// again repeats the orders of the present owner, once or twice.
func (m *model) again() {
	session := m.someSession()
	for _, w := range m.workers {
		if m.owners[session] == w.ID() {
			m.post(rapid.SampledFrom([]string{"start", "restart"}).Draw(m.t, "order"), w, session)
		}
	}
}

func (m *model) post(kind string, w *simworker.Worker, session string) {
	for range rapid.IntRange(1, 2).Draw(m.t, "copies") {
		m.bag = append(m.bag, order{kind, w, session, m.numbers[session]})
	}
}

// stop stops a session on its owner. Only the response ends the ownership.
func (m *model) stop() {
	session := m.someSession()
	for _, w := range m.workers {
		if m.owners[session] != w.ID() {
			continue
		}
		o := order{rapid.SampledFrom([]string{"disconnect", "logout", "delete"}).Draw(m.t, "order"), w, session, m.numbers[session]}
		m.bag = append(m.bag, o) // a delayed copy
		if m.call(o) == nil {
			m.owners[session] = ""
			m.finished(w.ID(), session, o.generation)
		}
	}
}

// deliver delivers one of the pending orders.
func (m *model) deliver() {
	if len(m.bag) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.bag)-1).Draw(m.t, "which")
	o := m.bag[i]
	m.bag = slices.Delete(m.bag, i, i+1)
	_ = m.call(o) // the caller has given up
}

func (m *model) call(o order) (err error) {
	ctx := context.Background()
	switch o.kind {
	case "start":
		_, err = o.worker.Start(ctx, ports.Start{SessionID: o.session, Generation: o.generation})
	case "restart":
		err = o.worker.Restart(ctx, o.session, o.generation)
	case "disconnect":
		err = o.worker.Disconnect(ctx, o.session, o.generation)
	case "logout":
		err = o.worker.Logout(ctx, o.session, o.generation)
	case "delete":
		err = o.worker.Delete(ctx, o.session, o.generation)
	}
	return err
}

func (m *model) pass() {
	most := rapid.SampledFrom([]int{100, 5_000, 60_000}).Draw(m.t, "at most")
	m.now = m.now.Add(time.Duration(rapid.IntRange(1, most).Draw(m.t, "ms")) * time.Millisecond)
}

// run ticks every worker and advances the clock.
func (m *model) run() {
	for _, w := range m.workers {
		w.Tick(context.Background(), m.now)
	}
	m.now = m.now.Add(time.Second)
}

// failOver takes the sessions from a worker whose lease has ended, as early as the
// rules allow, and assigns one of them to another worker at once.
func (m *model) failOver() {
	w := m.someWorker()
	at, known := m.heard[w.ID()]
	if !known {
		return
	}
	if silent := at.Add(modelLease + modelDrift); m.now.Before(silent) {
		m.now = silent
	}
	for session, owner := range m.owners {
		if owner == w.ID() {
			m.owners[session] = ""
			m.left[[2]string{w.ID(), session}] = m.numbers[session]
		}
	}
	m.assign()
	m.deliver()
}

func (m *model) send() {
	_, _ = m.someWorker().Send(context.Background(), ports.Send{SessionID: m.someSession(), To: "6281234567890@s.whatsapp.net",
		Message: &domain.Outgoing{Type: domain.TypeText, Text: fmt.Sprint(m.now.UnixNano())}})
}

func (m *model) step() { m.someWorker().Tick(context.Background(), m.now) }

// crash restarts a worker without telling the control plane.
func (m *model) crash() {
	w := m.someWorker()
	w.Crash()
	w.Boot()
}

// meanwhile runs random events while a worker waits for a response.
func (m *model) meanwhile() {
	if m.nested {
		return
	}
	m.nested = true
	defer func() { m.nested = false }()
	for range rapid.IntRange(0, 3).Draw(m.t, "meanwhile") {
		rapid.SampledFrom([]func(){m.pass, m.failOver, m.assign, m.deliver, m.stop}).Draw(m.t, "event")()
	}
}

// accept records that a worker's message was accepted, and returns its commands.
func (m *model) accept(worker string, listed []domain.Report) (commands []service.StopCommand) {
	m.heard[worker] = m.now
	for at, generation := range m.left {
		if at[0] == worker {
			commands = append(commands, service.StopCommand{SessionID: at[1], Generation: generation})
		}
	}
	for _, r := range listed {
		if m.owners[r.SessionID] != worker || m.numbers[r.SessionID] != r.Generation {
			commands = append(commands, service.StopCommand{SessionID: r.SessionID, Generation: r.Generation})
		}
	}
	return commands
}

// modelLine is a worker's connection to the model. It delays messages and loses
// some of the responses.
type modelLine struct {
	m      *model
	worker string
}

func (l modelLine) exchange(accept func()) error {
	l.m.meanwhile() // the request is delayed
	if rapid.IntRange(0, 9).Draw(l.m.t, "lost") == 0 {
		return errDown
	}
	accept()
	l.m.meanwhile() // the response is delayed
	if rapid.IntRange(0, 9).Draw(l.m.t, "answer lost") == 0 {
		return errDown
	}
	return nil
}

func (l modelLine) Register(context.Context, domain.Registration) (*service.RegisterResult, error) {
	a := &service.RegisterResult{Worker: &domain.Worker{ID: l.worker}, Lease: modelLease, Interval: 10 * time.Second, Assigned: 1}
	err := l.exchange(func() { a.Commands = l.m.accept(l.worker, nil) })
	return a, err
}

func (l modelLine) Heartbeat(_ context.Context, h domain.Heartbeat) (*service.HeartbeatResult, error) {
	a := &service.HeartbeatResult{Lease: modelLease}
	err := l.exchange(func() {
		if _, known := l.m.heard[l.worker]; known {
			a.Commands = l.m.accept(l.worker, h.Sessions)
		}
	})
	return a, err
}

func (l modelLine) AssignedSessions(context.Context, string) ([]service.AssignedSession, error) {
	var all []service.AssignedSession
	err := l.exchange(func() {
		for session, owner := range l.m.owners {
			if owner == l.worker {
				all = append(all, service.AssignedSession{Session: &domain.Session{ID: session, Generation: l.m.numbers[session]}})
			}
		}
	})
	slices.SortFunc(all, func(a, b service.AssignedSession) int { return strings.Compare(a.ID, b.ID) })
	return all, err
}

func (l modelLine) ReportRecovery(context.Context, string, []service.RecoveryResult) ([]service.RecoveryOutcome, error) {
	return nil, l.exchange(func() {})
}

func (l modelLine) ReportPreserved(_ context.Context, _ string, ids []string) (int, error) {
	return len(ids), nil
}
func (l modelLine) Unregister(context.Context, string, string) (domain.WorkerStatus, error) {
	return domain.WorkerOffline, nil
}
func (l modelLine) ReportSession(context.Context, domain.Report) (domain.Outcome, error) {
	return domain.Applied, l.exchange(func() {})
}
func (l modelLine) ReportMessage(context.Context, domain.MessageReport) (bool, error) {
	return true, nil
}
func (l modelLine) ReceiveMessage(context.Context, service.InboundMessage) (bool, error) {
	return true, nil
}

// check compares the journal with the decisions of the model.
func (m *model) check(t require.TestingT) {
	entries := m.journal()
	require.Empty(t, simworker.Overlaps(entries), "two owners")
	require.Empty(t, simworker.SendsAfterStop(entries), "sent after the end")
	for _, e := range m.over {
		for _, entry := range entries[e.entries:] {
			if entry.Worker == e.worker && entry.Session == e.session && entry.Generation <= e.generation {
				require.NotContains(t, []simworker.Event{simworker.Started, simworker.Continued, simworker.SentOut}, entry.Event,
					"generation %d was over: %+v", e.generation, entry)
			}
		}
	}
}

// Messages are delayed, repeated and lost, and processes are paused. A stopped
// generation never starts again, and no session has two owners.
func TestWorker_RandomFaults_StoppedGenerationsStayDown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		for range rapid.IntRange(20, 150).Draw(t, "events") {
			rapid.SampledFrom([]func(){
				m.run, m.run, m.run, m.assign, m.deliver, m.deliver, m.send, m.send, m.pass, m.step, m.step, m.again, m.stop, m.failOver, m.crash,
			}).Draw(t, "event")()
		}
		for _, w := range m.workers {
			w.Fence(m.now) // a paused worker writes the end of its lease when it resumes
		}
		m.check(t)
	})
}
