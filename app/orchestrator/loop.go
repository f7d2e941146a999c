package orchestrator

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const (
	batch           = 256                    // rows looked at in one pass
	maxBatch        = 8192                   // the same while many of them cannot be taken on
	perWorker       = 8                      // sessions and cleanups worked on at once for one worker
	houseEvery      = time.Minute            // between rounds of housekeeping
	pollEvery       = 5 * time.Second        // between looks at the store when nothing is known to be due
	pauseAfterFault = time.Second            // before a session that could not be worked on is tried again
	shortest        = 20 * time.Millisecond  // between two passes of Run
	glance          = 500 * time.Millisecond // between two passes while rows that are due are worked on
	loadLife        = 24 * time.Hour         // how long the load of workers is kept
	eventLife       = 24 * time.Hour         // how long published events are kept
	handOver        = 10 * time.Second       // what is under way when Run is to end may take
	relayLook       = 20 * time.Second       // between two looks whether the replica that publishes does
	relayPosition   = "relay.position"       // setting: Seq of the last published event
)

// loop is the state of the background work of this process.
type loop struct {
	ready   atomic.Bool
	relay   atomic.Bool // there are events to publish
	stale   atomic.Int64
	stopped atomic.Bool // the health monitor
	checked atomic.Int64
	passed  atomic.Int64 // when the latest pass began, µs

	turns  chan struct{} // bounds how many sessions and cleanups are worked on at once
	probes chan struct{} // bounds probes, which must not wait for a worker that hangs
	woken  chan struct{}
	moves  sync.Mutex // one move begins at a time, or they would only be in conflict

	mu        sync.Mutex
	running   map[string]bool      // sessions and cleanups being worked on
	busy      map[string]int       // how many of them, by worker
	queues    map[string][]string  // sessions that wait for a worker to be less busy, as of the latest pass
	blocked   int                  // due rows that the latest pass could not take on
	unclean   int                  // the same of cleanups
	pause     map[string]time.Time // not before, after a fault of ours
	moving    map[string]time.Time // moves that are under way, and when they were first seen to be
	houseAt   time.Time
	relayAt   time.Time                       // when it is looked at whether whoever publishes does; of RunOnce alone
	relayNext int64                           // the event that was to be published then
	wakes     bool                            // those that wait for room are called by this replica; of RunOnce alone
	callers   map[string]map[string]time.Time // other replicas that call a worker, and when they were last seen to; of RunOnce alone
	turnAt    time.Time                       // when sessions that wait to move are looked at again
	userAt    string                          // the last user that was checked; of RunOnce alone
	judgeAt   time.Time                       // when a canary is found out, if it gets no better; zero: none is in doubt
}

func (l *loop) init(parallel int) {
	l.turns = make(chan struct{}, parallel)
	l.probes = make(chan struct{}, parallel)
	l.busy = make(map[string]int)
	l.woken = make(chan struct{}, 1)
	l.running = make(map[string]bool)
	l.pause = make(map[string]time.Time)
	l.callers = make(map[string]map[string]time.Time)
}

// wake makes Run look again soon.
func (l *loop) wake() {
	select {
	case l.woken <- struct{}{}:
	default:
	}
}

// works reports whether anything is being done about a worker.
func (l *loop) works(worker string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.busy[worker] > 0
}

// tasks are the pieces of background work that are being done.
type tasks struct {
	sync.WaitGroup
	ctx context.Context // goes on for a while when the loop has ended
}

// task is a piece of background work.
type task struct {
	key    string        // there is one at a time of each
	worker string        // whose turn it takes; empty: nobody's
	pool   chan struct{} // whose room it takes
}

// claim takes a piece of work on unless somebody has it, it is paused, or
// there is no room for it: a worker that hangs may not take up all of that.
func (l *loop) claim(t task, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running[t.key] || now.Before(l.pause[t.key]) || t.worker != "" && l.busy[t.worker] >= perWorker {
		return false
	}
	select {
	case t.pool <- struct{}{}:
	default:
		return false
	}
	delete(l.pause, t.key)
	l.running[t.key] = true
	l.busy[t.worker]++
	return true
}

