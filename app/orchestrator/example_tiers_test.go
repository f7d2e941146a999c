package orchestrator_test

import (
	"context"
	"fmt"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
)

// Tiers are data: a program brings its own names and limits. SetTiers replaces them while the
// orchestrator runs.
func Example_tiers() {
	ctx := context.Background()
	store, err := backend.Open(ctx, "memory:")
	check(err)
	limits := domain.Limits{Sessions: 1, MessagesPerHour: 10, APICallsPerHour: 100}
	o, err := orchestrator.New(orchestrator.Config{
		Store: store, Workers: new(simworker.Fleet), Tiers: domain.Tiers{"TRIAL": limits},
	})
	check(err)
	check(o.Users.Add(ctx, orchestrator.User{ID: "ada", Email: "ada@example.com", Tier: "TRIAL"}))

	create := func(name string) {
		_, err := o.Sessions.Create(ctx, "ada", orchestrator.CreateSessionParams{Name: name})
		fmt.Printf("%s: %v\n", name, err)
	}
	create("first")
	create("second")
	limits.Sessions = 2
	o.SetTiers(domain.Tiers{"TRIAL": limits})
	create("third")

	tier, err := o.APIKeys.Tier(ctx, "ada")
	check(err)
	fmt.Println(tier.Tier, "uses", tier.Sessions, "of", tier.Limits.Sessions, "sessions")
	check(store.Close())
	// Output:
	// first: <nil>
	// second: SESSION_LIMIT_EXCEEDED: Session limit exceeded. TRIAL tier allows 1 session(s). Currently: 1
	// third: <nil>
	// TRIAL uses 2 of 2 sessions
}
