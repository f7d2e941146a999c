package orchestrator_test

import (
	"context"
	"fmt"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/ports"
)

// o.Events reads the event log: everything that happens to sessions, messages and workers. An event
// is recorded in the transaction that causes it. A program that remembers the last position goes on
// from there, whatever happened meanwhile.
func Example_events() {
	ctx := context.Background()
	store, err := backend.Open(ctx, "memory:")
	check(err)
	workers := new(simworker.Fleet)
	o, err := orchestrator.New(orchestrator.Config{Store: store, Workers: workers})
	check(err)
	events, err := o.Events.Subscribe(ctx, ports.EventFilter{}, 0) // of all users, from the beginning
	check(err)

	workers.Add(simworker.New(simworker.Config{ID: "worker-1", Endpoint: "http://worker-1.sim:1"}, o.Protocol))
	workers.Tick(ctx, time.Now()) // the worker registers
	check(o.Users.Add(ctx, orchestrator.User{ID: "ada", Email: "ada@example.com", Tier: orchestrator.TierPro}))
	_, err = o.Sessions.Create(ctx, "ada", orchestrator.CreateSessionParams{ID: "support", Name: "Support line"})
	check(err)
	_, err = o.Sessions.Connect(ctx, "ada", "support", orchestrator.ConnectOptions{})
	check(err)
	_, err = o.RunOnce(ctx) // Run does so by itself
	check(err)

	list, err := events.Next(ctx) // waits for the first
	check(err)
	for _, e := range list {
		if e.Seq != 0 { // QR codes are shown, and not recorded
			fmt.Println(e.Type, "on", e.WorkerID)
		}
	}
	events.Close()
	check(store.Close())
	// Output:
	// worker.online on worker-1
	// session.placed on worker-1
	// session.qr_updated on worker-1
}
