// Package sqlite stores everything in one SQLite file. It is the store of a control plane that runs on one machine.
//
// # Promises
//
//   - An Update is acknowledged once it is on disk (synchronous=FULL). An acknowledged write survives a kill and a power cut.
//   - The function of an Update runs exactly once, in a goroutine of the store. It delays all other Updates until it returns.
//   - A View is one read transaction. Views run beside Updates, on connections that cannot write.
//   - An Update whose context ends before it runs never runs.
//   - Only the owner can read and write the files that Open creates.
//
// A file of another program is refused with [ErrForeign] before anything is written. Such a file has tables, and no table
// schema_migrations with our columns. A file without tables becomes ours.
//
// Several processes of one machine may open the file, and take turns to write. The file must not be on a network file system.
// It uses WAL mode: two files with the endings -wal and -shm belong to it while it is open.
//
// # One orchestrator
//
// One orchestrator at a time runs on the file, because another one would not learn of its changes. [Options.Exclusive] locks a
// file beside the database, with the ending .lock. The operating system releases the lock when its process ends, even by
// kill -9. The lock file contains the pid and the address of its holder, and stays behind.
//
// The lock belongs to the file, not to its name. A lock file that is removed or renamed would let a second orchestrator in. Each
// View and each group of Updates therefore looks at the name (about 2 µs), and locks a new file in place of a missing one. If
// another process had the lock meanwhile, even for a moment, the store fails with [ports.UnavailableError] until it is opened
// again: the caches of its orchestrator are out of date. An Update whose commit was under way is acknowledged, because it stays
// in the file.
//
//   - Every path that leads to the database through symbolic links has the same lock.
//   - A database with a second name (a hard link) is refused. SQLite keeps a log for each name, and two logs destroy the file.
//   - The lock also works between stores of one process, and between containers that mount the same directory.
//   - On a network file system nothing is promised, about the lock and about the database.
//
// # Data that are gone
//
// The path may come to name no file or another file, while SQLite still writes to the open one. What it writes would end with
// the process. Each View and each group of Updates therefore looks at the path first (about 2 µs), and an Update looks again
// after its COMMIT, also at the log. They fail with [ports.UnavailableError] until the path names the open file again. The same
// error tells of a full disk, a read-only file system and a damaged file. [Store.CheckHealth] writes a row of its own.
//
// Package sqlstore states the bound of every table. A deleted row leaves room in the file for others; the file never shrinks.
//
// The write-ahead log is copied into the file from 64 MB on, beside the writer. From 256 MB on the writer copies it, and Updates
// wait meanwhile. The log therefore stays below 330 MB and one group of Updates. A long View keeps the log from being copied. The
// log grows until the View ends.
//
// # Connections
//
//	View   ──▶ one of 4 read connections (query_only), or for a View of ports.ForLongRead one of 1 to 4 others
//	Update ──▶ queue ──▶ writer: one goroutine, one connection
//	           checkpointer: one goroutine, one connection; copies the log into the database
//
// # Group commit
//
// The writer runs the Updates of a group one after the other, each in its own savepoint, and commits them together. It answers
// the callers after the COMMIT. While the disk writes, further Updates queue up; they are the next group.
//
//	   the queue is not empty
//	             │ BEGIN IMMEDIATE
//	             ▼
//	┌──▶ run the next Update:
//	│      SAVEPOINT before its first write
//	│      fn returns nil      RELEASE
//	│      fn fails, panics    ROLLBACK TO, RELEASE
//	│            │
//	└────────────┤ another Update waits, the group has fewer than 256 and is younger than 10 ms
//	             │ otherwise
//	             ▼
//	     COMMIT, one fsync ──▶ each caller receives its own error, or else the error of the COMMIT
//
// An Update in the queue has one of three states, which change by compare-and-swap:
//
//	waiting ──▶ started ──▶ completed
//	   └──────▶ withdrawn (its context ended first)
//
// What follows for callers:
//
//   - An error or panic of one function undoes the writes of that function only.
//   - A failed COMMIT, or an error with which SQLite ends the transaction (a full disk), fails the whole group.
//   - No caller learns its outcome before the COMMIT. Even an error may depend on a write that is rolled back later.
//   - An idle store commits each Update at once: a group never waits for further Updates.
//
// # Decision: commit in groups
//
// Problem: a COMMIT waits for the disk, so single commits bound the rate of all callers together.
//
// Alternatives: a commit for each Update; a timer that collects Updates; groups that form while the disk is busy. A timer
// delays every Update of an idle store. The third alternative delays none and has no parameter that depends on the disk.
//
// Figures: BenchmarkGroupCommit runs the two Updates of a send, with group commit and with single commits, in alternating
// rounds. Updates per second, in four runs on 2 cores that other processes shared, each the median of 7 rounds:
//
//	callers   single commits     group commit           ratio
//	      1     540 to   950       600 to    900     0.7 to 1.1: noise, both do the same
//	     32     490 to   950    11 300 to 16 100      12 to 25
//	    256     720 to 1 150    20 800 to 28 900      17 to 33
//
// One goroutine runs all Updates, instead of one goroutine for each caller that shares a transaction. SQLite has one writer
// anyhow, and its statements take microseconds, so nothing is gained by running functions concurrently.
//
// The connections use the driver directly. The pool of database/sql takes longer than most statements do.
package sqlite
