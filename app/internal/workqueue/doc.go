// Package workqueue runs background work that is keyed by session or worker.
//
//	due rows ──Dispatch──► running (one per key) ──done──► Wake
//	                │
//	                ├─ key is running, or paused after an error  ─► refused
//	                ├─ eight tasks run for the worker already    ─► refused: backlog
//	                └─ the pool is full                          ─► refused
//
// The queue holds no list of keys to do. Recorded state in the store is the list: a
// task that is refused stays due, and the next pass offers it again. So a crash
// loses nothing, and the queue needs no persistence.
//
// # Bounds
//
// A worker that hangs must not delay sessions of other workers. A task names the
// worker that it calls, and at most eight tasks run for one worker. Two pools bound
// the rest: sessions with cleanups, and probes. Probes have a pool of their own,
// since they must run while every session task waits for a hanging worker.
//
// # Backlog
//
// A pass over the store every few milliseconds would be wasteful, and a worker with
// many due sessions would idle between two passes. Therefore a pass leaves the
// refused sessions of busy workers as a backlog ([Queue.SetBacklog]). Whoever
// finishes a task of that worker takes the next key ([Queue.NextInBacklog]).
//
// # Helpers
//
// [KeyedMutex] serialises the work of this process on one session. [Calls] cancels
// the calls to a worker that is marked down. [Notifier] wakes waiters of a key.
//
// All types are safe for concurrent use, and their state is private to their files.
package workqueue
