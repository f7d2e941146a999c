// Package redis shares routes, limits, events and invalidations between the processes
// that work on one store, through a Redis server, cluster or sentinel group.
//
// Redis is a cache and a means of coordination here, never the truth. A [Coordination] opens while it
// is down, and works on while it is down, slow, flushed, paused or failing over:
//
//   - Every call of Redis is bounded in time. After one that fails none is made,
//     until Redis has answered a probe, which is tried twice a second.
//   - Routes are not found meanwhile, so that callers read the store, but for those
//     that this process has put within the last second. What could not be put or
//     deleted is deleted when Redis is back; if this process ends before, or Redis
//     itself loses a change by failing over, a route may be out of date for a minute.
//   - Limits are counted by each process for itself, and no key is known at first. So
//     where callers backfill from a history, as they do for messages, the bound is what the
//     history lacks: uses of the same moment in other processes. Other limits hold for
//     each process, so that in one window there may be as many times the limit as
//     there are processes. When Redis is back it is told what was counted, or forgets
//     what was backfilled, to be backfilled anew.
//   - Publishing events fails, so that whoever publishes tries again. Invalidations become one
//     with All, which is told when Redis is back.
//
// A window's times are those of the callers, to the millisecond; Redis' clock only
// removes what nobody has to remember any more.
//
// # Round trips
//
// Routes are kept in the process for a second, and changes of others arrive
// through a subscription, so the send path asks Redis about a session once a second.
// Calls of [Limiter.AllowN] that come together share round trips: what comes while
// others are under way goes together with the next.
//
// # What is needed
//
// Redis 6.0 or later, with the right to EVALSHA, EVAL, GET, SET, DEL, PUBLISH,
// SUBSCRIBE and PING. Keys and channels begin with a prefix, channels with the database's
// number after it, since Redis does not keep channels of databases apart.
package redis
