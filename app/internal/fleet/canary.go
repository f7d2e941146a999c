package fleet

import (
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

// canary counts the unwanted disconnects of a worker.
type canary struct {
	disconnects disconnects
	since       time.Time // disconnects count from then on
	unusualAt   time.Time // they are a failure if still unusual then; zero: not unusual
}

// disconnects counts unwanted disconnects by minute.
type disconnects []disconnectCount

type disconnectCount struct {
	minute time.Time
	n      int
}

func (d *disconnects) add(at time.Time, n int) {
	minute := at.Truncate(time.Minute)
	for i := range *d {
		if (*d)[i].minute.Equal(minute) {
			(*d)[i].n += n
			return
		}
	}
	*d = append(*d, disconnectCount{minute, n})
}

// countSince counts the disconnects from a time on, to the minute.
func (d disconnects) countSince(t time.Time) (n int) {
	for _, c := range d {
		if !c.minute.Before(t.Truncate(time.Minute)) {
			n += c.n
		}
	}
	return n
}

// workerChanged forgets disconnects of a former process, and of a worker that went
// down: its sessions disconnected with it.
func (k *canary) workerChanged(before, after *domain.Worker, now time.Time) {
	if before != nil && (!before.RegisteredAt.Equal(after.RegisteredAt) || !after.Online) {
		k.disconnects = nil
	}
	if before == nil || !before.CanarySince.Equal(after.CanarySince) {
		k.since = after.CanarySince
		if k.since.After(now) {
			k.since = now // written by a clock that is ahead
		}
	}
}

// recordDisconnect counts a disconnect against the intent: the session was connected,
// its intent is still up, it got no command, and its worker is online. The caller
// holds the lock.
func (c *Cache) recordDisconnect(old *Assignment, s *domain.Session) {
	n := c.workers[old.WorkerID]
	if n == nil || !n.worker.Online || old.Status != domain.Connected || old.generation != s.Generation {
		return
	}
	failed := s.Status == domain.Errored
	lost := s.WorkerID == old.WorkerID && s.Intent == domain.Up && s.Command == domain.CommandNone &&
		(s.Status == domain.Reconnecting || s.Status == domain.Disconnected)
	if failed || lost {
		n.canary.disconnects.add(s.StatusAt, 1)
		c.Disconnected.Set()
	}
}

// CanaryFailure names a worker that fails its canary period.
type CanaryFailure struct {
	WorkerID    string
	Disconnects domain.Disconnects
}

// CanaryFailures returns the workers whose disconnects have been unusual for one
// heartbeat interval; by then other workers have reported theirs. next is when a
// worker may fail; zero: none is unusual.
func (c *Cache) CanaryFailures(t domain.Timing, now time.Time) (failures []CanaryFailure, next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all disconnects
	sessions := 0
	for _, n := range c.workers {
		if !n.worker.Online {
			continue
		}
		n.canary.disconnects = slices.DeleteFunc(n.canary.disconnects, func(d disconnectCount) bool {
			return now.Sub(d.minute) > t.CanaryPeriod+time.Minute
		})
		for _, d := range n.canary.disconnects {
			all.add(d.minute, d.n)
		}
		sessions += len(n.sessions)
	}
	for _, n := range c.workers {
		w, k := n.worker, &n.canary
		own := domain.Disconnects{Count: k.disconnects.countSince(k.since), Sessions: len(n.sessions)}
		rest := domain.Disconnects{Count: all.countSince(k.since) - own.Count, Sessions: sessions - own.Sessions}
		if !w.Online || !w.IsCanary(t, now) || !domain.ExceedsBaseline(own, rest) {
			k.unusualAt = time.Time{}
			continue
		}
		if k.unusualAt.IsZero() {
			k.unusualAt = now.Add(t.HeartbeatInterval)
		}
		if !now.Before(k.unusualAt) {
			failures = append(failures, CanaryFailure{w.ID, own})
		} else if next.IsZero() || k.unusualAt.Before(next) {
			next = k.unusualAt
		}
	}
	return failures, next
}
