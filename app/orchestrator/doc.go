// Package orchestrator runs a fleet of sessions. A program embeds it.
//
//	store, err := backend.Open(ctx, "sqlite:gateway.db")
//	o, err := orchestrator.New(orchestrator.Config{Store: store, Workers: httpworker.New(token)})
//	go o.Run(ctx)
//	_, err = o.Sessions.Connect(ctx, userID, sessionID, service.ConnectOptions{})
//
// An [Orchestrator] offers the services of package ports/service as fields. While
// [Orchestrator.Run] runs, it makes reality follow the recorded state: it starts, moves,
// restarts and stops sessions, finds workers that are down, and publishes events. A
// crash loses none of that: the next process on the same store continues.
//
// # Parts
//
// The package composes the parts below and decides nothing itself. Each part is a
// package of app/internal and imports only parts above it; `make check` proves it.
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
// When ctx ends, Run gives the work under way ten seconds, then cancels its calls, ends
// its claims, and returns. Another replica, or the next process, continues.
//
// The package imports domain, ports, app/internal and the standard library only.
package orchestrator
