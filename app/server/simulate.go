package server

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// simulate runs the configured number of simulated workers until stop is called. Each listens
// on its own port. They call the worker protocol in process.
func (s *Server) simulate(ctx context.Context) (stop func(), err error) {
	if s.cfg.SimulatedWorkers == 0 {
		return func() {}, nil
	}
	state := simworker.NewState()
	if path, onDisk := strings.CutPrefix(s.cfg.Store, "sqlite:"); onDisk {
		// The state of the simulated phones survives the process, as the store does.
		state, err = simworker.OpenState(path + ".simulated")
		if err != nil {
			return nil, fmt.Errorf("opening the state of simulated workers: %w", err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	stop = func() {
		cancel()
		running.Wait()
		if err := state.Close(); err != nil {
			s.cfg.Log.Error("closing simulated state failed", "error", err)
		}
	}
	for i := range s.cfg.SimulatedWorkers {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			stop()
			return nil, err
		}
		control := &inProcess{
			WorkerProtocol: s.Orchestrator.Protocol, workerID: fmt.Sprintf("simulated-%d", i+1), tokens: domain.NewWorkerTokens(s.token),
		}
		w := simworker.New(simworker.Config{ID: control.workerID, State: state}, control)
		running.Go(func() {
			if err := simworker.Serve(ctx, listener, w, simworker.ServeConfig{Token: s.token, Log: s.cfg.Log}); err != nil {
				s.cfg.Log.Error("simulated worker failed", "error", err)
			}
		})
	}
	return stop, nil
}

// inProcess is the worker protocol for one simulated worker in this process. It keeps the
// worker's call token, which the HTTP API hands out to other workers. It names the worker in
// reports on messages, as the HTTP API does for a worker with a token of its own. The core
// believes no unnamed report on a session of such a worker.
type inProcess struct {
	service.WorkerProtocol
	simworker.LatestCallToken
	workerID string
	tokens   *domain.WorkerTokens
}

// ReportMessage implements service.WorkerProtocol.
func (p *inProcess) ReportMessage(ctx context.Context, r domain.MessageReport) (applied bool, err error) {
	r.WorkerID = p.workerID
	return p.WorkerProtocol.ReportMessage(ctx, r)
}

// ReceiveMessage implements service.WorkerProtocol.
func (p *inProcess) ReceiveMessage(ctx context.Context, m service.InboundMessage) (stored bool, err error) {
	m.WorkerID = p.workerID
	return p.WorkerProtocol.ReceiveMessage(ctx, m)
}

// Register implements service.WorkerProtocol.
func (p *inProcess) Register(ctx context.Context, r domain.Registration) (result *service.RegisterResult, err error) {
	var token string
	endRegistration := p.BeginRegistration()
	defer func() { endRegistration(token) }()
	result, err = p.WorkerProtocol.Register(ctx, r)
	if err == nil && result.Worker.TokenEpoch != "" {
		token = p.tokens.Call(result.Worker.ID, result.Worker.TokenEpoch)
	}
	return result, err
}

// WorkerConfig configures a simulated worker in its own process.
type WorkerConfig struct {
	simworker.Config
	Addr         string        // listening address; default 127.0.0.1:0
	ControlPlane string        // default http://127.0.0.1:8000
	Token        string        // the fleet token
	Dir          string        // directory of its state; empty: in memory
	Latency      time.Duration // added to every call
}

// NeverScans is the ScanAfter of a phone that never scans a QR code.
const NeverScans = simworker.Never

// RunWorker runs a simulated worker until ctx ends. The worker then unregisters.
func RunWorker(ctx context.Context, c WorkerConfig, cfg Config) error {
	if c.Addr == "" {
		c.Addr = "127.0.0.1:0"
	}
	if c.ControlPlane == "" {
		c.ControlPlane = "http://127.0.0.1:8000"
	}
	cfg = cfg.WithDefaults()
	if c.Dir != "" {
		state, err := simworker.OpenState(c.Dir)
		if err != nil {
			return err
		}
		defer func() { _ = state.Close() }() // every line is written already
		c.State = state
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("listening on %s: %w; use another --addr", c.Addr, err)
	}
	control := simworker.NewControl(c.ControlPlane, c.Token)
	if c.Legacy {
		control = simworker.NewLegacyControl(c.ControlPlane, c.Token)
	}
	defer control.Close()
	if _, err := fmt.Fprintf(cfg.Out, "Simulated worker %s listens on http://%s\n", c.ID, listener.Addr()); err != nil {
		return err
	}
	return simworker.Serve(ctx, listener, simworker.New(c.Config, control),
		simworker.ServeConfig{Token: c.Token, Latency: c.Latency, Log: cfg.Log})
}
