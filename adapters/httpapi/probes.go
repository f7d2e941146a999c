package httpapi

import (
	"context"

	"github.com/danielgtaylor/huma/v2"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// probeView is the result of calling one worker now.
type probeView struct {
	WorkerID     view.String   `json:"workerId" doc:"Null for an endpoint" example:"worker-1"`
	Endpoint     string        `json:"endpoint" example:"http://10.0.0.5:8001"`
	Reachable    bool          `json:"reachable" example:"true"`
	Error        view.String   `json:"error" doc:"Why it is not reachable" example:"connection refused"`
	ResponseTime nullableFloat `json:"responseTime" doc:"Milliseconds" example:"1.5"`
	CheckedAt    view.Time     `json:"checkedAt"`
}

func (c *requestContext) probed(r *service.ProbeReport, err error) (probeView, error) {
	if err != nil {
		return probeView{}, err
	}
	c.message = "Worker is reachable"
	if !r.Reachable {
		c.message = "Worker is not reachable"
	}
	return probeView{
		WorkerID: view.String(r.WorkerID), Endpoint: r.Endpoint, Reachable: r.Reachable, Error: view.String(r.Error),
		ResponseTime: milliseconds(r.Took), CheckedAt: view.Time(r.At),
	}, nil
}

type testEndpointBody struct {
	Endpoint string `json:"endpoint" minLength:"1" doc:"http or https, with the port" example:"http://10.0.0.5:8001"`
}

type testEndpointInput struct{ Body testEndpointBody }

// Resolve applies the rules of the domain.
func (in *testEndpointInput) Resolve(huma.Context) []error {
	var p problems
	in.Body.Endpoint = p.text("endpoint", in.Body.Endpoint, domain.ParseEndpoint)
	return p
}

func (a *api) testEndpoint(ctx context.Context, c *requestContext, in *testEndpointInput) (probeView, error) {
	return c.probed(a.Workers.TestEndpoint(ctx, in.Body.Endpoint))
}

func (a *api) testWorker(ctx context.Context, c *requestContext, _ *workerInput) (probeView, error) {
	return c.probed(a.Workers.Test(ctx, c.workerRef()))
}

type checkView struct {
	WorkerID     string        `json:"workerId" example:"worker-1"`
	Endpoint     string        `json:"endpoint" example:"http://10.0.0.5:8001"`
	Status       string        `json:"status" doc:"HEALTHY or FAILED" example:"HEALTHY"`
	Error        string        `json:"error,omitzero" example:"connection refused"`
	ResponseTime nullableFloat `json:"responseTime" doc:"Milliseconds" example:"1.5"`
	CheckedAt    view.Time     `json:"checkedAt"`
}

type checkSummary struct {
	Total     int       `json:"total" example:"2"`
	Healthy   int       `json:"healthy" example:"1"`
	Failed    int       `json:"failed" example:"1"`
	CheckedAt view.Time `json:"checkedAt"`
}

type healthCheckView struct {
	Summary checkSummary `json:"summary"`
	Results []checkView  `json:"results"`
}

func (a *api) probeAll(ctx context.Context, _ *requestContext, _ *noInput) (healthCheckView, error) {
	var v healthCheckView
	reports, err := a.Workers.ProbeAll(ctx)
	if err != nil {
		return v, err
	}
	v.Summary.Total, v.Summary.CheckedAt = len(reports), view.Time(a.Clock.Now())
	for _, r := range reports {
		check := checkView{
			WorkerID: r.WorkerID, Endpoint: r.Endpoint, Status: "HEALTHY", Error: r.Error,
			ResponseTime: milliseconds(r.Took), CheckedAt: view.Time(r.At),
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

type probeStatusView struct {
	Running    bool      `json:"running" example:"true"`
	IntervalMS int64     `json:"intervalMs" doc:"Milliseconds between probes of one worker" example:"5000"`
	LastCheck  view.Time `json:"lastCheck" doc:"The last probe of this replica"`
	Workers    int       `json:"workers" doc:"In the fleet" example:"2"`
}

func viewProbeStatus(m service.ProbeStatus, err error) (probeStatusView, error) {
	return probeStatusView{m.Running, m.Interval.Milliseconds(), view.Time(m.LastCheck), m.Workers}, err
}

func (a *api) probeStatus(ctx context.Context, _ *requestContext, _ *noInput) (probeStatusView, error) {
	return viewProbeStatus(a.Workers.ProbeStatus(ctx), nil)
}

func (a *api) startProbes(ctx context.Context, _ *requestContext, _ *noInput) (probeStatusView, error) {
	return viewProbeStatus(a.Workers.StartProbes(ctx))
}

func (a *api) stopProbes(ctx context.Context, _ *requestContext, _ *noInput) (probeStatusView, error) {
	return viewProbeStatus(a.Workers.StopProbes(ctx))
}
