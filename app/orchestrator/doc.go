// Package orchestrator runs a fleet of sessions. A program embeds it.
//
//	store, err := backend.Open(ctx, "sqlite:gateway.db")
//	o, err := orchestrator.New(orchestrator.Config{Store: store, Workers: store.Workers(token)})
//	go o.Run(ctx)
//	_, err = o.Sessions.Connect(ctx, userID, sessionID, orchestrator.ConnectOptions{})
//
// An [Orchestrator] offers the services of package ports/service as fields. While
// [Orchestrator.Run] runs, it makes reality follow the recorded state: it starts, moves,
// restarts and stops sessions, finds workers that are down, and publishes events. A
// crash loses none of that: the next process on the same store continues.
//
// # Parts
//
// The package composes the parts below and decides nothing itself. Each part is a
// package of app/internal and imports only parts that stand earlier; `make check` proves it.
//
//	workqueue    bounded background work, keyed by session or worker
//	membership   living replicas, ownership of work, claims
//	fleet        cached workers and assignments, refresh, placement
//	txn          unit of work: rows with their books, events, observers
//	outbox       publishes recorded events
//	apikeys      API keys and quotas, cached
//	failure      failure detector
//	migration    admission and start of moves
//	reconcile    one session towards its intent; cleanups
//	sessions     services of session owners and users
//	messaging    send path, reports on messages, history
//	registry     worker protocol, administration of workers
//	operations   migrations, rebalance, bulk actions
//
// # One pass
//
// Run calls the steps of a pass in this order, and waits for the earliest time that one
// of them returns, for a wake-up, or for five seconds:
//
//	heartbeat → apply invalidations → check workers → evaluate canaries → admit
//	migrations → due sessions → due cleanups → housekeeping → publish events
//
// A pass does not wait for the work that it dispatches.
//
// # Shutdown
//
// When ctx ends, Run waits ten seconds for the work under way, cancels its calls, ends
// its claims, and returns. Another replica, or the next process, continues.
//
// # What is promised
//
// Whatever replicas, workers, the store and Redis do (crash, hang, be cut off, return):
//
//   - A session is assigned to at most one worker, and its generation only grows. One row
//     with compare-and-swap holds this.
//   - A worker with the capabilities lease and generation runs nothing that another worker
//     was given: zero overlap. This assumes that over one lease the clocks of the worker
//     and of replicas run at rates that differ by less than Timing.Drift (1 s in 45 s).
//     The worker counts its lease from when it sent the heartbeat that was accepted.
//     Ownership compares no two wall clocks.
//   - A message that was answered 2xx is recorded and was sent once. A message with an
//     unknown outcome was sent at most once.
//   - The credentials of a session end with it. Its id is free again only when every worker
//     that was ever given the session has confirmed the wipe, and its generation goes on.
//     Workers that share credentials without generations break this: a late wipe may reach
//     credentials of the next owner, who then has to scan again.
//   - A recorded intent is carried out by whichever replica is left.
//   - A refused connection proves that a process is gone. A proxy that refuses for a
//     running worker breaks this.
//
// # What is not promised
//
// Due times and back-offs are wall times, early or late where clocks differ. A worker
// without a lease that is cut off may run a session that has moved, until it is heard of
// again. While Redis is away a limit holds per replica, and of the messages under way when
// Redis loses its memory some may not be counted.
//
// # How it is shown
//
// crash_test.go kills or pauses a process at every store write and worker call, with and
// without a replica beside it. `make chaos` does the same to real processes, PostgreSQL and
// Redis; a checker judges the workers' journals and the recorded assignments. Five runs of
// two minutes with 300 sessions and 36 to 48 faults each showed no overlap, nothing lost
// or sent twice, and everything in order 1 to 10 s after the last fault.
//
// The package imports domain, ports, app/internal and the standard library only.
package orchestrator
