// Package reconcile brings sessions from their recorded state to their intent.
//
// Two things are recorded of a session: the intent, which its user sets, and the
// status, which workers report. domain.NextStep compares them and names the next step.
// This package carries steps out, one after the other, until there is nothing to do
// for now. It is the only place that starts, restarts, moves and stops sessions.
//
//	due session ──► NextStep ──► Place             choose a worker, reserve a slot
//	     ▲             │         Call              start, restart, stop on the worker
//	     │             │         EndDebounce       a disconnect is final
//	     │             │         StopForMove       hand over to package migration
//	     │             │         Failover          leave a worker that is down
//	     │             │         StartTimedOut     leave a worker that does not confirm
//	     │             │         AbandonAssignment leave a worker that confirms no stop
//	     │             └── None: done, due again at DueAt
//	     └── after each step
//
// A crash between any two steps needs no code of its own: the next process asks
// NextStep again. Services run one pass in the request ([Reconciler.Session]). The loop
// runs one whenever a session is due ([Reconciler.DueSessions]).
//
// # Calls
//
// No call is made inside a transaction, and no row is locked across a call:
//
//	claim the row ──► call the worker ──► record the answer, end the claim
//	                      │
//	                      └─ reports of the worker are applied meanwhile, and are newer
//	                         than the answer
//
// A session leaves a worker only when it certainly does not run there: the first start
// was certainly not carried out, the worker says that it is down, a stop was
// confirmed, or the worker is down. A first start does not count if the worker has
// restarted meanwhile: the new process recovers what is assigned to it.
//
// # Many sessions at once
//
// Package workqueue bounds the work. In one process one goroutine works on a session;
// among replicas the claim keeps others from calling its worker. Work on one worker
// goes to one replica ([Reconciler.DueSessions]), which keeps the bound per worker.
// domain.SortByPriority orders the sessions: higher tiers first, then the longest
// waiting.
//
// Sessions that found no room wait. When a slot is freed, one replica makes as many of
// them due as there is room for.
//
// # Cleanups
//
// What is left of former assignments is stopped or wiped by cleanups ([Reconciler.Cleanup]).
// A failed cleanup is retried with back-off, by another replica each time. A wipe for a worker
// that is down may be carried out by another of its state group ([txn.FindExecutor]).
//
// A wipe is confirmed by a success, or by the "not found" of a worker with capabilities. A
// legacy worker answers "not found" for a session that it has not started, and keeps its
// files. It also logs out no session without a connection. Therefore it has to start the
// session before it deletes it:
//
//	DELETE ──2xx──► confirmed
//	   └──404──► start ──► DELETE ──2xx──► confirmed
//
// For a moment the session is connected there, while it has another owner or none. Reports
// without a worker id are not applied meanwhile.
//
// # Refused generations
//
// A worker refuses for good to start a generation that it was told to stop. After a restore of the store
// such generations are ahead of the session's. The answer to a start does not say how far. A start that a
// worker with generations refuses by 409 therefore raises the generation, by a step that grows
// ([domain.Session.GenerationRefused]): 20 generations cost about a minute instead of 20.
//
// # Takeover
//
// When a replica dies, another ends its claims and makes its work due ([Reconciler.TakeOver]).
package reconcile
