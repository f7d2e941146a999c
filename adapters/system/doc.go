// Package system provides the clock and the randomness of the machine, and ids
// made of both. The zero values are ready to use. They are safe for concurrent
// use.
package system
