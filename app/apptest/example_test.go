package apptest_test

import (
	"fmt"
	"time"

	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// A test of a program that embeds Switchyard crashes a worker and lets a minute pass. The
// minute takes a few milliseconds. In a test, t is its *testing.T.
func Example() {
	t := new(exampleT)
	h := apptest.New(t).Workers("w1", 50, "w2", 50)
	user := h.User(domain.TierPro)
	s := h.Connected(user, "support")

	h.Crash(s.WorkerID)
	h.Advance(time.Minute)

	after := h.Session(s.ID)
	fmt.Println(after.Status, "on another worker:", after.WorkerID != s.WorkerID)
	fmt.Println("runs on", len(h.Owners(s.ID)), "worker")
	t.end()
	// Output:
	// CONNECTED on another worker: true
	// runs on 1 worker
}

// A drain moves the sessions of a worker to other workers, a few at a time. Afterwards the
// worker can be stopped or upgraded. Activate takes it back into use.
func Example_drainWorker() {
	t := new(exampleT)
	h := apptest.New(t).Workers("w1", 50)
	user := h.User(domain.TierPro)
	for range 3 {
		h.Connected(user, "line")
	}
	h.Workers("w2", 50)

	_, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-w1", service.DrainOptions{})
	fmt.Println("drain:", err)
	h.Advance(time.Minute)

	w, sessions, err := h.Orchestrator.Workers.Get(t.Context(), "worker-w1")
	fmt.Println(w.Status(), "moved:", w.Drain.Moved, "left:", len(sessions), err)
	w, err = h.Orchestrator.Workers.Activate(t.Context(), "worker-w1")
	fmt.Println(w.Status(), err)
	t.end()
	// Output:
	// drain: <nil>
	// MAINTENANCE moved: 3 left: 0 <nil>
	// ONLINE <nil>
}

// A fleet has several replicas of the control plane. One of them dies, and the others finish
// the failover that it was busy with.
func ExampleHarness_Kill() {
	t := new(exampleT)
	h := apptest.With(t, apptest.Options{Replicas: 3}).Workers("w1", 50, "w2", 50)
	s := h.Connected(h.User(domain.TierPro), "support")

	h.Crash(s.WorkerID)
	h.Advance(5 * time.Second)
	h.Kill(0)
	h.Advance(time.Minute)

	fmt.Println(len(h.Running()), "replicas run, the session is", h.Session(s.ID).Status)
	h.Start(0)
	h.Advance(time.Second)
	fmt.Println(len(h.Running()), "replicas run")
	t.end()
	// Output:
	// 2 replicas run, the session is CONNECTED
	// 3 replicas run
}
