// Package txn is the unit of work in which sessions and workers change.
//
// Every change of a session drags others with it: the slot of its worker, the number
// of live sessions of its user, the progress of its migration, the events of the
// outbox. [Tx.SaveSession] changes all of them in the same transaction. No part of
// the core puts a session into the store in another way. A worker has one exception: a
// heartbeat without news renews its row alone, and no observer learns of it.
//
//	Writer.Transact(fn)
//	   ├─ Store.Update: fn(tx)            rows and events, retried after a conflict
//	   └─ observers, after the commit     cache, routes, invalidations, outbox, queue
//
// # What it promises
//
//   - fn and its Changes run again after a conflict. Nothing of a failed attempt reaches
//     an observer.
//   - Observers see a change after it is durable, exactly once, in the order in which
//     they were registered. They run although the caller has gone.
//   - A crash between commit and observers loses what observers do. They only update
//     caches and wake loops; recorded state and the outbox find the rest.
//
// # Books
//
//	row of a session changes     also changes
//	WorkerID                     slots: Release of the old, Reserve of the new worker
//	WorkerID, without a stop     a cleanup on the old worker, if replicas exist (fence)
//	Intent                       live sessions of the user, within the tier
//	anything, with a migration   the migration's row
//	deletion                     slots, live sessions, migration, cleanups for the wipe
//
// # Cleanups
//
// A cleanup is a stop or a wipe on a worker that the session has left. It is a row,
// carried out when the worker can be reached. Two cleanups of a session on one worker
// merge into the more destructive one.
package txn
