package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-kit/kit/endpoint"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

func healthRoutes() []route {
	return []route{
		operation(route{
			id: "health", method: get, path: "/health", tag: tagHealth, credential: public, quiet: true, root: true, message: "The server is up",
			summary:     "Whether the server is up",
			description: "Answers as long as the process serves requests.",
		}, (*api).health),
		operation(route{
			id: "healthOfAPI", method: get, path: "/health", tag: tagHealth, credential: public, quiet: true, message: "The server is up",
			summary:     "Whether the server is up, below the base path",
			description: "Answers like `GET /health`, for older clients.",
		}, (*api).health),
		operation(route{
			id: "healthDetailed", method: get, path: "/health/detailed", tag: tagHealth, credential: adminLocal, quiet: true, root: true, message: "What the server depends on",
			summary: "The state of what the server depends on",
			description: "Looks at the store and whatever else the server depends on. The status is DEGRADED if one of them does not answer. " +
				"It is for administrators. A process on the machine of the server needs no credential, unless a proxy forwards the request.",
		}, (*api).healthDetailed),
		operation(route{
			id: "livez", method: get, path: "/livez", tag: tagHealth, credential: public, quiet: true, root: true, message: "Alive",
			summary:     "Whether the process should go on",
			description: "For orchestrators of containers: a process that does not answer should be restarted.",
		}, (*api).livez),
		operation(route{
			id: "readyz", method: get, path: "/readyz", tag: tagHealth, credential: public, quiet: true, root: true, message: "Ready",
			summary:     "Whether to send requests here",
			description: "For load balancers. Fails with NOT_READY while the server starts or stops, or if something it cannot do without does not answer.",
			errors:      []domain.Code{domain.CodeNotReady},
		}, (*api).readyz),
	}
}

// HealthView is the state of the server.
type HealthView struct {
	Status  string `json:"status" doc:"UP or DEGRADED" example:"UP"`
	Version string `json:"version,omitzero" example:"1.0.0"`
}

const (
	statusUp       = "UP"
	statusDown     = "DOWN"
	statusDegraded = "DEGRADED"
)

func (a *api) health(context.Context, *requestContext, *noInput) (HealthView, error) {
	return HealthView{statusUp, a.Version}, nil
}

func (a *api) livez(context.Context, *requestContext, *noInput) (HealthView, error) {
	return HealthView{Status: statusUp}, nil
}

// readyz says whether to send requests here: the server wants them, and
// everything that it cannot do without answers.
func (a *api) readyz(ctx context.Context, _ *requestContext, _ *noInput) (HealthView, error) {
	if a.Ready != nil && !a.Ready() {
		return HealthView{}, notReady("The server is starting or about to stop; try another one", nil)
	}
	var down []domain.FieldError
	for _, check := range a.checks(ctx) {
		if !check.OK && !check.Optional {
			down = append(down, domain.FieldError{Field: check.Name, Message: check.Message})
		}
	}
	if len(down) > 0 {
		return HealthView{}, notReady("The server cannot serve at the moment: "+down[0].Message+"; try again in a moment", down)
	}
	return HealthView{Status: statusUp}, nil
}

func notReady(message string, down []domain.FieldError) error {
	return &httpError{http.StatusServiceUnavailable, &domain.Error{
		Kind: domain.Unavailable, Code: domain.CodeNotReady, Message: message, Fields: down, RetryAfter: notReadyRetry,
	}}
}

// notReadyRetry is how long to wait for another try while the server is not ready.
const notReadyRetry = 5 * time.Second

// requirePresence refuses requests while the data of the store are gone, whatever the
// caches of the server still hold. Routes about the health of the server still answer.
func (a *api) requirePresence(r *route) endpoint.Middleware {
	return func(next endpoint.Endpoint) endpoint.Endpoint {
		if a.Present == nil || r.root {
			return next
		}
		return func(ctx context.Context, request any) (any, error) {
			err := a.Present()
			if err == nil {
				return next(ctx, request)
			}
			reason := "its data cannot be found"
			var u *ports.UnavailableError
			if errors.As(err, &u) {
				reason = u.Reason
			}
			return nil, fmt.Errorf("%w (%w)", notReady("The server cannot serve at the moment: "+reason, nil), err)
		}
	}
}

func (a *api) checks(ctx context.Context) []Check {
	if a.Health == nil {
		return nil
	}
	return a.Health(ctx)
}

type dependencyView struct {
	Name         string        `json:"name" example:"store"`
	Status       string        `json:"status" doc:"UP or DOWN" example:"UP"`
	Message      string        `json:"message,omitzero" example:"does not answer"`
	ResponseTime nullableFloat `json:"responseTime" doc:"Milliseconds" example:"1.5"`
}

type detailedView struct {
	HealthView
	Uptime int64            `json:"uptime" doc:"Seconds" example:"86400"`
	Checks []dependencyView `json:"checks"`
}

func (a *api) healthDetailed(ctx context.Context, c *requestContext, _ *noInput) (detailedView, error) {
	v := detailedView{
		HealthView: HealthView{statusUp, a.Version},
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
