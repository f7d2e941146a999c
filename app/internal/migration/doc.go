// Package migration admits and starts moves of sessions between workers.
//
// Every move is a row: of an operator, a drain, a rebalance, a failover. It is written
// in the transaction that makes the session move, and package txn updates it with every
// later change of the session. So whichever replica continues with the session
// continues with its migration.
//
//	            Admit, Start              stopped, placed, started
//	PENDING ──────────────────► RUNNING ──────────────────────────► COMPLETED
//	   │                           │
//	   │ cancelled, target unfit   │ did not come up elsewhere
//	   ▼                           ▼
//	CANCELLED, FAILED           FAILED
//
// # Admission
//
// At most four migrations leave one worker at a time and 32 run in all: each costs its
// user some seconds offline, and its target a start. Failovers and the removal of a
// worker are not held up, but count. A migration that takes more than five minutes
// holds up no other.
//
// The limits are exact over all replicas. Whoever starts a migration counts the open
// rows, and then increments a setting by compare-and-swap:
//
//	A: reads n=7, counts 31 ─────────────── n: 7→8 ok, starts
//	B:      reads n=7, counts 31 ──────────────────── n: 7→8 fails, counts again: full
//
// # Order
//
// Migrations start in the order in which they were requested, then the sessions of
// draining workers by id. Every two seconds one replica makes as many sessions due as
// may start ([Migrator.Admit]); the reconciler starts them ([Migrator.Start]).
package migration
