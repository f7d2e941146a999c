package apptest_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
)

// Two replicas that are killed and paused, and workers that crash, hang and are cut off: each message is sent at most once,
// leaves the queue by its deadline, and is sent unless it failed or its outcome is unknown. What is sent keeps its order.
func TestQueue_RandomFaults_SendOnceAndLoseNothing(t *testing.T) {
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		h := newQueueing(outer, domain.TierPro, apptest.Options{Replicas: 2, Seed: rapid.Uint64().Draw(t, "seed")})
		ids := []string{h.queue("0", domain.Schedule{}).ID} // the queue has a row from here on
		down, broken := -1, ""
		repair := func() {
			if broken != "" {
				h.Reconnect(broken)
				h.ResumeWorker(broken)
				h.RestartWorker(broken)
				broken = ""
			}
		}
		for range rapid.IntRange(5, 30).Draw(t, "steps") {
			switch rapid.IntRange(0, 6).Draw(t, "step") {
			case 0, 1, 2:
				ids = append(ids, h.queue(fmt.Sprint(len(ids)), domain.Schedule{}).ID)
			case 3:
				switch {
				case down < 0:
					down = rapid.IntRange(0, 1).Draw(t, "replica")
					if rapid.Bool().Draw(t, "is killed") {
						h.Kill(down)
					} else {
						h.Pause(down)
					}
				case h.Replica(down) == nil:
					h.Start(down)
					down = -1
				default:
					h.Resume(down)
					down = -1
				}
			case 4:
				if broken != "" {
					repair()
					continue
				}
				broken = rapid.SampledFrom([]string{"w1", "w2"}).Draw(t, "worker")
				rapid.SampledFrom([]func(string){h.Crash, h.Hang, h.CutOff}).Draw(t, "fault")(broken)
			default:
				h.Advance(time.Duration(rapid.IntRange(1, 20_000).Draw(t, "ms")) * time.Millisecond)
			}
		}
		repair()
		if down >= 0 && h.Replica(down) != nil {
			h.Resume(down)
		} else if down >= 0 {
			h.Start(down)
		}
		h.Advance(3 * time.Minute)
		h.Skip(90 * time.Minute) // deadlines and unknown outcomes
		h.Advance(3 * time.Minute)
		h.requireNothingWaits()
		next := -1
		for _, text := range h.sent() {
			n, err := strconv.Atoi(text)
			if err != nil || n <= next {
				t.Fatalf("%q sent after %d", text, next)
			}
			next = n
		}
		for i, id := range ids {
			if m := h.message(id); m.Status == domain.MessagePending {
				t.Fatalf("message %d is still PENDING", i)
			}
		}
	})
}
