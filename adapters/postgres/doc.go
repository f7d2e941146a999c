// Package postgres keeps everything in a PostgreSQL database, version 13 or
// later and built with ICU: the store of a control plane whose replicas run on
// many machines.
//
// Each View is one read-only transaction that sees one state. Updates that arrive
// together share a transaction, its round trips and its COMMIT, and see what each
// other writes; nobody hears of it before that. If anything goes wrong in such a
// group it is rolled back as a whole, and every member runs again, on its own. So
// the function of an Update may run several times, which is also what follows if
// it lost a race or its connection.
//
// An Update is acknowledged once PostgreSQL has it on disk. What certainly was
// not committed is tried again for a few seconds, so that a restart of the
// server is hardly noticed; if the connection is lost during the COMMIT itself
// the outcome is [ErrUncertain], and nothing is repeated. Every wait is bounded by
// [Options.Timeout], so that a server that has gone, hangs or is cut off makes
// calls fail.
//
// Text that PostgreSQL cannot hold, which are zero bytes and broken UTF-8, is
// kept with U+FFFD in its place. A pooler between the store and the server has
// to pool sessions, not transactions, and to pass on startup parameters.
package postgres