func (l *loop) release(t task, pauseUntil time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	<-t.pool
	delete(l.running, t.key)
	if l.busy[t.worker]--; l.busy[t.worker] <= 0 {
		delete(l.busy, t.worker)
	}
	if !pauseUntil.IsZero() {
		l.pause[t.key] = pauseUntil
	}
}

// queue remembers which sessions wait for workers to be less busy.
func (l *loop) queue(waiting map[string][]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queues = waiting
}

// following gives the next session that waits for the worker; empty: there is none.
func (l *loop) following(worker string) (sessionID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q := l.queues[worker]; len(q) > 0 {
		sessionID, l.queues[worker] = q[0], q[1:]
	}
	return sessionID
}

// Run does the background work until ctx ends, and then waits for what is
// under way, for 10 s, and hands over to other replicas. It returns ctx's error, or
// the reason why it could not begin. It is called once, and not together with RunOnce;
// use cases may be called before, meanwhile and after.
func (o *Orchestrator) Run(ctx context.Context) error {
	defer o.listen()()
	if err := o.Load(ctx); err != nil {
		return err
	}
	lasting, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	work := tasks{ctx: lasting}
	defer o.retire(ctx)
	defer o.live(ctx)()
	defer func() {
		// A call that takes longer is made again by whoever takes over.
		defer time.AfterFunc(handOver, giveUp).Stop()
		work.Wait()
	}()
	for {
		next, err := o.step(ctx, &work)
		if err != nil && ctx.Err() == nil {
			o.log.ErrorContext(ctx, "background work", "error", err)
			next = o.now().Add(pauseAfterFault)
		}
		pause := max(next.Sub(o.now()), shortest)
		timer := time.NewTimer(min(pause, pollEvery))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		case <-o.loop.woken:
			// Many changes in a row make one pass.
			timer.Reset(shortest)
			<-timer.C
		}
		timer.Stop()
	}
}

// RunOnce does what is due now, once, and returns when something will be due next.
// Run does the same in a loop; a harness that owns the clock calls it itself, from
// one goroutine.
func (o *Orchestrator) RunOnce(ctx context.Context) (next time.Time, err error) {
	o.members.listen.Do(func() { o.listen() })
	work := tasks{ctx: context.WithoutCancel(ctx)}
	next, err = o.step(ctx, &work)
	work.Wait()
	select {
	case <-o.loop.woken: // what was done may have led to more
		next = o.now()
	default:
	}
	return next, err
}

