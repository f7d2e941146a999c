package simworker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

var (
	began   = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	errDown = errors.New("down")
)

// plane is a control plane that records its calls and returns what tests set.
type plane struct {
	mu       sync.Mutex
	log      []string // calls as text
	reports  []domain.Report
	messages []domain.MessageReport
	beats    []domain.Heartbeat
	results  []service.RecoveryResult

	err      error // returned by every call
	beatErr  error
	lease    time.Duration
	interval time.Duration
	assigned []service.AssignedSession
	commands []service.StopCommand
	// registering holds the commands in the response to a registration.
	registering []service.StopCommand
	during      func(call string) // called inside each call
}

func (p *plane) called(format string, args ...any) error {
	p.mu.Lock()
	call := fmt.Sprintf(format, args...)
	p.log = append(p.log, call)
	during := p.during
	p.mu.Unlock()
	if during != nil {
		during(call)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// calls returns the calls since the last time.
func (p *plane) calls() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.log
	p.log = nil
	return out
}

func (p *plane) set(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn()
}

func (p *plane) Register(_ context.Context, r domain.Registration) (*service.RegisterResult, error) {
	if err := p.called("register %s", r.WorkerID); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return &service.RegisterResult{Worker: &domain.Worker{ID: r.WorkerID}, Assigned: len(p.assigned), Interval: p.interval, Lease: p.lease, Commands: p.registering}, nil
}

func (p *plane) Heartbeat(_ context.Context, h domain.Heartbeat) (*service.HeartbeatResult, error) {
	var listed []string
	for _, s := range h.Sessions {
		listed = append(listed, fmt.Sprintf("%s/%d %s", s.SessionID, s.Generation, s.Status))
	}
	err := p.called("heartbeat [%s]", strings.Join(listed, ", "))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.beats = append(p.beats, h)
	err = errors.Join(err, p.beatErr)
	if err != nil {
		return nil, err
	}
	commands := p.commands
	p.commands = nil
	return &service.HeartbeatResult{Commands: commands, Lease: p.lease}, nil
}

func (p *plane) AssignedSessions(context.Context, string) ([]service.AssignedSession, error) {
	err := p.called("assigned")
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.assigned, err
}

func (p *plane) ReportRecovery(_ context.Context, _ string, results []service.RecoveryResult) ([]service.RecoveryOutcome, error) {
	err := p.called("recovered")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.results = results
	return nil, err
}

func (p *plane) ReportPreserved(_ context.Context, _ string, ids []string) (int, error) {
	return len(ids), p.called("preserved %v", ids)
}

func (p *plane) Unregister(_ context.Context, id, endpoint string) (domain.WorkerStatus, error) {
	return domain.WorkerOffline, p.called("unregister %s %s", id, endpoint)
}

func (p *plane) ReportSession(_ context.Context, r domain.Report) (domain.Outcome, error) {
	err := p.called("report %s/%d %s", r.SessionID, r.Generation, r.Status)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.reports = append(p.reports, r)
	}
	return domain.Applied, err
}

func (p *plane) ReportMessage(_ context.Context, r domain.MessageReport) (bool, error) {
	err := p.called("message %s", r.Status)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.messages = append(p.messages, r)
	}
	return true, err
}

func (p *plane) ReceiveMessage(_ context.Context, m service.InboundMessage) (bool, error) {
	return true, p.called("received %s %s %q", m.SessionID, m.From, m.Content)
}

// world holds a worker in virtual time.
type world struct {
	t *testing.T
	*simworker.Worker
	plane *plane
	state *simworker.State
	now   time.Time
	next  time.Time
	looks func() // called at each reading of the clock, if set
}

// newWorld returns a worker that has ticked once and is registered if the plane
// accepts it.
func newWorld(t *testing.T, cfg simworker.Config) *world {
	w := &world{t: t, plane: &plane{lease: 45 * time.Second, interval: 10 * time.Second}, now: began}
	if cfg.State == nil {
		cfg.State = simworker.NewState()
	}
	w.state = cfg.State
	cfg.ID, cfg.Endpoint, cfg.Now = "w1", "http://w1.sim:1", func() time.Time {
		if w.looks != nil {
			w.looks()
		}
		return w.now
	}
	w.Worker = simworker.New(cfg, w.plane)
	w.step()
	require.Equal(t, []string{"register w1"}, w.plane.calls())
	return w
}

func (w *world) step() { w.next = w.Tick(w.t.Context(), w.now) }

// advance advances the clock and ticks the worker when it is due.
func (w *world) advance(d time.Duration) {
	end := w.now.Add(d)
	for w.step(); !w.next.IsZero() && !w.next.After(end); w.step() {
		require.True(w.t, w.next.After(w.now), "it asks to be stepped at %s, again and again", w.next)
		w.now = w.next
	}
	w.now = end
	w.step()
}

func (w *world) start(id string, generation int64) domain.Report {
	w.t.Helper()
	r, err := w.Start(w.t.Context(), ports.Start{SessionID: id, UserID: "u", SessionName: "Name", Generation: generation})
	require.NoError(w.t, err)
	return r
}

// connected starts a session and scans its QR.
func (w *world) connected(id string, generation int64) {
	w.t.Helper()
	w.start(id, generation)
	require.NoError(w.t, w.Scan(id))
	w.step()
	w.plane.calls()
}

func (w *world) send(id, clientID string) (ports.Sent, error) {
	return w.Send(w.t.Context(), ports.Send{SessionID: id, ClientMessageID: clientID, To: "6281234567890@s.whatsapp.net",
		Message: &domain.Outgoing{Type: domain.TypeText, Text: "hello"}})
}

// journal returns the entries as text.
func (w *world) journal() []string {
	entries, err := w.state.Journal()
	require.NoError(w.t, err)
	var out []string
	for _, e := range entries {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s/%d %s", e.Event, e.Worker, e.Session, e.Generation, e.Reason)))
	}
	return out
}

func failed(t *testing.T, err error, want ports.WorkerFailure) {
	t.Helper()
	require.Equal(t, want, failure(t, err, want).Failure)
}

// failure returns the error of a call and requires the given failure.
func failure(t *testing.T, err error, want ports.WorkerFailure) *ports.WorkerError {
	t.Helper()
	var e *ports.WorkerError
	require.True(t, errors.As(err, &e), "%v", err)
	require.Equal(t, want, e.Failure, "%v", err)
	return e
}
