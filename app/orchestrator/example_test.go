package orchestrator_test

import (
	"context"
	"fmt"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
)

// A program embeds Switchyard in about a dozen lines: it opens a store, makes an
// orchestrator, runs it and calls services. The worker here is simulated.
// store.Workers(token) returns the gateway to real workers.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	store, err := backend.Open(ctx, "memory:") // or sqlite:gateway.db, or postgres://…
	check(err)
	workers := new(simworker.Fleet)
	o, err := orchestrator.New(orchestrator.Config{Store: store, Workers: workers})
	check(err)
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx) }()

	worker := simworker.New(simworker.Config{ID: "worker-1", Endpoint: "http://worker-1.sim:1", ScanAfter: time.Nanosecond}, o.Protocol)
	workers.Add(worker)
	worker.Tick(ctx, time.Now()) // the worker registers

	check(o.Users.Add(ctx, orchestrator.User{ID: "ada", Email: "ada@example.com", Tier: orchestrator.TierPro}))
	session, err := o.Sessions.Create(ctx, "ada", orchestrator.CreateSessionParams{ID: "support", Name: "Support line"})
	check(err)
	placed, err := o.Sessions.Connect(ctx, "ada", session.ID, orchestrator.ConnectOptions{Wait: 10 * time.Second})
	check(err)
	fmt.Println(placed.SessionID, "is", placed.Status, "on", placed.WorkerID)

	worker.Tick(ctx, time.Now().Add(time.Second)) // the simulated phone scans the QR code
	message, err := o.Messages.Send(ctx, orchestrator.Sender{UserID: "ada", SessionID: session.ID},
		&orchestrator.Outgoing{To: "+62 812-3456-7890", Type: orchestrator.TypeText, Text: "Hello"})
	check(err)
	fmt.Println(message.Type, "to", message.To, "is", message.Status)

	stop()
	fmt.Println(<-ended)
	check(store.Close())
	// Output:
	// support is QR_REQUIRED on worker-1
	// text to 6281234567890@s.whatsapp.net is SENT
	// context canceled
}

// check ends an example that fails.
func check(err error) {
	if err != nil {
		panic(err)
	}
}
