//go:build !unix

package secretfile

// syncDirectory does nothing: directories cannot be opened for it.
func syncDirectory(string) error { return nil }
