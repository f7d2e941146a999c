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

// cheapest is a placement strategy of one's own. It prefers workers with a low price. Lower
// scores are better.
type cheapest struct{}

func (cheapest) Name() string { return "cheapest" }

func (cheapest) Score(w domain.Load) domain.Score {
	prices := map[string]float64{"spot": 1, "reserved": 5}
	return domain.Score{Factors: []domain.Factor{{Name: "price", Points: prices[w.Labels["price"]]}}}
}

// An orchestrator places sessions with the strategy of its Config. ExplainPlacement returns
// the worker that the next session would get, and the points of every worker.
func Example_placementStrategy() {
	ctx := context.Background()
	store, err := backend.Open(ctx, "memory:")
	check(err)
	workers := new(simworker.Fleet)
	o, err := orchestrator.New(orchestrator.Config{Store: store, Workers: workers, Strategy: cheapest{}})
	check(err)
	for _, price := range []string{"reserved", "spot"} {
		workers.Add(simworker.New(simworker.Config{
			ID: "worker-" + price, Endpoint: "http://" + price + ".sim:1", Labels: map[string]string{"price": price},
		}, o.Protocol))
	}
	workers.Tick(ctx, time.Now()) // the workers register

	chosen, candidates, err := o.Workers.ExplainPlacement(ctx)
	check(err)
	fmt.Println("chosen:", chosen)
	for _, c := range candidates {
		fmt.Println(c.WorkerID, c.Score, c.Factors)
	}
	check(store.Close())
	// Output:
	// chosen: worker-spot
	// worker-spot 1 [{price 1}]
	// worker-reserved 5 [{price 5}]
}
