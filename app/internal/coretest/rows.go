package coretest

import (
	"context"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// AddUser stores an active user of a tier and returns its id.
func (c *Core) AddUser(tier domain.Tier) string {
	c.t.Helper()
	id := c.IDs.NewID()
	c.Write(func(ctx context.Context, tx *txn.Tx) error {
		return tx.Users.Put(ctx, &domain.User{
			ID: id, Name: id, Email: id + "@example.com", Tier: tier, Role: domain.RoleUser, Active: true, CreatedAt: c.Now(),
		})
	})
	return id
}

// StateGroup is the state group of the workers that AddSharingWorker registers.
const StateGroup = "shared"

// AddWorker registers a worker, which is online and shares its credentials with no other.
func (c *Core) AddWorker(id string, capacity int, capabilities ...domain.Capability) {
	c.t.Helper()
	c.register(domain.Registration{WorkerID: id, Capacity: capacity, Capabilities: capabilities})
}

// AddSharingWorker registers a worker of [StateGroup], which is online. Linked sessions move between
// such workers without a scan.
func (c *Core) AddSharingWorker(id string, capacity int, capabilities ...domain.Capability) {
	c.t.Helper()
	c.register(domain.Registration{WorkerID: id, Capacity: capacity, Capabilities: capabilities, StateGroup: StateGroup})
}

func (c *Core) register(r domain.Registration) {
	c.t.Helper()
	r.Endpoint, r.Version = "http://"+r.WorkerID+":1", "1.0.0"
	c.Write(func(ctx context.Context, tx *txn.Tx) error {
		w := &domain.Worker{ID: r.WorkerID, CPU: -1, Memory: -1, CreatedAt: c.Now()}
		return tx.SaveWorker(ctx, w, w.Register(r, c.Timing, c.Now()))
	})
}

// AddSession stores a session that is down.
func (c *Core) AddSession(userID, id string) {
	c.t.Helper()
	c.Write(func(ctx context.Context, tx *txn.Tx) error {
		if err := tx.Users.Reserve(ctx, userID, domain.UserUsage{Sessions: 1}, domain.UserUsage{Sessions: 1000}); err != nil {
			return err
		}
		return tx.AddSession(ctx, domain.NewSession(id, userID, id, "", c.Now()))
	})
}

// AddAssigned stores a session that a worker has to start.
func (c *Core) AddAssigned(userID, id, workerID string) {
	c.t.Helper()
	c.AddSession(userID, id)
	c.Change(id, func(s *domain.Session) {
		if err := s.Connect("", c.Now()); err != nil {
			c.t.Fatal(err)
		}
		s.Assign(workerID, c.Now())
	})
}

// AddConnected stores a session that is CONNECTED on a worker.
func (c *Core) AddConnected(userID, id, workerID string) {
	c.t.Helper()
	c.AddAssigned(userID, id, workerID)
	c.Report(id, domain.Connected)
	c.Change(id, func(s *domain.Session) { s.PhoneNumber, s.DueAt = "6281234567890", time.Time{} })
}

// Report applies a report of a session's worker.
func (c *Core) Report(id string, status domain.Status) {
	c.t.Helper()
	c.Change(id, func(s *domain.Session) {
		outcome, _ := s.Apply(domain.Report{SessionID: id, WorkerID: s.WorkerID, Status: status}, c.Timing, c.Now())
		if outcome != domain.Applied && outcome != domain.Repeated {
			c.t.Fatalf("report of %s on session %s: %s", status, id, outcome)
		}
	})
}

// Change changes a session through the writer, without an event.
func (c *Core) Change(id string, fn func(*domain.Session)) {
	c.t.Helper()
	_, err := c.ChangeSession(context.Background(), id, func(_ context.Context, _ *txn.Tx, s *domain.Session) ([]domain.Event, error) {
		fn(s)
		return nil, nil
	})
	if err != nil {
		c.t.Fatalf("changing session %s: %v", id, err)
	}
}

// DeleteSession deletes a session through the writer, which schedules its wipe.
func (c *Core) DeleteSession(id string) {
	c.t.Helper()
	c.Write(func(ctx context.Context, tx *txn.Tx) error {
		s, err := tx.Sessions.Get(ctx, id)
		if err != nil {
			return err
		}
		_, err = tx.DeleteSession(ctx, s)
		return err
	})
}

// ChangeWorkerRow changes a worker through the writer, without an event.
func (c *Core) ChangeWorkerRow(id string, fn func(*domain.Worker)) {
	c.t.Helper()
	_, err := c.ChangeWorker(context.Background(), id, func(_ context.Context, _ *txn.Tx, w *domain.Worker) ([]domain.Event, error) {
		fn(w)
		return nil, nil
	})
	if err != nil {
		c.t.Fatalf("changing worker %s: %v", id, err)
	}
}

// Write runs a transaction of the writer, which must succeed.
func (c *Core) Write(fn func(ctx context.Context, tx *txn.Tx) error) {
	c.t.Helper()
	if err := c.Transact(context.Background(), fn); err != nil {
		c.t.Fatalf("writing: %v", err)
	}
}

// Read runs a read-only transaction, which must succeed.
func (c *Core) Read(fn func(ctx context.Context, tx *ports.Tx) error) {
	c.t.Helper()
	if err := c.Stored.Store.View(context.Background(), fn); err != nil {
		c.t.Fatalf("reading: %v", err)
	}
}

// Session returns a session as it is stored.
func (c *Core) Session(id string) (s *domain.Session) {
	c.t.Helper()
	c.Read(func(ctx context.Context, tx *ports.Tx) (err error) {
		s, err = tx.Sessions.Get(ctx, id)
		return err
	})
	return s
}

// Worker returns a worker as it is stored.
func (c *Core) Worker(id string) (w *domain.Worker) {
	c.t.Helper()
	c.Read(func(ctx context.Context, tx *ports.Tx) (err error) {
		w, err = tx.Workers.Get(ctx, id)
		return err
	})
	return w
}

// Usage returns what a user has.
func (c *Core) Usage(userID string) (u domain.UserUsage) {
	c.t.Helper()
	c.Read(func(ctx context.Context, tx *ports.Tx) (err error) {
		u, err = tx.Users.Usage(ctx, userID)
		return err
	})
	return u
}

// Cleanups returns the stops and wipes of a session that workers still have to perform.
func (c *Core) Cleanups(sessionID string) (pending []*domain.Cleanup) {
	c.t.Helper()
	for _, cleanup := range c.Holders(sessionID) {
		if cleanup.IsPending() {
			pending = append(pending, cleanup)
		}
	}
	return pending
}

// Holders returns the workers that were given a session and have confirmed no wipe, and those
// that have run a foreign session of the id.
func (c *Core) Holders(sessionID string) []*domain.Cleanup {
	c.t.Helper()
	return slices.DeleteFunc(c.GivenTo(sessionID), (*domain.Cleanup).IsWiped)
}

// GivenTo returns the rows of Holders, and those of workers that have confirmed a wipe a while
// ago.
func (c *Core) GivenTo(sessionID string) (all []*domain.Cleanup) {
	c.t.Helper()
	c.Read(func(ctx context.Context, tx *ports.Tx) (err error) {
		all, err = tx.Cleanups.BySession(ctx, sessionID)
		return err
	})
	return all
}

// SetStateGroup changes the state group of a worker. The empty group is none.
func (c *Core) SetStateGroup(workerID, group string) {
	c.t.Helper()
	c.ChangeWorkerRow(workerID, func(w *domain.Worker) { w.StateGroup = group })
}

// Migrations returns the migrations of a session, newest first.
func (c *Core) Migrations(sessionID string) (all []*domain.Migration) {
	c.t.Helper()
	c.Read(func(ctx context.Context, tx *ports.Tx) (err error) {
		all, _, err = tx.Migrations.List(ctx, ports.MigrationFilter{SessionID: sessionID}, ports.Page{})
		return err
	})
	return all
}

// Events returns the types of all recorded events, in order.
func (c *Core) Events() (types []domain.EventType) {
	c.t.Helper()
	c.Read(func(ctx context.Context, tx *ports.Tx) error {
		events, err := tx.Outbox.After(ctx, ports.EventFilter{}, 0, 10_000)
		for _, e := range events {
			types = append(types, e.Type)
		}
		return err
	})
	return types
}
