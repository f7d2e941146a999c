package apptest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
)

// This is what a test of a program built on Switchyard looks like: the fleet is
// real, the minute passes in a millisecond.
func TestExample(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50, "w2", 50)
	user := h.User(domain.TierPro)
	s := h.Connected(user, "support")

	h.Crash(s.WorkerID)
	h.Advance(time.Minute)

	require.Equal(t, domain.Connected, h.Session(s.ID).Status)
	require.NotEqual(t, s.WorkerID, h.Session(s.ID).WorkerID)
}

// cheapest is a placement strategy of the test's own: it looks at a label.
type cheapest struct{}

func (cheapest) Name() string { return "cheapest" }

func (cheapest) Score(w domain.Load) domain.Score {
	price := map[string]float64{"spot": 1, "reserved": 5}[w.Labels["price"]]
	return domain.Score{Factors: []domain.Factor{{Name: "price", Points: price}}}
}

func TestOwnPlacementStrategy(t *testing.T) {
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
