//go:build unix

package server

import "syscall"

// maxConnections returns three quarters of the files that this process may open, or 0 if
// that is unknown. The rest is for the store and for calls to workers.
func maxConnections() int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return 0
	}
	const most = 1 << 20                             // also where there is no limit
	return int(min(uint64(files.Cur), most) / 4 * 3) //nolint:unconvert // it is an int64 on FreeBSD
}
