package httpapi

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// MessageCounts counts messages. Total is the sum of Sent, Received, and the messages
// that failed while they waited to be sent. Failed are the latter and those among Sent.
type MessageCounts struct {
	Total    int `json:"total" example:"15"`
	Sent     int `json:"sent" example:"6"`
	Received int `json:"received" example:"9"`
	Failed   int `json:"failed" doc:"Messages that failed. Those that failed while they waited to be sent are not among sent" example:"1"`
}

func (n *MessageCounts) add(u service.MessageUsage) {
	n.Total += u.Count
	if u.Direction == domain.Inbound {
		n.Received += u.Count
		return
	}
	if !u.Unforwarded {
		n.Sent += u.Count
	}
	if u.Failed {
		n.Failed += u.Count
	}
}

type usageView struct {
	Period    string                                `json:"period" example:"7d"`
	Interval  string                                `json:"interval" doc:"The length of a step: hour or day" example:"day"`
	Since     view.Time                             `json:"since"`
	Until     view.Time                             `json:"until"`
	SessionID view.String                           `json:"sessionId" doc:"The session that was asked for" example:"support"`
	Totals    MessageCounts                         `json:"totals"`
	Series    []bucketView                          `json:"series"`
	ByType    map[domain.MessageType]*MessageCounts `json:"byType"`
	BySession []sessionUsage                        `json:"bySession"`
}

type bucketView struct {
	At view.Time `json:"at" doc:"When the step begins"`
	MessageCounts
}

type sessionUsage struct {
	SessionID string `json:"sessionId" example:"support"`
	MessageCounts
}

// usagePeriods has the length of the steps, and their number.
var usagePeriods = map[string]struct {
	name string
	step time.Duration
	n    int
}{
	"24h": {"hour", time.Hour, 24},
	"7d":  {"day", 24 * time.Hour, 7},
	"30d": {"day", 24 * time.Hour, 30},
}

type usageInput struct {
	Period    string `query:"period" doc:"24h, 7d or 30d; 24h if it is not given" example:"7d"`
	SessionID string `query:"sessionId" doc:"Counts this session alone" example:"support"`
	period    string
}

// Resolve reads the parameters.
func (in *usageInput) Resolve(huma.Context) []error {
	var p problems
	in.period = "24h"
	parse(&p, "period", in.Period, &in.period, oneOf("24h", "7d", "30d"))
	in.SessionID = p.searchText("sessionId", in.SessionID)
	return p
}

func (a *api) usage(ctx context.Context, c *requestContext, in *usageInput) (usageView, error) {
	period, session := in.period, in.SessionID
	if session != "" {
		session = domain.NormalizeSessionRef(session)
	}
	p := usagePeriods[period]
	now := c.start.UTC()
	since := now.Truncate(p.step).Add(-time.Duration(p.n-1) * p.step) // the last step is the present one
	var cells []service.MessageUsage
	err := c.readLong(ctx, func(ctx context.Context) (err error) {
		cells, err = a.Messages.Usage(ctx, c.principal.UserID, session, since, p.step)
		return err
	})
	if err != nil {
		return usageView{}, err
	}
	v := usageView{
		Period: period, Interval: p.name, Since: view.Time(since), Until: view.Time(now), SessionID: view.String(session),
		Series: make([]bucketView, p.n), ByType: make(map[domain.MessageType]*MessageCounts),
	}
	for i := range v.Series {
		v.Series[i].At = view.Time(since.Add(time.Duration(i) * p.step))
	}
	sessions := make(map[string]int)
	for _, cell := range cells {
		v.Totals.add(cell)
		if i := int(cell.Bucket.Sub(since) / p.step); i >= 0 && i < p.n {
			v.Series[i].add(cell)
		}
		if v.ByType[cell.Type] == nil {
			v.ByType[cell.Type] = new(MessageCounts)
		}
		v.ByType[cell.Type].add(cell)
		at, ok := sessions[cell.SessionID]
		if !ok {
			at = len(v.BySession)
			sessions[cell.SessionID] = at
			v.BySession = append(v.BySession, sessionUsage{SessionID: cell.SessionID})
		}
		v.BySession[at].add(cell)
	}
	slices.SortFunc(v.BySession, func(x, y sessionUsage) int {
		return cmp.Or(cmp.Compare(y.Total, x.Total), cmp.Compare(x.SessionID, y.SessionID))
	})
	return v, nil
}
