package orchestrator

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// A worker that has joined or changed its version is a canary. Every replica
// sees the disconnects of the whole fleet pass through its view and counts them;
// whichever is the first to find a worker at fault writes it into its row.

// drops counts unwanted disconnects by minute.
type drops []dropCount

type dropCount struct {
	minute time.Time
	n      int
}

func (d *drops) add(at time.Time, n int) {
	minute := at.Truncate(time.Minute)
	for i := range *d {
		if (*d)[i].minute.Equal(minute) {
			(*d)[i].n += n
			return
		}
	}
	*d = append(*d, dropCount{minute, n})
}

// since counts those from a time on, to the minute.
func (d drops) since(t time.Time) (n int) {
	for _, c := range d {
		if !c.minute.Before(t.Truncate(time.Minute)) {
			n += c.n
		}
	}
	return n
}

// noteDrop counts what became of a session if that is a disconnect that nobody
// wanted: it was connected, is wanted still, was told nothing, and its worker is
// there. It needs the lock.
func (f *fleet) noteDrop(old *seat, s *domain.Session) {
	n := f.workers[old.workerID]
	if n == nil || !n.worker.Online || old.status != domain.Connected || old.generation != s.Generation {
		return
	}
	failed := s.Status == domain.Errored
	lost := s.WorkerID == old.workerID && s.Intent == domain.Up && s.Command == domain.CommandNone &&
		(s.Status == domain.Reconnecting || s.Status == domain.Disconnected)
	if failed || lost {
		n.drops.add(s.StatusAt, 1)
		f.dropped.Store(true)
	}
}

// verdict is what a canary is accused of.
type verdict struct {
	workerID string
	own      domain.Disconnects
}

// suspects finds the workers whose disconnects have been unusual for a whole
// heartbeat interval: by then the others have told what they suffer, too. next
// is when one may be found out.
func (f *fleet) suspects(t domain.Timing, now time.Time) (found []verdict, next time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all drops
	sessions := 0
	for _, n := range f.workers {
		if !n.worker.Online {
			continue
		}
		n.drops = slices.DeleteFunc(n.drops, func(c dropCount) bool { return now.Sub(c.minute) > t.CanaryPeriod+time.Minute })
		for _, c := range n.drops {
			all.add(c.minute, c.n)
		}
		sessions += len(n.sessions)
	}
	for _, n := range f.workers {
		w := n.worker
		own := domain.Disconnects{Count: n.drops.since(n.canarySince), Sessions: len(n.sessions)}
		rest := domain.Disconnects{Count: all.since(n.canarySince) - own.Count, Sessions: sessions - own.Sessions}
		if !w.Online || !w.IsCanary(t, now) || !domain.ExceedsBaseline(own, rest) {
			n.doubtful = time.Time{}
			continue
		}
		if n.doubtful.IsZero() {
			n.doubtful = now.Add(t.HeartbeatInterval)
		}
		if !now.Before(n.doubtful) {
			found = append(found, verdict{w.ID, own})
		} else if next.IsZero() || n.doubtful.Before(next) {
			next = n.doubtful
		}
	}
	return found, next
}

// judge keeps workers that fail their canary period from receiving sessions.
func (o *Orchestrator) judge(ctx context.Context, _ *tasks) (time.Time, error) {
	now := o.now()
	if !o.fleet.dropped.Swap(false) && (o.loop.judgeAt.IsZero() || now.Before(o.loop.judgeAt)) {
		return o.loop.judgeAt, nil
	}
	found, next := o.fleet.suspects(o.timing, now)
	o.loop.judgeAt = next
	var errs []error
	for _, v := range found {
		errs = append(errs, o.transact(ctx, func(ctx context.Context, tx *ports.Tx, c *changes) error {
			w, err := tx.Workers.Get(ctx, v.workerID)
			if errors.Is(err, ports.ErrNotFound) || err == nil && !w.IsCanary(o.timing, now) {
				return nil
			}
			if err != nil {
				return err
			}
			events := w.MarkSuspect(v.own, now)
			o.log.WarnContext(ctx, "worker is suspect and receives no sessions", "worker", w.ID, "version", w.Version, "why", w.Suspect)
			return o.saveWorker(ctx, tx, c, w, events)
		}))
	}
	err := errors.Join(errs...)
	if err != nil {
		o.fleet.dropped.Store(true) // again, then
	}
	return next, err
}
