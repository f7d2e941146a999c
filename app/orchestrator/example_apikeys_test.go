package orchestrator_test

import (
	"context"
	"fmt"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
)

// A session has an API key, which only its creation shows. Authenticate names the holder of a
// key and counts the call against the tier. A rotation without a grace ends the old key.
func Example_apiKeys() {
	ctx := context.Background()
	store, err := backend.Open(ctx, "memory:")
	check(err)
	o, err := orchestrator.New(orchestrator.Config{Store: store, Workers: new(simworker.Fleet)})
	check(err)
	check(o.Users.Add(ctx, orchestrator.User{ID: "ada", Email: "ada@example.com", Tier: orchestrator.TierPro}))
	session, err := o.Sessions.Create(ctx, "ada", orchestrator.CreateSessionParams{ID: "support", Name: "Support line"})
	check(err)

	sender, usage, err := o.APIKeys.Authenticate(ctx, session.APIKey)
	check(err)
	fmt.Println(sender.UserID, sender.SessionID, "has", usage.Remaining, "calls left")

	fresh, err := o.APIKeys.Rotate(ctx, "ada", session.ID, 0)
	check(err)
	_, _, err = o.APIKeys.Authenticate(ctx, session.APIKey)
	fmt.Println("old key:", domain.CodeOf(err))
	_, _, err = o.APIKeys.Authenticate(ctx, fresh)
	fmt.Println("new key:", err)
	check(store.Close())
	// Output:
	// ada support has 9999 calls left
	// old key: API_KEY_INVALID
	// new key: <nil>
}
