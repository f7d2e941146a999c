// Package ports declares the driven ports: the interfaces through which the core reaches the world.
//
// An adapter implements a port, and the core receives it in its configuration. The package imports
// nothing of ours but domain. The driving ports, which inbound adapters call, are in package service.
//
//	  inbound adapters, embedding programs
//	                 |
//	           ports/service          driving ports
//	                 |
//	  core (app) --- domain           decisions
//	                 |
//	               ports              driven ports
//	                 |
//	  +--------------+---------------+----------------+
//	stores      coordination       workers          people
//	memory      memory, redis      httpworker       smtp, logmail
//	sqlite                         simworker
//	postgres
//
// # The ports
//
//	Store          the durable truth, as transactions over small repositories
//	HealthChecker  optional, for a Store that can tell whether it serves, and why not
//	WorkerGateway  the calls to workers
//	Routes         the cached location of each session, for the send path
//	Limiter        use counts of users and API keys within windows
//	Invalidator    messages to other replicas about changed rows
//	Backend        a Store together with the other ports of its data source
//	MediaTypes     the knowledge of types of media by their content
//	URLPolicy      the judgement which URLs of users may be fetched
//	Mailer         mail to people
//	Passwords      slow password hashes
//	Tokens         signed access tokens
//	Clock, IDs, Random
//	               time, identifiers and randomness, so a test can replay a fleet from a seed
//
// # Contract of every port
//
// A method that performs I/O takes a context first. An expired or cancelled context ends the method with
// the context's error.
//
// Implementations are safe for concurrent use unless their documentation says otherwise. Values are
// copied in and out: caller and implementation share no memory.
//
// The core distinguishes errors by the sentinel values of this package, by [WorkerError], by
// [UnavailableError] and by *domain.Error. Errors may arrive wrapped. Any other error is a failure of
// the adapter. An adapter translates its driver's errors at its own edge, by typed codes and never by
// their text.
//
// Every port has a suite in package conformance. An implementation that passes the suite fits.
//
// # Truth and caches
//
// Only the store must be right. Routes and invalidations may be old, repeated or lost:
//
//	port         after a loss
//	Routes       the core reads the session from the store
//	Invalidator  the core reads cached rows again on a timer, and after a refused write
//	Limiter      the core backfills counts of messages from the history
//
// A wrong placement or send that follows from an old cache is refused by the row: by its Rev, by a
// conditional reservation, or by the generation.
//
// # Transactions
//
// Update and View run a function with a [Tx]. The path of one change:
//
//	Update: read rows -> domain decides -> Put rows, Append events -> commit
//	                                                                    |
//	                     call workers, publish events  <----------------+
//	                              |
//	Update: record the outcome <--+
//
// No call to a worker happens inside a transaction. A crash after the commit loses nothing: the
// next process finds the due work in recorded state.
//
// Invariants depend on a row's Rev or on a conditional update, never on an isolation level. The same
// code therefore runs on a store that serializes transactions and on a store that interleaves them.
package ports
