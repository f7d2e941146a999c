package apptest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
)

// cheapest is a placement strategy of the test's own: it looks at a label.
type cheapest struct{}

func (cheapest) Name() string { return "cheapest" }

func (cheapest) Score(w domain.Load) domain.Score {
	price := map[string]float64{"spot": 1, "reserved": 5}[w.Labels["price"]]
	return domain.Score{Factors: []domain.Factor{{Name: "price", Points: price}}}
}

func TestStrategy_ScoresALabel_ChoosesTheBestWorker(t *testing.T) {
	prices := []string{"reserved", "spot"}
	h := apptest.With(t, apptest.Options{
		Strategy: cheapest{},
		Worker: func(c *apptest.WorkerConfig) {
			c.Labels = map[string]string{"price": prices[0]}
			prices = prices[1:]
		},
	}).Workers("dear", 50, "cheap", 50)

	user := h.User(domain.TierMax)
	for range 3 {
		require.Equal(t, "cheap", h.Connected(user, "line").WorkerID)
	}
}
