// Package operations serves administrators who act on sessions of any owner: migrations,
// rebalancing, bulk actions.
//
// Every operation records what should happen and returns. The reconciler carries it out
// within the limits of package migration, on whichever replica is left:
//
//	Migrate    one PENDING migration, which is started at once if the limits admit it
//	Rebalance  a plan (domain.PlanRebalance), one PENDING migration per move
//	Bulk       one recorded intent or migration per session
//
// # Results
//
// Migrate returns the migration as it is when the first attempt to start it has ended.
// Bulk returns one result per session, in the order of the request; a session without an
// error is recorded, and may still be under way. Rebalance returns the moves that it could
// record.
//
// # Targets
//
// A target is refused if it cannot take the session now, or if sessions with open
// migrations to it will fill it. The target is checked again when the migration starts. A
// target that can never take the session then ends the migration, a full one delays it.
//
// # Plans
//
// A rebalance plans on the fleet as it will be when all open migrations have arrived.
// Sessions that changed since the plan are left alone. Below a difference of two percent
// of the capacity there is nothing to do: that is one session of fifty.
//
// At most 1000 sessions take part in one operation, and a bulk action ends after a
// minute; the results say which sessions it reached.
package operations
