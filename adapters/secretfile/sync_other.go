//go:build !unix

package secretfile

// syncDirectory does nothing, because directories cannot be synced on this system.
func syncDirectory(string) error { return nil }