func (o *Orchestrator) step(ctx context.Context, work *tasks) (time.Time, error) {
	o.loop.passed.Store(o.now().UnixMicro())
	if err := o.ready(ctx); err != nil {
		return o.now().Add(pauseAfterFault), err
	}
	next := o.now().Add(pollEvery)
	sooner := func(at time.Time) {
		if !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	var errs []error
	for _, part := range []func(context.Context, *tasks) (time.Time, error){
		o.attend, o.catchUp, o.monitor, o.judge, o.turns, o.reconcile, o.cleanups, o.house, o.publish,
	} {
		at, err := part(ctx, work)
		sooner(at)
		errs = append(errs, err)
	}
	return next, errors.Join(errs...)
}

// dispatch does a piece of work in the background, unless it is being done or
// there is no room for more at the moment; and once it has made room, what is to
// follow.
func (o *Orchestrator) dispatch(work *tasks, t task, fn func() error, then ...func()) bool {
	if !o.loop.claim(t, o.now()) {
		return false
	}
	work.Add(1)
	o.spawn(func() {
		defer work.Done()
		var pause time.Time
		defer func() {
			o.loop.release(t, pause)
			for _, follow := range then {
				follow()
			}
			o.loop.wake()
		}()
		if err := fn(); err != nil {
			pause = o.now().Add(pauseAfterFault)
		}
	})
	return true
}

// reconcile works on the sessions that are due, in the order that SortByPriority
// gives.
func (o *Orchestrator) reconcile(ctx context.Context, work *tasks) (time.Time, error) {
	now := o.now()
	wakes := o.mine("waiting") // of several replicas one keeps the order
	begins := wakes && !o.loop.wakes
	o.loop.wakes = wakes
	if o.fleet.freed.Swap(false) && wakes || begins {
		if err := o.callWaiting(ctx, now); err != nil {
			o.fleet.freed.Store(true)
			return now.Add(pauseAfterFault), err
		}
	}
	var due []*domain.Session
	var next time.Time
	var ranks map[string]int
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		if due, err = tx.Sessions.Due(ctx, now, min(batch+o.loop.blocked, maxBatch)); err != nil {
			return err
		}
		if ranks, err = o.ranks(ctx, tx, due); err != nil {
			return err
		}
		next, err = tx.Sessions.NextDue(ctx)
		return err
	})
	if err != nil {
		return now.Add(pauseAfterFault), err
	}
	o.loop.blocked = 0
	o.noteCallers(due, now)
	waiting := make(map[string][]string)
	for _, s := range domain.SortByPriority(due, func(user string) int { return ranks[user] }) {
		worker := o.turnTaker(s)
		if o.taken(s, now) || !o.turnFor(s, worker, now) {
			o.loop.blocked++
			continue
		}
		if !o.takeOn(ctx, work, s.ID, worker) {
			if o.loop.blocked++; s.ClaimedBy == o.self.ID || o.mine(workOn(worker)) {
				waiting[worker] = append(waiting[worker], s.ID)
			}
		}
	}
	o.loop.queue(waiting)
	return soon(next, now), nil
}

// takeOn takes a session on in the background. When that is done, another that
// waits for the same worker follows at once: a worker that is to be called about
// many sessions is not left idle between two passes.
func (o *Orchestrator) takeOn(ctx context.Context, work *tasks, sessionID, worker string) bool {
	return o.dispatch(work, task{"session/" + sessionID, worker, o.loop.turns}, func() error {
		return o.further(work.ctx, sessionID)
	}, func() {
		for ctx.Err() == nil && worker != "" {
			if next := o.loop.following(worker); next == "" || o.takeOn(ctx, work, next, worker) {
				return
			}
		}
	})
}

// further takes one session on in the background.
func (o *Orchestrator) further(ctx context.Context, sessionID string) error {
	end, err := o.calls.begin(ctx, sessionID)
	if err != nil {
		return err
	}
	defer end()
	_, err = o.advance(ctx, sessionID, pass{background: true})
	var failure *ports.WorkerError
	if errors.As(err, &failure) || domain.CodeOf(err) == domain.CodeSessionNotFound {
		return nil // recorded, or gone
	}
	o.logFailure(ctx, "session not reconciled", err, "session", sessionID)
	return err
}

// soon is when to look again, given the earliest time at which a row is due.
// One that is due already is being worked on: whoever ends wakes the loop, but
// what is due after it must not wait for that.
func soon(next, now time.Time) time.Time {
	if next.IsZero() || next.After(now) {
		return next
	}
	return now.Add(glance)
}

// ranks gives the rank of the tier of every user whose sessions wait for a worker.
func (o *Orchestrator) ranks(ctx context.Context, tx *ports.Tx, sessions []*domain.Session) (map[string]int, error) {
	ranks := make(map[string]int)
	for _, s := range sessions {
		if _, known := ranks[s.UserID]; known || s.IsAssigned() {
			continue
		}
		u, err := tx.Users.Get(ctx, s.UserID)
		if err != nil {
			return nil, err
		}
		ranks[s.UserID] = o.limits(u.Tier).Rank
	}
	return ranks, nil
}

