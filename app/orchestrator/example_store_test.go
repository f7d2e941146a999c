package orchestrator_test

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/ports"
)

// countingStore is a store of one's own. A real one begins a transaction of its engine in
// View and Update, and builds a ports.Tx of repositories that use it. This one passes the
// transactions to the store in memory and counts commits.
type countingStore struct {
	inner   ports.Store
	commits atomic.Int64
}

func (s *countingStore) View(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	return s.inner.View(ctx, fn)
}

func (s *countingStore) Update(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	err := s.inner.Update(ctx, fn)
	if err == nil {
		s.commits.Add(1)
	}
	return err
}

func (s *countingStore) Close() error { return s.inner.Close() }

// An orchestrator works on any ports.Store. backend.WrapStore adds the other ports, for one
// process. The suite conformance.Store proves that a store keeps the contract.
func Example_customStore() {
	ctx := context.Background()
	store := &countingStore{inner: memory.NewStore()}
	o, err := orchestrator.New(orchestrator.Config{Store: backend.WrapStore(store), Workers: new(simworker.Fleet)})
	check(err)

	check(o.Users.Add(ctx, orchestrator.User{ID: "ada", Email: "ada@example.com", Tier: orchestrator.TierPro}))
	_, err = o.Sessions.Create(ctx, "ada", orchestrator.CreateSessionParams{Name: "Support line"})
	check(err)

	fmt.Println("commits:", store.commits.Load())
	check(store.Close())
	// Output:
	// commits: 3
}
