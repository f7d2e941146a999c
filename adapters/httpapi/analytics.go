package httpapi

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func analyticsRoute() route {
	return operation(route{
		id: "analytics", method: get, path: "/admin/analytics", tag: tagAdmin, credential: admin, limit: perUser, cost: longRead, message: "Analytics",
		summary: "Users, sessions, messages and workers over time",
		description: "Returns the figures of all users in steps: 5 minutes for `1h`, an hour for `24h`, 6 hours for `7d` and a day for `30d`. The last step is the present one. " +
			"Messages count in the step in which they were created, once their outcome is known. Users, sessions and workers are those at the end of the step; " +
			"they are left out of a step in which no server ran. Figures are kept for 31 days.",
	}, (*api).analytics)
}

// analyticsPeriods has the length of the steps, and their number.
var analyticsPeriods = map[string]struct {
	name string
	step time.Duration
	n    int
}{
	"1h":  {"5m", domain.AnalyticsStep, 12},
	"24h": {"1h", time.Hour, 24},
	"7d":  {"6h", 6 * time.Hour, 28},
	"30d": {"1d", 24 * time.Hour, 30},
}

// The metrics of analytics.
const (
	metricUsers    = "users"
	metricSessions = "sessions"
	metricMessages = "messages"
	metricWorkers  = "workers"
)

type analyticsInput struct {
	Period string `query:"period" doc:"1h, 24h, 7d or 30d; 24h if it is not given" example:"7d"`
	Metric string `query:"metric" doc:"users, sessions, messages or workers; all of them if it is not given" example:"messages"`
	period string
	metric string
}

// Resolve reads the parameters.
func (in *analyticsInput) Resolve(huma.Context) []error {
	var p problems
	in.period = "24h"
	parse(&p, "period", in.Period, &in.period, oneOf("1h", "24h", "7d", "30d"))
	parse(&p, "metric", in.Metric, &in.metric, oneOf(metricUsers, metricSessions, metricMessages, metricWorkers))
	return p
}

type analyticsView struct {
	Period   string          `json:"period" example:"24h"`
	Interval string          `json:"interval" doc:"The length of a step: 5m, 1h, 6h or 1d" example:"1h"`
	Since    view.Time       `json:"since"`
	Until    view.Time       `json:"until"`
	Series   []analyticsStep `json:"series" nullable:"false" doc:"Oldest first"`
}

// analyticsStep has the metrics that were asked for.
type analyticsStep struct {
	At       view.Time          `json:"at" doc:"When the step begins"`
	Users    *analyticsUsers    `json:"users,omitempty"`
	Sessions *analyticsSessions `json:"sessions,omitempty"`
	Messages *MessageCounts     `json:"messages,omitempty"`
	Workers  *analyticsWorkers  `json:"workers,omitempty"`
}

type analyticsUsers struct {
	Total  int `json:"total" example:"12"`
	Active int `json:"active" doc:"Not deactivated" example:"11"`
}

type analyticsSessions struct {
	Total     int `json:"total" doc:"Also those that are down" example:"40"`
	Connected int `json:"connected" example:"37"`
}

type analyticsWorkers struct {
	Total    int `json:"total" example:"4"`
	Online   int `json:"online" doc:"Also those in maintenance" example:"3"`
	Capacity int `json:"capacity" doc:"Sessions that the workers that are online can run" example:"150"`
	Used     int `json:"used" example:"40"`
}

func (a *api) analytics(ctx context.Context, c *requestContext, in *analyticsInput) (analyticsView, error) {
	period := analyticsPeriods[in.period]
	var points []service.AnalyticsPoint
	err := c.readLong(ctx, func(ctx context.Context) (err error) {
		points, err = a.Operations.Analytics(ctx, period.step, period.n)
		return err
	})
	if err != nil {
		return analyticsView{}, err
	}
	v := analyticsView{Period: in.period, Interval: period.name, Until: view.Time(c.start.UTC()), Series: make([]analyticsStep, len(points))}
	if len(points) > 0 {
		v.Since = view.Time(points[0].At)
	}
	for i := range points {
		v.Series[i] = viewAnalytics(&points[i], in.metric)
	}
	return v, nil
}

// viewAnalytics returns a step with one metric; empty: with all.
func viewAnalytics(p *service.AnalyticsPoint, metric string) analyticsStep {
	step := analyticsStep{At: view.Time(p.At)}
	isWanted := func(name string) bool { return metric == "" || metric == name }
	if isWanted(metricMessages) {
		sent := p.Sent + p.Failed
		step.Messages = &MessageCounts{
			Total: sent + p.Received + p.Unforwarded, Sent: sent, Received: p.Received, Failed: p.Failed + p.Unforwarded,
		}
	}
	f := p.Fleet
	if f == nil {
		return step
	}
	if isWanted(metricUsers) {
		step.Users = &analyticsUsers{f.Users, f.ActiveUsers}
	}
	if isWanted(metricSessions) {
		step.Sessions = &analyticsSessions{f.Sessions, f.ConnectedSessions}
	}
	if isWanted(metricWorkers) {
		step.Workers = &analyticsWorkers{f.Workers, f.OnlineWorkers, f.Capacity, f.Used}
	}
	return step
}
