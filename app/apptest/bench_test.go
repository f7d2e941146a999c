package apptest_test

import (
	"testing"
	"time"

	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
)

func BenchmarkDayOfFleetLife(b *testing.B) {
	for b.Loop() {
		h := apptest.New(b).Workers("w1", 50, "w2", 50, "w3", 50)
		for range 5 {
			u := h.User(domain.TierPro)
			for range 5 {
				h.Connected(u, "line")
			}
		}
		for hour := range 24 {
			w := []string{"w1", "w2", "w3"}[hour%3]
			h.Crash(w)
			h.Advance(30 * time.Minute)
			h.RestartWorker(w)
			h.Advance(30 * time.Minute)
		}
	}
}
