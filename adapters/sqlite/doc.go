// Package sqlite keeps everything in one SQLite file: the store of a gateway
// that runs on one machine.
//
// Updates are acknowledged when they are on disk. One goroutine runs them all,
// each under a savepoint, and commits as a group what had queued up while the
// group before was written, so that a busy store pays for one fsync per group
// and an idle one makes nobody wait. The function of an Update therefore runs
// in a goroutine of the store, exactly once, and holds up every other Update
// until it returns. Views run beside them, on connections of their own that
// cannot write, each in one read transaction; one that lasts keeps the
// write-ahead log from being reused, so the log grows until it ends.
//
// The file may be opened by several processes of one machine, which then take
// turns, but one orchestrator at a time runs on it: others would not hear of what
// it changes. They must not share it over a network. It uses WAL mode: beside it
// live files with the endings -wal and -shm, which belong to it.
package sqlite
