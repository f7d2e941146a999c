// Package filelock locks a path for one holder at a time, among goroutines and among processes of one machine.
//
// A holder has a lock file open and locked (flock). The operating system releases the lock when the process ends, however it
// ends. Containers that mount the same directory share the lock. On a network file system nothing is promised.
//
// # A lock file that is removed
//
// The lock belongs to the file, not to its name. Whoever removes or renames the file lets the next holder lock a new file under
// the same name. A holder therefore asks [Lock.IsInPlace] from time to time. Acquire and TryAcquire themselves return a lock
// only if the path names the locked file:
//
//	A: open, lock                A: remove the file, release
//	B: open ─────── wait ─────────────────────────────────▶ lock, but the path names no file: begin again
package filelock
