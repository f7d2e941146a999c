//go:build !unix

package httpworker

import "net"

// closedByPeer returns false: this system has no check. The client closes an
// idle connection before workers do.
func closedByPeer(net.Conn) bool { return false }
