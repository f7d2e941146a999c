// Package orchestrator runs a fleet of sessions: it is what a program embeds.
//
// An [Orchestrator] offers the use cases of users, workers and administrators
// and, while [Orchestrator.Run] runs, makes reality follow what is recorded:
// it starts, moves, restarts and stops sessions, probes workers, and publishes
// events. All of it acts on recorded state, so whatever a crash interrupts is
// finished by the next process that runs on the same store.
//
// The package imports domain, ports and the standard library only.
package orchestrator
