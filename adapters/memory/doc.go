// Package memory keeps everything in the memory of one process: the store, the
// routes, the limiter, the bus and the invalidator.
//
// It is for tests, demonstrations, simulations, and for embedding programs
// that start afresh each time. It keeps every clause of the contracts in
// package ports, with one exception that is its nature: what is committed
// outlives a panic, not the process. Every look-up has its index; only the
// searches of lists read row by row.
package memory
