// Package apptest runs a whole fleet inside a test: the real orchestrator on the store in
// memory, simulated workers without sockets, and a clock that moves only when the test moves
// it. A test waits for nothing: a day of a fleet takes milliseconds.
//
//	h := apptest.New(t).Workers("w1", 50, "w2", 50)
//	user := h.User(domain.TierPro)
//	s := h.Connected(user, "support")
//	h.Crash(s.WorkerID)
//	h.Advance(time.Minute)
//	require.Equal(t, domain.Connected, h.Session(s.ID).Status)
//
// # What a test can do
//
//	fleet      Workers, User, CreateSession, Connected, Send
//	time       Now, Advance, Skip
//	workers    Crash, RestartWorker, Hang, ResumeWorker, CutOff, Reconnect
//	replicas   Start, Kill, Pause, Resume, Restart, Skew, PinWorkers, UnpinWorkers,
//	           DropInvalidations, DeliverInvalidations
//	look       Session, Owners, Events, Repeats, and the services of Orchestrator
//
// # What it promises
//
// A session never runs on two workers at once: the harness watches every worker and fails the
// test at its end otherwise. The same test with the same [Options] does the same in every run.
// Ids, randomness and time come from the harness.
//
// # Time
//
// Advance ticks workers and replicas at the moments at which they have work. Background work
// runs in place, inside Advance. A service call that waits returns at once without the result
// of the wait, because time passes between calls only. Sleeping is not possible.
//
// Advance takes about 10 s of a processor for a month, because replicas look for work every 5 s.
// Skip takes no time: it moves the clock as if every process had been suspended meanwhile.
//
// # Concurrency
//
// One goroutine uses a Harness. Any goroutine calls the services of its Orchestrator.
//
// # Replicas
//
// With Options.Replicas above 1, the replicas share the store, routes, limits and
// invalidations, as processes with PostgreSQL and Redis do. Workers call them in turn.
//
// The package and the packages that it imports need no cgo.
package apptest
