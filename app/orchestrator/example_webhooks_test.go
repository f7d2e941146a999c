package orchestrator_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/switchyard-wa/switchyard/adapters/aesgcm"
	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/adapters/webhook"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// receiver is the web server of a customer. It verifies who sent an event, and that nobody has changed it,
// before it believes a word. An event may arrive twice, with the same webhook-id: it is handled once.
type receiver struct {
	secret  string
	handled map[string]bool // by webhook-id; a table with a unique column in a real program
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, 1<<20))
	check(err)
	verifier, err := standardwebhooks.NewWebhook(r.secret)
	check(err)
	if err := verifier.Verify(body, req.Header); err != nil { // of the bytes as they came; also of the time
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var event struct{ Type, SessionID string }
	check(json.Unmarshal(body, &event))
	if id := req.Header.Get("webhook-id"); !r.handled[id] {
		r.handled[id] = true
		fmt.Println("received", event.Type, "of", event.SessionID)
	}
	w.WriteHeader(http.StatusNoContent) // within 10 s; any other answer has the event sent again later
}

// A webhook delivers the events of a session to a URL, signed as Standard Webhooks says. There are libraries
// that verify it for most languages. A program that embeds Switchyard chooses how events are sent and how
// secrets are encrypted in its store.
func Example_webhooks() {
	ctx := context.Background()
	store, err := backend.Open(ctx, "memory:")
	check(err)
	sealer, err := aesgcm.New("a key of at least 32 bytes, kept for good", "webhooks", rand.Reader)
	check(err)
	workers := new(simworker.Fleet)
	o, err := orchestrator.New(orchestrator.Config{
		Store: store, Workers: workers, Sealer: sealer, Webhooks: webhook.New(webhook.Config{}),
	})
	check(err)
	workers.Add(simworker.New(simworker.Config{ID: "worker-1", Endpoint: "http://worker-1.sim:1"}, o.Protocol))
	workers.Tick(ctx, time.Now()) // the worker registers
	check(o.Users.Add(ctx, orchestrator.User{ID: "ada", Email: "ada@example.com", Tier: orchestrator.TierPro}))
	_, err = o.Sessions.Create(ctx, "ada", orchestrator.CreateSessionParams{ID: "support", Name: "Support line"})
	check(err)

	customer := &receiver{handled: make(map[string]bool)}
	web := httptest.NewServer(customer)
	hook, err := o.Webhooks.Create(ctx, "ada", "support", service.WebhookChange{URL: &web.URL})
	check(err)
	customer.secret = hook.ShownSecret // it is shown this once
	test, err := o.Webhooks.Test(ctx, "ada", "support", hook.ID)
	check(err)
	fmt.Println("the test was answered", test.Code)

	_, err = o.Sessions.Connect(ctx, "ada", "support", orchestrator.ConnectOptions{})
	check(err)
	for range 2 { // Run does so by itself
		_, err = o.RunOnce(ctx)
		check(err)
	}

	forged, err := http.Post(web.URL, "application/json", nil)
	check(err)
	check(forged.Body.Close())
	fmt.Println("a forged event was answered", forged.StatusCode)
	web.Close()
	check(store.Close())
	// Output:
	// received ping of support
	// the test was answered 204
	// received session.qr_updated of support
	// a forged event was answered 401
}
