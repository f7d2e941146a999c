// Package analytics shows administrators users, sessions, messages and workers over time.
//
//	messages ─► event log ─► package usage ─► counters of five minutes ─┐
//	                                                                     ├─► Series
//	users, sessions, workers ─► Housekeep ─► a sample of five minutes ──┘
//
// Messages are exact: they are counted in the transaction that counts the usage. Nothing else records
// the numbers of users, sessions and workers, because rows are deleted. One replica, the owner of the
// work "house", therefore stores a sample every five minutes. The time of a sample is the begin of its
// five minutes. Two replicas that both take themselves for the owner therefore store one sample. While
// no replica runs there are no samples, and the series has gaps.
//
// A sample counts the users and reads the index of the sessions by status. Series reads at most
// 8,928 samples and three times as many counters, whatever the number of messages is.
package analytics

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/app/internal/usage"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// retention is the time for which figures are kept: 30 days, and the rest of the first day.
const retention = 31 * 24 * time.Hour

// Analytics stores samples and returns series. Housekeep is called by one goroutine; Series is safe
// for concurrent use.
type Analytics struct {
	*txn.Writer
	usage *usage.Counter

	sampledAt time.Time // begin of the five minutes of the last sample; only Housekeep uses it
}

// New returns analytics of the messages that a counter counts.
func New(w *txn.Writer, c *usage.Counter) *Analytics { return &Analytics{Writer: w, usage: c} }

// Housekeep stores a sample for the present five minutes, and deletes figures beyond the retention.
func (a *Analytics) Housekeep(ctx context.Context, now time.Time) error {
	at := now.UTC().Truncate(domain.AnalyticsStep)
	if at.Equal(a.sampledAt) {
		return nil
	}
	sample, err := a.sample(ctx, at)
	if err != nil {
		return err
	}
	err = a.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		if err := tx.Analytics.AppendSample(ctx, sample); err != nil {
			return err
		}
		return tx.Analytics.DeleteBefore(ctx, now.Add(-retention))
	})
	if err == nil {
		a.sampledAt = at
	}
	return err
}

// sample counts the present users, sessions and workers.
func (a *Analytics) sample(ctx context.Context, at time.Time) (domain.FleetSample, error) {
	s := domain.FleetSample{At: at}
	err := a.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		s = domain.FleetSample{At: at}
		_, s.Users, err = tx.Users.List(ctx, ports.UserFilter{}, ports.Page{Limit: 1})
		if err != nil {
			return err
		}
		isActive := true
		_, s.ActiveUsers, err = tx.Users.List(ctx, ports.UserFilter{Active: &isActive}, ports.Page{Limit: 1})
		if err != nil {
			return err
		}
		byStatus, err := tx.Sessions.CountByStatus(ctx)
		if err != nil {
			return err
		}
		for _, n := range byStatus {
			s.Sessions += n
		}
		s.ConnectedSessions = byStatus[domain.Connected]
		workers, _, err := tx.Workers.List(ctx, ports.WorkerFilter{}, ports.Page{})
		if err != nil {
			return err
		}
		for _, w := range workers {
			s.Workers++
			if w.Online {
				s.OnlineWorkers++
				s.Capacity += w.Capacity
				s.Used += w.Used
			}
		}
		return nil
	})
	return s, err
}

// Series returns n points, each of which is a step long. The last one is the present step.
func (a *Analytics) Series(ctx context.Context, step time.Duration, n int) ([]service.AnalyticsPoint, error) {
	now := a.Now().UTC()
	since := now.Truncate(step).Add(-time.Duration(n-1) * step)
	points := make([]service.AnalyticsPoint, n)
	for i := range points {
		points[i].At = since.Add(time.Duration(i) * step)
	}
	present, err := a.sample(ctx, now)
	if err != nil {
		return nil, apperr.Public(err)
	}
	var samples []domain.FleetSample
	var totals []domain.MessageTotal
	err = a.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		samples, err = tx.Analytics.Samples(ctx, since, step)
		if err != nil {
			return err
		}
		totals, err = a.usage.Totals(ctx, tx, since, step)
		return err
	})
	if err != nil {
		return nil, apperr.Public(err)
	}
	pointOf := func(at time.Time) *service.AnalyticsPoint {
		return &points[max(0, min(int(at.Sub(since)/step), n-1))]
	}
	for i := range samples {
		pointOf(samples[i].At).Fleet = &samples[i]
	}
	points[n-1].Fleet = &present
	for _, t := range totals {
		addTotal(pointOf(t.At), t)
	}
	return points, nil
}

// addTotal adds a counter to the point of its step.
func addTotal(p *service.AnalyticsPoint, t domain.MessageTotal) {
	switch t.Outcome {
	case domain.UsageSent:
		p.Sent += t.Count
	case domain.UsageFailed:
		p.Failed += t.Count
	case domain.UsageUnforwarded:
		p.Unforwarded += t.Count
	case domain.UsageReceived:
		p.Received += t.Count
	}
}
