// Package conformance holds the contracts of package ports as tests: one suite for each port. Our
// adapters run them, and so can any other implementation.
//
// A suite takes a function that opens the implementation under test. The suite calls it again for each
// subtest. Subtests are named after the clauses of the contract.
//
//	func TestStore(t *testing.T) {
//		conformance.Store(t, func(t *testing.T) ports.Store { return memory.NewStore() })
//	}
//
// The opened implementation belongs to the subtest. A store must be empty. Routes and limits may hold
// keys of other users, because the suites use unique keys.
//
// Suites with the prefix Shared take two handles on one implementation, as two processes hold them. A
// suite asks for features of an implementation and never for its name.
package conformance
