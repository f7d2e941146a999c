// Package postgres stores everything in a PostgreSQL database. It is the store of a control plane whose replicas run on
// many machines. PostgreSQL has to be version 13 or later and built with ICU.
//
// # Promises
//
//   - A View is one read-only transaction that sees one snapshot.
//   - A View of [ports.ForLongRead] has one of a few places, an eighth of the connections. PostgreSQL cancels its statements when
//     its context ends.
//   - An Update is atomic. It is acknowledged once PostgreSQL has it on disk, and nobody is told of it earlier.
//   - An Update that certainly was not committed runs again, for half of [Options.Timeout] at most. A restart of the server
//     is hardly noticed. For the same reason the function of an Update may run several times.
//   - If the connection is lost during COMMIT the outcome is unknown. Update then returns [ErrUncertain] and repeats nothing.
//   - [Options.Timeout] bounds every wait. A server that is down, hangs or is cut off makes calls fail with
//     [ErrUnavailable].
//   - A process that stands still within an Update loses its session, and with the session its locks.
//   - A server that is read-only (a standby, or default_transaction_read_only) serves Views. Updates fail with a
//     [ports.UnavailableError] that tells why, after the time that a failover may take. [Store.CheckHealth] tells it at once.
//   - Text that PostgreSQL cannot hold (zero bytes, invalid UTF-8) is stored with U+FFFD in its place.
//
// Package sqlstore states the bound of every table.
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
// There are two committers. Updates whose first statement is a write, such as those of messages, rarely conflict: up to
// two of their groups run at a time. Updates that read first mostly change the same few rows. An advisory lock lets one of
// their groups run at a time, over all replicas. Write-first Updates do not wait for them.
//
// Once COMMIT may have been sent, every participant waits for the outcome, even if its context ends.
//
// # Why group commit
//
// Problem: a send needs two Updates, and a real worker takes 100 ms or more for a send. So hundreds of small Updates are
// under way at once. As plain transactions each of them costs two round trips, a transaction of the server and a wait for
// the disk. The rule: below 1.3 times plain transactions with 32 and with 256 callers, group commit goes.
//
// BenchmarkUpdate measures both in alternation, with the two Updates of a send, fsync on, all on 2 cores. Plain
// transactions have the best of pools of 8, 16, 32 and 64 connections. Updates per second, in seven runs on a machine that
// others used too, each the median of 7 rounds:
//
//	callers    plain             group commit          ratio          median    machine idle
//	32         3 700 to 8 000     2 200 to 20 200      0.6 to 2.9     1.6       2.8
//	256        3 800 to 7 800    11 800 to 45 700      3.1 to 6.0     4.0       4.7
//
// The whole send path of app/server on PostgreSQL and Redis, as a part of the bare proxy's rate, in two runs: with 256
// connections 0.49 and 0.68 with group commit against 0.23 and 0.26 with plain transactions; with 32 connections 0.20 and
// 0.23 against 0.16 and 0.29.
//
// Alternatives, in one run of their own with the same load (Updates per second, medians of 5 rounds):
//
//	                                                           32 callers    256 callers
//	plain transactions                                              7 600          8 400
//	a shared transaction, functions one after the other            16 300         16 000
//	the same, a savepoint for each write (as adapters/sqlite)      14 800         13 900
//	group commit without merged statements                         25 200         22 800
//	group commit with one leader                                   25 500         24 300
//	group commit                                                   22 300         29 800
//
// One function after the other costs a round trip for every statement; a real network makes that worse. Functions at the
// same time cost a round trip for every round. The second leader and merged statements pay with many callers. PostgreSQL's
// own commit_delay (0.5 or 2 ms) makes plain transactions 0.96 to 1.3 times as fast, and only a superuser can set it.
//
// Limit: the steps of a group come one after the other, so group commit depends on how soon it gets a processor. The low
// figures are from runs in which compilers kept both cores busy: plain transactions are then better with 32 callers.
package postgres
