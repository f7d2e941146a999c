//go:build unix

package secretfile

import (
	"errors"
	"os"
	"syscall"
)

// syncDirectory makes a rename in the directory durable.
func syncDirectory(path string) error {
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	err = directory.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil // the file system does not support it
	}
	return errors.Join(err, directory.Close())
}
