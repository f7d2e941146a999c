//go:build unix

package sqlite

import (
	"os"
	"syscall"
)

// countNames returns the number of names (hard links) of a file.
func countNames(path string) (uint64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	stat, known := info.Sys().(*syscall.Stat_t)
	if !known {
		return 1, nil
	}
	return uint64(stat.Nlink), nil //nolint:unconvert // its type differs between systems
}
