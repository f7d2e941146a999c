// Package conformance holds the contracts of package ports as tests: one suite
// per port, to be run by our adapters and by anybody else's.
//
// A suite takes a function that opens the implementation under test and calls
// it anew for each of its subtests, which are named after the clauses of the
// contract. What is opened is the suite's: it need not be empty of other
// people's keys where keys are shared (routes, limits), but a store must be.
//
//	func TestStore(t *testing.T) {
//		conformance.Store(t, func(t *testing.T) ports.Store { return memory.NewStore() })
//	}
//
// Suites whose names begin with Shared take two handles on one thing, as two
// processes have them. Suites ask for what an implementation does, never for
// what it is.
package conformance
