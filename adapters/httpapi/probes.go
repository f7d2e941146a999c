package httpapi

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// probeView is the result of calling one worker now.
type probeView struct {
	WorkerID     optional `json:"workerId"`
	Endpoint     string   `json:"endpoint"`
	Reachable    bool     `json:"reachable"`
	Error        optional `json:"error"`
	ResponseTime figure   `json:"responseTime"` // milliseconds
	CheckedAt    stamp    `json:"checkedAt"`
}

func milliseconds(d time.Duration) figure { return figure(float64(d) / float64(time.Millisecond)) }

func (c *call) probed(r *service.ProbeReport, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	c.message = "Worker is reachable"
	if !r.Reachable {
		c.message = "Worker is not reachable"
	}
	return probeView{
		WorkerID: optional(r.WorkerID), Endpoint: r.Endpoint, Reachable: r.Reachable, Error: optional(r.Error),
		ResponseTime: milliseconds(r.Took), CheckedAt: stamp(r.At),
	}, nil
}

func (a *api) testEndpoint(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	var endpoint *string
	for b.next() {
		if b.member() == "endpoint" {
			b.optional(&endpoint)
		}
	}
	target := b.checked("endpoint", endpoint, "Endpoint", domain.ParseEndpoint)
	if err := b.end(); err != nil {
		return nil, err
	}
	return c.probed(a.Workers.TestEndpoint(ctx, target))
}

func (a *api) testWorker(ctx context.Context, c *call) (any, error) {
	return c.probed(a.Workers.Test(ctx, c.workerRef()))
}

type checkView struct {
	WorkerID     string `json:"workerId"`
	Endpoint     string `json:"endpoint"`
	Status       string `json:"status"` // HEALTHY or FAILED
	Error        string `json:"error,omitzero"`
	ResponseTime figure `json:"responseTime"` // milliseconds
	CheckedAt    stamp  `json:"checkedAt"`
}

func (a *api) probeAll(ctx context.Context, _ *call) (any, error) {
	reports, err := a.Workers.ProbeAll(ctx)
	if err != nil {
		return nil, err
	}
	var v struct {
		Summary struct {
			Total     int   `json:"total"`
			Healthy   int   `json:"healthy"`
			Failed    int   `json:"failed"`
			CheckedAt stamp `json:"checkedAt"`
		} `json:"summary"`
		Results []checkView `json:"results"`
	}
	v.Summary.Total, v.Summary.CheckedAt = len(reports), stamp(a.Clock.Now())
	for _, r := range reports {
		check := checkView{
			WorkerID: r.WorkerID, Endpoint: r.Endpoint, Status: "HEALTHY", Error: r.Error,
			ResponseTime: milliseconds(r.Took), CheckedAt: stamp(r.At),
		}
		if r.Reachable {
			v.Summary.Healthy++
		} else {
			check.Status = "FAILED"
			v.Summary.Failed++
		}
		v.Results = append(v.Results, check)
	}
	return v, nil
}

type monitorView struct {
	Running    bool  `json:"running"`
	IntervalMS int64 `json:"intervalMs"`
	LastCheck  stamp `json:"lastCheck"`
	Workers    int   `json:"workers"`
}

func viewMonitor(m service.ProbeStatus, err error) (any, error) {
	return monitorView{m.Running, m.Interval.Milliseconds(), stamp(m.LastCheck), m.Workers}, err
}

func (a *api) monitor(ctx context.Context, _ *call) (any, error) {
	return viewMonitor(a.Workers.ProbeStatus(ctx), nil)
}

func (a *api) startMonitor(ctx context.Context, _ *call) (any, error) {
	return viewMonitor(a.Workers.StartProbes(ctx))
}

func (a *api) stopMonitor(ctx context.Context, _ *call) (any, error) {
	return viewMonitor(a.Workers.StopProbes(ctx))
}
