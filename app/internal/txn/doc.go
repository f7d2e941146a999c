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
//	WorkerID                     the new worker is recorded as a holder of credentials
//	WorkerID, without a stop     a cleanup on the old worker, if replicas exist (fence)
//	the phone is unlinked        wipes on other workers that were given the session
//	the phone is linked          older wipes of the home's state group end
//	Intent                       live sessions of the user, within the tier
//	anything, with a migration   the migration's row
//	deletion                     slots, live sessions, migration, cleanups for the wipe
//
// # Cleanups
//
// A cleanup is a row for a worker and a session that the worker was given. It says what the
// worker has to do about the session: nothing yet, a stop, or a wipe. It is carried out when
// the worker can be reached. Two cleanups of a session on one worker merge into the more
// destructive one.
//
//	                   stop scheduled, wipe scheduled
//	assignment ──► nothing ────────► stop ────────► wipe ──confirmed──► wiped ──an hour──► no row
//	                  ▲                │
//	                  └─────done───────┘
//
// # Credentials end with their session
//
// A worker may keep credentials from its first assignment until it has confirmed a wipe.
// Its row lives at least as long, also when the worker or the session is removed:
//
//   - Deletion, logout and the phone's logout turn all rows of a session into wipes.
//   - A session id is free when no row blocks it ([domain.Cleanup.BlocksID]).
//   - A removed worker leaves its endpoint in its rows. The worker that registers with the
//     id or the endpoint, and with the same state group, inherits them ([Tx.AdoptCleanups]).
//     No session is placed on a worker that has to wipe it.
//   - An administrator may state that a disk is gone ([Tx.DiscardDisk]). The rows block no id
//     then, and are wipes in case the worker returns. While the worker's state group has
//     another worker, the other worker inherits the rows and carries out the wipes.
//
// The store keeps the generation of a deleted session, and a new one with its id continues
// there. A late call or report of the former session is stale for ever.
//
// # State groups
//
// Workers of a state group share one disk. Each row names the group that its worker had at the
// assignment. A worker that registers with another group has another disk: it gets rows of its own
// for the new group, and the rows of the former group stay. A row without a group is about its own
// worker's disk. Five rules follow:
//
//   - A wipe counts only if its worker has the row's group when the confirmation is recorded, and
//     has not registered again since the call ([CompleteWipe]).
//   - Any online worker of the group carries out a wipe for one that is down or removed
//     ([FindExecutor]), and its confirmation counts for both. It does not count for a worker that
//     may still run the session, because that worker would write the credentials again. It
//     is wiped itself.
//   - No session starts on a worker of the group while a wipe of the group is pending
//     ([domain.Cleanup.BlocksPlacement]).
//   - The workers of the group in which a session is assigned are not wiped of it: the disk is in
//     use, and the command of the assigned worker wipes it ([Tx.ScheduleWipes]).
//   - A login by a later generation overwrites the credentials. It ends the older wipes of the
//     group. Workers of other groups, or of none, have to wipe nevertheless.
//
// A process that listens at the endpoint of a worker, and has not registered yet, may use another disk.
// A worker with a token of its own does not know the call token of its former process. It refuses a
// wipe meant for that process, and the wipe stays due. Answers of other workers name neither a process
// nor a disk. Such a process can confirm the wipe in the moment before it registers. Registration
// makes no confirmed wipe due again.
//
// # Foreign sessions
//
// A session that a worker runs and that this store never gave to it is foreign there: another
// control plane may need its credentials. It has a row too ([Tx.RecordForeign],
// [Tx.RecordForeignUnlessGiven]). The row blocks its id, keeps the session off the worker, and never
// becomes a wipe. An administrator ends it.
//
// A row therefore outlives the confirmed wipe by an hour. Without the row, a heartbeat that the
// worker sent before the wipe would make the session foreign:
//
//	worker:  heartbeat with s1 ─────────────────────► arrives
//	server:             wipe of s1 ──► confirmed
package txn
