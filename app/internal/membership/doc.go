// Package membership knows which replicas are alive and which work is whose.
//
// # Heartbeats
//
// Replicas share one store. Each writes a row every two seconds ([Members.Heartbeat]).
// A replica whose row has not changed for eight seconds is dead. The observer's own
// clock measures that time, and no two clocks are compared.
//
//	        row changes                 8 s without a change
//	unknown ───────────► alive ────────────────────────────► dead: Hooks.ReplicaDied
//	                       ▲                                   │
//	                       └─────────── row changes ───────────┘
//
// A replica that could not look for four seconds was away itself: it was paused, or
// the store did not answer. It then counts everybody's time anew (Hooks.Resumed),
// since heartbeats may be on their way.
//
// # Ownership of work
//
// Nothing is elected. Rendezvous hashing over the living replicas names the owner of
// each piece of work ([Members.OwnsWork]). Two seconds after its due time anyone may
// do the work ([Members.ShouldRun]): two replicas may briefly disagree on who lives.
// Ownership is therefore an optimisation, never a guarantee.
//
// # Claims
//
// What must not happen twice at a time is claimed in its own row. A replica claims a
// session before it calls its worker ([Members.AcquireClaim]). The claim ends with
// the answer, with the death of the replica, or after 40 s, which is longer than any
// call. A replica that returns from a pause finds its claims gone, and drops what it
// learns from calls that it began before.
//
// The row holds the end of the claim by the clock of its owner. [Members.ToLocalClock]
// translates it: the age of the owner's latest heartbeat is known by both clocks.
//
// # Without replicas
//
// If the store is not shared there are no heartbeats, this replica owns all work, and
// claims are empty.
package membership
