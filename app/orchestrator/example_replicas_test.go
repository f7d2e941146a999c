package orchestrator_test

import (
	"context"
	"fmt"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
)

// Replicas share a store and the coordination around it. Each serves any session, and they
// divide the background work among them. Real replicas are processes that open the same
// postgres:// store, with backend.Config.Coordination set to the same redis:// URL.
func Example_replicas() {
	ctx := context.Background()
	store, err := backend.Open(ctx, "memory:")
	check(err)
	workers, hub, shared := new(simworker.Fleet), memory.NewInvalidator(), true
	newReplica := func(name string) *orchestrator.Orchestrator {
		o, err := orchestrator.New(orchestrator.Config{
			Store: store, Workers: workers, Shared: &shared, Invalidator: hub.Join(), Name: name,
		})
		check(err)
		_, err = o.RunOnce(ctx) // joins; Run does so by itself
		check(err)
		return o
	}
	first, second := newReplica("first"), newReplica("second")

	workers.Add(simworker.New(simworker.Config{ID: "worker-1", Endpoint: "http://worker-1.sim:1"}, first.Protocol))
	workers.Tick(ctx, time.Now()) // the worker registers at the first replica
	check(first.Users.Add(ctx, orchestrator.User{ID: "ada", Email: "ada@example.com", Tier: orchestrator.TierPro}))
	_, err = first.Sessions.Create(ctx, "ada", orchestrator.CreateSessionParams{ID: "support", Name: "Support line"})
	check(err)

	placed, err := second.Sessions.Connect(ctx, "ada", "support", orchestrator.ConnectOptions{})
	check(err)
	fmt.Println("placed by the second replica on", placed.WorkerID)
	view, err := first.Sessions.Get(ctx, "ada", "support")
	check(err)
	fmt.Println("seen by the first replica on", view.WorkerID)
	check(store.Close())
	// Output:
	// placed by the second replica on worker-1
	// seen by the first replica on worker-1
}
