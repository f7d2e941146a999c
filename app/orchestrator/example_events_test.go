package orchestrator_test

import (
	"context"
	"fmt"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
)

// The bus of a backend carries what happens to sessions and workers. An event is recorded in
// the transaction that causes it, and published after the commit.
func Example_events() {
	ctx := context.Background()
	store, err := backend.Open(ctx, "memory:")
	check(err)
	workers := new(simworker.Fleet)
	o, err := orchestrator.New(orchestrator.Config{Store: store, Workers: workers})
	check(err)
	events := make(chan domain.Event, 100)
	cancel := store.Bus().Subscribe(func(e domain.Event) { events <- e })

	workers.Add(simworker.New(simworker.Config{ID: "worker-1", Endpoint: "http://worker-1.sim:1"}, o.Protocol))
	workers.Tick(ctx, time.Now()) // the worker registers
	check(o.Users.Add(ctx, orchestrator.User{ID: "ada", Email: "ada@example.com", Tier: orchestrator.TierPro}))
	_, err = o.Sessions.Create(ctx, "ada", orchestrator.CreateSessionParams{ID: "support", Name: "Support line"})
	check(err)
	_, err = o.Sessions.Connect(ctx, "ada", "support", orchestrator.ConnectOptions{})
	check(err)
	_, err = o.RunOnce(ctx) // publishes; Run does so by itself
	check(err)

	for range 3 {
		e := <-events
		fmt.Println(e.Type, "on", e.WorkerID)
	}
	cancel()
	check(store.Close())
	// Output:
	// worker.online on worker-1
	// session.placed on worker-1
	// session.qr_updated on worker-1
}
