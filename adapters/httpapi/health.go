package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

type healthView struct {
	Status  string `json:"status"`
	Version string `json:"version,omitzero"`
}

const (
	statusUp       = "UP"
	statusDown     = "DOWN"
	statusDegraded = "DEGRADED"
)

func (a *api) health(context.Context, *call) (any, error) {
	return healthView{statusUp, a.Version}, nil
}

func (a *api) livez(context.Context, *call) (any, error) { return healthView{Status: statusUp}, nil }

// readyz says whether to send requests here: the server wants them, and
// everything that it cannot do without answers.
func (a *api) readyz(ctx context.Context, _ *call) (any, error) {
	if a.Ready != nil && !a.Ready() {
		return nil, notReady("The server is starting or about to stop; try another one", nil)
	}
	var down []domain.FieldError
	for _, check := range a.checks(ctx) {
		if !check.OK && !check.Optional {
			down = append(down, domain.FieldError{Field: check.Name, Message: check.Message})
		}
	}
	if len(down) > 0 {
		return nil, notReady("Something that the server depends on does not answer; try again in a moment", down)
	}
	return healthView{Status: statusUp}, nil
}

func notReady(message string, down []domain.FieldError) error {
	return &refusal{http.StatusServiceUnavailable, &domain.Error{
		Kind: domain.Unavailable, Code: codeNotReady, Message: message, Fields: down,
	}}
}

func (a *api) checks(ctx context.Context) []Check {
	if a.Health == nil {
		return nil
	}
	return a.Health(ctx)
}

type dependencyView struct {
	Name         string `json:"name"`
	Status       string `json:"status"`
	Message      string `json:"message,omitzero"`
	ResponseTime figure `json:"responseTime"` // milliseconds
}

type detailedView struct {
	healthView
	Uptime int64            `json:"uptime"` // seconds
	Checks []dependencyView `json:"checks"`
}

func (a *api) healthDetailed(ctx context.Context, c *call) (any, error) {
	v := detailedView{
		healthView: healthView{statusUp, a.Version},
		Uptime:     int64(c.start.Sub(a.started) / time.Second),
	}
	for _, check := range a.checks(ctx) {
		d := dependencyView{Name: check.Name, Status: statusUp, Message: check.Message, ResponseTime: milliseconds(check.Took)}
		if !check.OK {
			d.Status, v.Status = statusDown, statusDegraded
		}
		v.Checks = append(v.Checks, d)
	}
	return v, nil
}
