package sessions

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// unscannedWait is after how long a refused connect may succeed: a QR code lives for about
// a minute.
const unscannedWait = time.Minute

// clientNetwork returns the network of the calling client. It is empty for a client on
// this machine, which may be a proxy for all clients.
func clientNetwork(ctx context.Context) string {
	ip := domain.ParseClientIP(service.CallerOf(ctx).Address)
	if !ip.IsValid() || ip.IsLoopback() {
		return ""
	}
	return domain.ClientNetwork(ip)
}

// checkUnscanned runs admitUnscanned on its own, so that a refused connect chooses no worker.
func (s *Sessions) checkUnscanned(ctx context.Context, session *domain.Session) error {
	if !session.AwaitsScan() {
		return nil
	}
	candidate := session.Clone()
	candidate.ConnectedFrom = clientNetwork(ctx)
	return s.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		return admitUnscanned(ctx, tx, candidate, s.Unscanned, s.Now())
	})
}

// admitUnscanned refuses a session that would begin to wait for a first scan beyond a limit, or
// during the cooldown of its user. The store does not hold the new state of the session yet.
// Concurrent connects on several replicas may exceed a limit by one each.
func admitUnscanned(ctx context.Context, tx *ports.Tx, s *domain.Session, l domain.UnscannedLimits, now time.Time) error {
	if !s.AwaitsScan() {
		return nil
	}
	if l.Cooldown > 0 {
		runs, err := tx.Users.UnscannedRuns(ctx, s.UserID)
		if err != nil {
			return apperr.User(err)
		}
		if wait := runs.Cooldown(l, now); wait > 0 {
			return errScanCooldown(wait)
		}
	}
	for _, c := range []struct {
		applies bool
		filter  ports.SessionFilter
		limit   int
		owner   string
	}{
		{l.PerUser > 0, ports.SessionFilter{UserID: s.UserID, AwaitsScan: true}, l.PerUser, "of yours"},
		{l.PerNetwork > 0 && s.ConnectedFrom != "", ports.SessionFilter{ConnectedFrom: s.ConnectedFrom, AwaitsScan: true}, l.PerNetwork, "from your address"},
	} {
		if !c.applies {
			continue
		}
		_, waiting, err := tx.Sessions.List(ctx, c.filter, ports.Page{Limit: 1})
		if err != nil {
			return err
		}
		if waiting >= c.limit {
			return domain.Errorf(domain.Exceeded, domain.CodeRateLimit,
				"%d session(s) %s wait for a first scan, which is the limit; scan or disconnect one of them, or try again in a minute", waiting, c.owner).
				WithRetryAfter(unscannedWait)
		}
	}
	return nil
}

// errScanCooldown returns the error of a connect that comes too soon after QR codes that
// nobody scanned.
func errScanCooldown(wait time.Duration) error {
	return domain.Errorf(domain.Exceeded, domain.CodeRateLimit,
		"Nobody scanned the QR codes of the latest connects; have the phone at hand and connect again in %s", wait.Round(time.Second)).
		WithRetryAfter(wait)
}
