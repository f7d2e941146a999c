//go:build !unix

package httpworker

import "net"

// closedByPeer cannot look here; a connection that idles is closed before
// workers close it.
func closedByPeer(net.Conn) bool { return false }
