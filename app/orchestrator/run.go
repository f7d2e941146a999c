package orchestrator

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/workqueue"
	"github.com/switchyard-wa/switchyard/ports"
)

const (
	minPassInterval   = 20 * time.Millisecond  // between two passes of Run
	eventPassInterval = 100 * time.Millisecond // between two passes that only read recorded events
	maxPassInterval   = 5 * time.Second        // between two passes when nothing is known to be due
	retryAfterError   = time.Second
	housekeepEvery    = time.Minute
	shutdownGrace     = 10 * time.Second // for work under way when Run ends
)

// Run does the background work until ctx ends. It then waits up to ten seconds for the
// work under way, and hands over to other replicas. It returns ctx's error, or why it
// could not begin. Call it once, and not together with RunOnce. Services may be called
// before, meanwhile and after.
func (o *Orchestrator) Run(ctx context.Context) error {
	defer o.listen()()
	if err := o.Load(ctx); err != nil {
		return err
	}
	lasting, cancelWork := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelWork()
	work := workqueue.Batch{Context: lasting}
	var streaming sync.WaitGroup
	streaming.Go(func() { o.events.Run(ctx) })
	defer streaming.Wait()
	defer o.reconciler.Resign(ctx)
	defer o.members.KeepAlive(ctx, func() time.Time { return time.UnixMicro(o.latestPass.Load()) })()
	defer func() {
		// A call that takes longer is repeated by whichever replica takes over.
		defer time.AfterFunc(shutdownGrace, cancelWork).Stop()
		work.Wait()
	}()
	var state passState
	for {
		next, err := o.pass(ctx, &work)
		if ctx.Err() == nil {
			state.log(ctx, o.env.Log, err)
		}
		if err != nil {
			next = o.env.Now().Add(retryAfterError)
		}
		if err := o.waitForPass(ctx, next); err != nil {
			return err
		}
	}
}

// passState is how the latest pass ended. The zero value: well.
type passState struct {
	failed bool
	reason string // why the store was not available; empty: another error
}

// log logs how a pass ended. While the store is unavailable for one reason, passes fail about
// once a second: the first failure is logged, and later the first pass that succeeds. Other
// errors may differ from pass to pass, and all of them are logged.
func (s *passState) log(ctx context.Context, log *slog.Logger, err error) {
	before := *s
	*s = passState{failed: err != nil}
	if u, isUnavailable := errors.AsType[*ports.UnavailableError](err); isUnavailable {
		s.reason = u.Reason
	}
	switch {
	case err == nil && before.failed:
		log.InfoContext(ctx, "background pass succeeded again")
	case err != nil && (s.reason == "" || *s != before):
		log.ErrorContext(ctx, "background pass failed", "error", err)
	}
}

// waitForPass waits until next, or for a wake-up. Many wake-ups in a row make one pass. After recorded events it waits for up to
// eventPassInterval more: a busy fleet records events with every send, and one pass reads many.
func (o *Orchestrator) waitForPass(ctx context.Context, next time.Time) error {
	wait := min(max(next.Sub(o.env.Now()), minPassInterval), maxPassInterval)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	recorded := o.recorded
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		case <-recorded:
			recorded = nil
			if wait > eventPassInterval {
				timer.Reset(eventPassInterval)
			}
		case <-o.queue.Woken():
			timer.Reset(minPassInterval)
			<-timer.C
			return nil
		}
	}
}

// RunOnce does the due work once, waits for it, and returns when something will be due
// next. A harness that owns the clock calls it from one goroutine.
func (o *Orchestrator) RunOnce(ctx context.Context) (next time.Time, err error) {
	o.subscribe.Do(func() { o.listen() })
	work := workqueue.Batch{Context: context.WithoutCancel(ctx)}
	next, err = o.pass(ctx, &work)
	work.Wait()
	err = errors.Join(err, o.events.Distribute(ctx))
	select {
	case <-o.queue.Woken(): // the work may have led to more
		next = o.env.Now()
	case <-o.recorded:
		next = o.env.Now()
	default:
	}
	return next, err
}

// pass runs every step of the background work once. It returns when the earliest step is
// due again.
func (o *Orchestrator) pass(ctx context.Context, work *workqueue.Batch) (time.Time, error) {
	o.latestPass.Store(o.env.Now().UnixMicro())
	if err := o.sync.EnsureLoaded(ctx); err != nil {
		return o.env.Now().Add(retryAfterError), err
	}
	next := o.env.Now().Add(maxPassInterval)
	var errs []error
	for _, step := range []func() (time.Time, error){
		func() (time.Time, error) { return o.members.Heartbeat(ctx) },
		func() (time.Time, error) { return o.sync.Apply(ctx) },
		func() (time.Time, error) { return o.detector.Check(ctx, work) },
		func() (time.Time, error) { return o.detector.EvaluateCanaries(ctx) },
		func() (time.Time, error) { return o.migrator.Admit(ctx) },
		func() (time.Time, error) { return o.reconciler.DueSessions(ctx, work) },
		func() (time.Time, error) { return o.reconciler.DueCleanups(ctx, work) },
		func() (time.Time, error) { return o.housekeep(ctx) },
		func() (time.Time, error) { return o.usage.Count(ctx) },
		func() (time.Time, error) { return o.webhooks.Project(ctx) },
		func() (time.Time, error) { return o.webhooks.Dispatch(ctx, work) },
		func() (time.Time, error) { return o.sendQueues.Dispatch(ctx, work) },
	} {
		at, err := step()
		if !at.IsZero() && at.Before(next) {
			next = at
		}
		errs = append(errs, err)
	}
	return next, errors.Join(errs...)
}

// housekeep does, once a minute, what need not be done at once. Among replicas one does
// the part that concerns the store.
func (o *Orchestrator) housekeep(ctx context.Context) (time.Time, error) {
	now := o.env.Now()
	if now.Before(o.housekeepAt) {
		return o.housekeepAt, nil
	}
	o.housekeepAt = now.Add(housekeepEvery)
	o.queue.Housekeep(now)
	o.sendQueues.Housekeep(now)
	o.usage.Wake()
	err := errors.Join(o.keys.StoreLastUse(ctx), o.webhooks.SavePosition(ctx))
	if !o.members.OwnsWork("house") {
		return o.housekeepAt, err
	}
	return o.housekeepAt, errors.Join(err,
		o.messages.Housekeep(ctx, now),
		o.keys.Housekeep(ctx, now),
		o.users.Housekeep(ctx, now),
		o.workers.Housekeep(ctx, now),
		o.log.Housekeep(ctx, now),
		o.usage.Housekeep(ctx, now),
		o.analytics.Housekeep(ctx, now),
		o.webhooks.Housekeep(ctx, now),
		o.migrator.Housekeep(ctx, now),
		o.env.Trail().DeleteBefore(ctx, now.Add(-o.auditRetention)),
	)
}
