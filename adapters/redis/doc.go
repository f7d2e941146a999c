// Package redis shares routes, limits and invalidations between the processes that work on one store. It works
// with a Redis server, a cluster or a sentinel group.
//
// Redis is a cache and a means of coordination, never the source of truth. A [Coordination] opens and works while Redis is
// down, slow, flushed, paused or failing over:
//
//	available ──── a call fails or times out ───▶ unavailable ──┐
//	    ▲                                              │  ▲      │ a probe fails
//	    └── a probe succeeds, stale routes are deleted ┘  └──────┘
//
// # While Redis is unavailable
//
//   - Each call of Redis is bounded by [Options.CallLimit]. After the first failure a circuit breaker stops further calls.
//     A probe closes it; the coordination probes twice a second.
//   - Routes are not found, so callers read the store. Only the routes that this process has put within the last second
//     are found. The coordination remembers the changes that Redis missed and deletes those routes when Redis is back. If
//     this process ends before, or a failover loses a change, a stale route lives for at most a minute.
//   - Each process counts limits for itself and at first knows no key. For limits that callers backfill from a history, as
//     they do for messages, only uses that the history lacks can exceed the limit: concurrent uses of other processes. Any
//     other limit holds per process. When Redis is back, the coordination adds the local counts to it, and deletes
//     backfilled keys so that they are backfilled again.
//   - Invalidations become one invalidation with All, which is
//     published when Redis is back.
//
// # Bounds
//
// Every key expires: a route after a minute without a put, a window of a limit after twice its length. Nothing else is stored.
// In the process, the cache of routes forgets an entry after a second.
//
// # Times
//
// The times of a window are those of the callers, to the millisecond. The clock of Redis only expires keys.
//
// # Decisions
//
// A process caches each route for a second, and a subscription delivers the changes of other processes. The send path
// therefore asks Redis about a session once a second. The alternative, one GET for each send, would add a round trip to
// every message.
//
// Concurrent calls of [Limiter.AllowN] share round trips: calls that arrive while a batch is on its way form the next
// batch. The benchmark BenchmarkAllowN compares this with one script call for each AllowN. With Redis and no durable
// store, the whole send path reached 0.66 to 0.72 of the rate of a bare proxy.
//
// # Requirements
//
// Redis 6.0 or later, with the right to run EVALSHA, EVAL, GET, SET, DEL, PUBLISH, SUBSCRIBE and PING. Keys and channels
// begin with a prefix. Channels end with the number of the database, because Redis does not separate the channels of its
// databases.
package redis
