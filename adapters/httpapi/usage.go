package httpapi

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// messageCounts counts messages. Sent and Received add up to Total; Failed are
// among those sent.
type messageCounts struct {
	Total    int `json:"total"`
	Sent     int `json:"sent"`
	Received int `json:"received"`
	Failed   int `json:"failed"`
}

func (n *messageCounts) add(u ports.MessageUsage) {
	n.Total += u.Count
	if u.Direction == domain.Inbound {
		n.Received += u.Count
		return
	}
	n.Sent += u.Count
	if u.Failed {
		n.Failed += u.Count
	}
}

type usageView struct {
	Period    string                                `json:"period"`
	Interval  string                                `json:"interval"`
	Since     stamp                                 `json:"since"`
	Until     stamp                                 `json:"until"`
	SessionID optional                              `json:"sessionId"`
	Totals    messageCounts                         `json:"totals"`
	Series    []bucketView                          `json:"series"`
	ByType    map[domain.MessageType]*messageCounts `json:"byType"`
	BySession []sessionUsage                        `json:"bySession"`
}

type bucketView struct {
	At stamp `json:"at"`
	messageCounts
}

type sessionUsage struct {
	SessionID string `json:"sessionId"`
	messageCounts
}

// usagePeriods gives the length of the steps, and how many there are.
var usagePeriods = map[string]struct {
	name string
	step time.Duration
	n    int
}{
	"24h": {"hour", time.Hour, 24},
	"7d":  {"day", 24 * time.Hour, 7},
	"30d": {"day", 24 * time.Hour, 30},
}

func (a *api) usage(ctx context.Context, c *call) (any, error) {
	q := c.query()
	period := "24h"
	var session string
	parse(q, "period", &period, oneOf("24h", "7d", "30d"))
	q.text("sessionId", &session)
	if err := q.end(); err != nil {
		return nil, err
	}
	if session != "" {
		session = domain.NormalizeSessionRef(session)
	}
	p := usagePeriods[period]
	now := c.start.UTC()
	since := now.Truncate(p.step).Add(-time.Duration(p.n-1) * p.step) // the last step is the present one
	cells, err := a.Messages.Usage(ctx, c.caller.UserID, session, since, p.step)
	if err != nil {
		return nil, err
	}
	v := usageView{
		Period: period, Interval: p.name, Since: stamp(since), Until: stamp(now), SessionID: optional(session),
		Series: make([]bucketView, p.n), ByType: make(map[domain.MessageType]*messageCounts),
	}
	for i := range v.Series {
		v.Series[i].At = stamp(since.Add(time.Duration(i) * p.step))
	}
	sessions := make(map[string]int)
	for _, cell := range cells {
		v.Totals.add(cell)
		if i := int(cell.Bucket.Sub(since) / p.step); i >= 0 && i < p.n {
			v.Series[i].add(cell)
		}
		if v.ByType[cell.Type] == nil {
			v.ByType[cell.Type] = new(messageCounts)
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
