// Package system gives the core the machine it runs on: its clock, its
// randomness, and identifiers made of both. The zero values are ready to use,
// by any number of goroutines.
package system
