// Package memory implements the store, the routes, the limiter, and the invalidator within one process.
//
// It is for tests, demonstrations and simulations, and for embedding programs that start without data each time. It keeps
// every clause of the contracts in package ports, with one exception: committed data survives a panic, but not the process.
//
// The [Store] holds rows in maps, with an index for every lookup; only searches of lists scan rows. One Update runs at a
// time, beside no View. It changes rows in place and keeps an undo log, so its cost depends on the rows that it changes.
//
// Every kind of row has the bound that package sqlstore states for its table. Besides the rows:
//
//	Limiter   a key for each user, address and other subject; a new key displaces expired ones
//	Routes    a route for each session; deleted with the session
//
// Times are stored as in the SQL stores: in UTC, truncated to the microsecond.
package memory
