// Package fleet caches workers and assigned sessions in memory.
//
// Placement, sends and heartbeats read the cache and need no query. The cache may
// lag behind the store. A decision that relies on it is checked against the row: a
// reservation fails when the worker is full, a Put fails when the row has changed.
//
//	store ──rows──► Sync ──► Cache ──► placement, send path, heartbeat diff
//	                 ▲         ▲
//	  invalidations ─┘         └─ rows of own commits (AfterCommit)
//
// # Versions
//
// Rows arrive in any order: from this replica's commits, from invalidations, from
// full refreshes. The cache keeps the newest Rev of each row. For rows that left the
// cache it keeps a tombstone with the last Rev, so that older news does not bring
// them back. At most 10,000 tombstones are kept; news overtakes news by moments only.
//
// # Refreshing
//
// Other replicas publish which rows they changed; [Sync.Apply] reads these again.
// Invalidations may be lost. Therefore [Sync] reads all workers every 10 s, since a
// heartbeat without news is not published, and everything every 2 min.
// [Sync.RefreshShared] reads all workers now; concurrent callers share one read.
//
//	RefreshAll         workers and assigned sessions   at the start, every 2 min
//	RefreshWorkers     workers                         every 10 s, RefreshShared
//	RefreshWorkersByID some workers                    invalidations, first refusal
//	RefreshWorker      a worker with its sessions      a worker new to the cache
//
// # Placement
//
// [Cache.Choose] takes the best worker of a domain.Ranking, which holds all workers
// ordered by score. The comment of Ranking has the figures.
// The slot is held until ReleaseHold, so that concurrent choices spread out.
//
// # Canaries
//
// A worker in its canary period is compared with the rest of the fleet. Every replica
// counts unwanted disconnects of all workers by minute as sessions pass through its
// cache ([Cache.CanaryFailures]).
//
// # Signals
//
// CapacityFreed, MigrationEnded and Disconnected are set when a change in the cache
// may unblock work elsewhere. The part that owns the work takes the signal.
//
// The state of a worker has three owners, one file each: cache.go its row and
// sessions, placement.go its holds, canary.go its disconnects. All share one lock,
// the cache's. Observers of the cache run under that lock and must not call back.
package fleet
