// Package sqlstore is the one SQL body that the stores in SQL databases share:
// every statement, the schema with its migrations, and all repositories of
// [ports.Tx]. An adapter adds what is its own: connections, transactions and
// the translation of its driver's errors.
//
// The statements that do not depend on a filter are built once for each
// [Dialect] and numbered, so that an adapter can keep them prepared; only
// lists are put together when they are asked for. Invariants hang on the Rev
// of a row or on a conditional update, never on an isolation level. No UPDATE
// or DELETE can be built without a condition.
//
// Times are microseconds since 1970; the zero time is NULL, except in columns
// that lists are ordered by, where it is kept as the number that it is. Hashes
// are bytes; labels, capabilities and breakdowns are JSON.
package sqlstore
