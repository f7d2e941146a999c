package server

import (
	"net"
	"os"
	"strings"
)

// warn logs once what is allowed but dangerous in production.
func (s *Server) warn() {
	if s.cfg.SMTP == "" {
		s.cfg.Log.Warn("mail goes to the log", "flag", "--smtp")
	}
	addr, isTCP := s.listener.Addr().(*net.TCPAddr)
	if isTCP && addr.IP.IsUnspecified() && s.cfg.TLSCert == "" && len(s.cfg.TrustedProxies) == 0 {
		s.cfg.Log.Warn("plain HTTP on all addresses", "address", addr.String(), "flags", "--tls-cert,--tls-key or --trusted-proxies")
	}
	path, isFile := strings.CutPrefix(s.cfg.Store, "sqlite:")
	if !isFile {
		return
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		s.cfg.Log.Warn("database open to others", "path", path, "mode", info.Mode().Perm().String(), "fix", "chmod 600")
	}
}
