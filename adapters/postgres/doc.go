// Package postgres stores everything in a PostgreSQL database. It is the store of a control plane whose replicas run on
// many machines. PostgreSQL has to be version 13 or later and built with ICU.
//
// # Promises
//
//   - A View is one read-only transaction that sees one snapshot.
//   - An Update is atomic. It is acknowledged once PostgreSQL has it on disk, and nobody is told of it earlier.
//   - An Update that certainly was not committed runs again, for half of [Options.Timeout] at most. A restart of the server
//     is hardly noticed. For the same reason the function of an Update may run several times.
//   - If the connection is lost during COMMIT the outcome is unknown. Update then returns [ErrUncertain] and repeats nothing.
//   - [Options.Timeout] bounds every wait. A server that is down, hangs or is cut off makes calls fail with
//     [ErrUnavailable].
//   - A process that stands still within an Update loses its session, and with the session its locks.
//   - Text that PostgreSQL cannot hold (zero bytes, invalid UTF-8) is stored with U+FFFD in its place.
//
// A pooler between the store and the server has to pool sessions, not transactions, and to pass on startup parameters.
//
// # Group commit
//
// Updates that arrive together share a transaction: its round trips, its COMMIT and its wait for the disk. Such a
// transaction is a group. Each Update in it is a participant. A leader is the goroutine that owns the connection of a group.
//
// The functions of a group run at the same time, each in the goroutine of its caller. A function that reaches a statement
// waits. Once every function waits or has returned, the leader sends all statements in one round trip and hands out the
// results. That is a round. Equal puts of different participants are merged into one statement. Once all functions have
// returned, the leader sends COMMIT and publishes the outcome.
//
// The states of an Update:
//
//	     Update
//	       │ first statement
//	       ▼
//	    queued ──── context ends ───────────────────────────────► withdrawn
//	       │ a leader forms a group                                   ▲
//	       ▼                                                          │
//	┌─► pending ─── context ends: the group is aborted ───────────────┤
//	│      │ round trip                                               │
//	│      ▼                                                          │
//	└── running                                                       │
//	       │ function returns                                         │
//	       ▼                                                          │
//	   returned ─── context ends: the group is aborted ───────────────┘
//	       │ outcome of the group
//	       ├── committed       Update returns
//	       ├── unknown         Update returns ErrUncertain
//	       ├── no answer       Update returns ErrUnavailable
//	       └── aborted         Update runs again individually, in a transaction of its own
//
// The states of a group, as its leader sees them:
//
//	forming ─► flush ─► round ─┬─ statements are pending ─► flush
//	                           ├─ all functions returned ─► COMMIT ─► committed or unknown
//	                           └─ a participant failed ───► ROLLBACK ─► aborted
//
// A group is aborted as a whole, because its participants see each other's writes. The causes: PostgreSQL refuses a
// statement, a function fails after it has written, a function takes 250 ms between two round trips or more than 16
// statements, a row lock takes 100 ms, a caller no longer waits. After that the next groups are smaller, until they succeed
// again. An Update that runs individually after a refusal has a savepoint for each write, so that its function is told
// which write was refused.
//
// There are two committers. Updates whose first statement is a write, such as those of messages, need no read and rarely
// conflict: up to two of their groups run at a time. Updates that read first mostly change the same few rows. An advisory
// lock lets one of their groups run at a time, over all replicas. Write-first Updates do not wait for them.
//
// COMMIT is sent without regard to contexts: once it may have been sent, every participant waits for the outcome.
//
// # Why group commit
//
// Problem: a send needs two Updates, and a real worker takes 100 ms or more for a send. So hundreds of small Updates are
// under way at once. With plain transactions each costs two round trips, a transaction of the server and a share of a
// flush of the log.
//
// BenchmarkUpdate compares both in one run, with the two Updates of a send, fsync on, all on one machine of 2 cores. Plain
// transactions have the best of 4 sizes of the pool (32 connections in every run).
//
//	callers    plain       group commit    ratio
//	FIGURES
//
// Alternatives, measured with the same load (Updates per second with 32 and with 256 callers):
//
//	plain transactions                                                    7 600     8 400
//	plain transactions and commit_delay of 0.5 and of 2 ms                9 100     9 100
//	a shared transaction, functions one after the other                  16 300    16 000
//	the same with a savepoint for each write, as adapters/sqlite does    14 800    13 900
//	group commit without merged statements                               25 200    22 800
//	group commit with one leader                                         25 500    24 300
//	group commit                                                         22 300    29 800
//
// Running functions one after the other costs a round trip for every statement, so a network makes it worse. Running them
// at the same time costs a round trip for every round. The second leader and merged statements pay with many callers.
//
// The limit: with few callers the steps of a group come one after the other, so group commit depends on how soon the
// processor is available. While compilers kept both cores busy, group commit came to 0.9 to 1.1 of plain transactions with
// 32 callers, and to 3.6 to 4 with 256.
package postgres
