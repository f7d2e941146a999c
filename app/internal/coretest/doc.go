// Package coretest is the kit with which the parts of the core are tested.
//
// A [Core] holds what every part builds on: a store in memory, a clock that stands
// still, fake workers, the cache, and a writer whose commits reach the cache. A test
// adds the part under test and the parts that it imports, and nothing else:
//
//	core := coretest.New(t)
//	core.AddWorker("w1", 50)
//	session := core.AddConnected(core.AddUser(domain.TierPro), "s1", "w1")
//	detector := failure.New(core.Writer, core.Members, core.Cache, core.Sync, core.Queue)
//
// # Given
//
// The Add methods write rows through the writer, which keeps their books. Time passes
// by [Clock.Advance] alone, and [Core] never waits: its Sleep advances the clock, and
// its Spawn runs the function in place.
//
// # Replicas
//
// [New] returns a core that is alone on its store. [NewReplica] returns a replica, and
// [Core.Join] another on the same store. Every replica has a clock of its own, which
// may be ahead; [Core.Exchange] makes replicas hear of each other.
//
// # Faults
//
// [Store] counts transactions, fails them, and calls back before a transaction. So a
// test proves what a hot path costs, and puts another writer into the gap between a
// read and a write. [Workers] answers calls as the test says, and records them.
//
// Only tests import the package. The harness of a whole orchestrator is app/apptest.
package coretest