// callWaiting makes those due that wait for room, as many as there is room
// for, the first in SortByPriority's order. The others go on waiting.
func (o *Orchestrator) callWaiting(ctx context.Context, now time.Time) error {
	free, ids := o.fleet.free(), o.fleet.waitingForRoom()
	if free == 0 || len(ids) == 0 {
		return nil
	}
	return o.transact(ctx, func(ctx context.Context, tx *ports.Tx, c *changes) error {
		var waiting []*domain.Session
		for _, id := range ids {
			s, err := tx.Sessions.Get(ctx, id)
			if err != nil && !errors.Is(err, ports.ErrNotFound) {
				return err
			}
			if s != nil && s.Intent == domain.Up && !s.IsAssigned() {
				waiting = append(waiting, s)
			}
		}
		ranks, err := o.ranks(ctx, tx, waiting)
		if err != nil {
			return err
		}
		plan := domain.SortByPriority(waiting, func(user string) int { return ranks[user] })
		for _, s := range plan[:min(free, len(plan))] {
			if !s.DueAt.After(now) {
				continue // it is about to be placed as it is
			}
			before := s.Clone()
			s.DueAt = now
			if err := o.save(ctx, tx, c, before, s, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// cleanups works on what is left to do on workers.
func (o *Orchestrator) cleanups(ctx context.Context, work *tasks) (time.Time, error) {
	now := o.now()
	var due []*domain.Cleanup
	var next time.Time
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		if due, err = tx.Cleanups.Due(ctx, now, min(batch+o.loop.unclean, maxBatch)); err != nil {
			return err
		}
		next, err = tx.Cleanups.NextDue(ctx)
		return err
	})
	if err != nil {
		return now.Add(pauseAfterFault), err
	}
	o.loop.unclean = 0
	for _, c := range due {
		whose := workOn(c.WorkerID)
		if c.Attempts > 1 {
			whose = again(whose, c.Attempts)
		}
		if !o.turn(whose, c.DueAt, now) ||
			!o.dispatch(work, task{"cleanup/" + c.WorkerID + "/" + c.SessionID, c.WorkerID, o.loop.turns}, func() error {
				o.clean(work.ctx, c.WorkerID, c.SessionID)
				return nil
			}) {
			o.loop.unclean++
		}
	}
	return soon(next, now), nil
}

// publish hands recorded events to the bus, in order and at least once.
func (o *Orchestrator) publish(ctx context.Context, _ *tasks) (time.Time, error) {
	if !o.loop.relay.Swap(false) {
		return time.Time{}, nil
	}
	mine := o.mine("relay")
	if !mine { // whose it is may be cut off from the bus
		if o.now().Before(o.loop.relayAt) {
			return time.Time{}, nil
		}
		o.loop.relayAt = o.now().Add(relayLook)
	}
	for first := true; ; first = false {
		var events []domain.Event
		err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
			text, err := tx.Settings.Get(ctx, relayPosition)
			if err != nil && !errors.Is(err, ports.ErrNotFound) {
				return err
			}
			at, _ := strconv.ParseInt(text, 10, 64) // none yet: from the beginning
			events, err = tx.Outbox.After(ctx, at, batch)
			return err
		})
		if !mine && first && err == nil {
			stuck := len(events) > 0 && o.loop.relayNext == events[0].Seq // for a whole round
			if o.loop.relayNext = 0; len(events) > 0 {
				o.loop.relayNext = events[0].Seq
			}
			if !stuck {
				return time.Time{}, nil
			}
		}
		if err == nil && len(events) > 0 {
			if o.stoodStill() { // and another replica may have published more by now
				o.loop.relay.Store(true)
				return o.now(), nil
			}
			if err = o.bus.Publish(ctx, events...); err == nil {
				err = o.published(ctx, events[len(events)-1].Seq)
			}
		}
		if err != nil {
			o.loop.relay.Store(true)
			return o.now().Add(pauseAfterFault), err
		}
		if len(events) < batch {
			return time.Time{}, nil
		}
	}
}

// published notes how far events have been published, unless that is known to be
// farther already.
func (o *Orchestrator) published(ctx context.Context, seq int64) error {
	return o.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		text, err := tx.Settings.Get(ctx, relayPosition)
		if err != nil && !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		if at, _ := strconv.ParseInt(text, 10, 64); at >= seq {
			return nil
		}
		return tx.Settings.CompareAndSwap(ctx, relayPosition, text, strconv.FormatInt(seq, 10))
	})
}

