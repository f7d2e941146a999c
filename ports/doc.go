// Package ports holds the interfaces through which the core reaches the world.
//
// Every interface is small, takes a context first, and speaks in domain
// values. The contract of each is in its documentation, and an exported suite
// in package conformance checks an implementation against it. Implementations
// are safe for concurrent use unless their documentation says otherwise.
//
// Errors that a use case must tell apart are the sentinel values of this
// package; anything else counts as a failure of the adapter. An adapter
// translates its driver's errors at its own edge, by typed code.
package ports
