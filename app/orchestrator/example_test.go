package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// A program that embeds Switchyard opens a store, makes an orchestrator and
// runs it. The workers here are simulated; httpworker.New(token) calls real ones.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	store, err := backend.Open(ctx, "memory:") // or sqlite:gateway.db
	check(err)
	workers := new(simworker.Fleet)
	o, err := orchestrator.New(orchestrator.Config{Store: store, Workers: workers, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	check(err)
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx) }()

	// One worker registers, as it would over HTTP.
	w := simworker.New(simworker.Config{ID: "worker-1", Endpoint: "http://worker-1.sim:1", ScanAfter: time.Nanosecond}, o.Protocol)
	workers.Add(w)
	w.Tick(ctx, time.Now())

	check(o.Users.Add(ctx, domain.User{ID: "ada", Email: "ada@example.com", Tier: domain.TierPro}))
	session, err := o.Sessions.Create(ctx, "ada", service.CreateSessionParams{ID: "support", Name: "Support line"})
	check(err)
	placed, err := o.Sessions.Connect(ctx, "ada", session.ID, service.ConnectOptions{Wait: 10 * time.Second})
	check(err)
	fmt.Println(placed.SessionID, "is", placed.Status, "on", placed.WorkerID)

	w.Tick(ctx, time.Now().Add(time.Second)) // the pretended phone scans the QR code
	message, err := o.Messages.Send(ctx, service.Sender{UserID: "ada", SessionID: session.ID},
		&domain.Outgoing{To: "+62 812-3456-7890", Type: domain.TypeText, Text: "Hello"})
	check(err)
	fmt.Println(message.Type, "to", message.To, "is", message.Status)

	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		check(err)
	}
	check(store.Close())
	// Output:
	// support is QR_REQUIRED on worker-1
	// text to 6281234567890@s.whatsapp.net is SENT
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
