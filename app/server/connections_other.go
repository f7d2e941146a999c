//go:build !unix

package server

// maxConnections returns 0: files are not limited by a number here.
func maxConnections() int { return 0 }