// house does what is to be done now and then: messages whose outcome was never
// learnt fail, the load of workers is recorded, and what has expired goes.
func (o *Orchestrator) house(ctx context.Context, _ *tasks) (time.Time, error) {
	now := o.now()
	o.loop.mu.Lock()
	due := !now.Before(o.loop.houseAt)
	if due {
		o.loop.houseAt = now.Add(houseEvery)
	}
	at := o.loop.houseAt
	maps.DeleteFunc(o.loop.pause, func(_ string, at time.Time) bool { return due && now.After(at) })
	o.loop.mu.Unlock()
	if !due {
		return at, nil
	}
	o.loop.relay.Store(true) // whatever an earlier process left unpublished
	errs := []error{o.keys.flush(ctx, o)}
	if !o.mine("house") {
		return at, errors.Join(errs...)
	}
	errs = append(errs, o.expireMessages(ctx, now.Add(-o.members.spread())), o.checkUsers(ctx))
	loads := o.fleet.samples(now)
	errs = append(errs, o.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		text, err := tx.Settings.Get(ctx, relayPosition)
		if err != nil && !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		at, _ := strconv.ParseInt(text, 10, 64)
		waiting, err := tx.Outbox.After(ctx, at, 1)
		if err != nil {
			return err
		}
		over := now.Add(-eventLife)
		if len(waiting) > 0 && waiting[0].At.Before(over) {
			over = waiting[0].At // it has not been published yet
		}
		return errors.Join(
			tx.LoadSamples.Append(ctx, loads...),
			tx.LoadSamples.DeleteBefore(ctx, now.Add(-loadLife)),
			tx.Outbox.DeleteBefore(ctx, over),
			tx.RefreshTokenFamilies.DeleteExpired(ctx, now),
			tx.Migrations.DeleteBefore(ctx, now.Add(-moveLife)),
		)
	}))
	return at, errors.Join(errs...)
}

// checkUsers takes down what users may not have up any more, should whoever changed
// the user have died before: some of the users in each round.
func (o *Orchestrator) checkUsers(ctx context.Context) error {
	up := o.fleet.upByUser()
	ids := slices.Sorted(maps.Keys(up))
	at, _ := slices.BinarySearch(ids, o.loop.userAt+"\x00")
	ids = slices.Concat(ids[at:], ids[:at])
	ids = ids[:min(len(ids), batch)]
	var over []string
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		over = over[:0]
		for _, id := range ids {
			u, err := tx.Users.Get(ctx, id)
			if err != nil && !errors.Is(err, ports.ErrNotFound) {
				return err
			}
			if u != nil && (!u.Active || up[id] > o.limits(u.Tier).Sessions) {
				over = append(over, id)
			}
		}
		return nil
	})
	if err != nil || len(ids) == 0 {
		return err
	}
	o.loop.userAt = ids[len(ids)-1]
	var errs []error
	for _, id := range over {
		errs = append(errs, o.Users.ApplyChange(ctx, id))
	}
	return errors.Join(errs...)
}

// expireMessages fails the messages whose outcome was not learnt in time.
func (o *Orchestrator) expireMessages(ctx context.Context, now time.Time) error {
	for {
		n := 0
		err := o.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
			pending, err := tx.Messages.PendingBefore(ctx, now.Add(-o.timing.MessageLife), batch)
			n = len(pending)
			for _, m := range pending {
				m.TransitionTo(domain.MessageFailed, now, "its outcome was never reported")
				if err := tx.Messages.Put(ctx, m); err != nil {
					return err
				}
			}
			return err
		})
		if err != nil || n < batch {
			return err
		}
	}
}
