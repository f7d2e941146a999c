//go:build !unix

package secretfile

import "os"

// lock does nothing: there is no flock.
func lock(*os.File) error { return nil }

// syncDirectory does nothing: directories cannot be opened for it.
func syncDirectory(string) error { return nil }
