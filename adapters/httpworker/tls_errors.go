package httpworker

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-wa/switchyard/ports"
)

// errHandshake marks an error of the TLS handshake.
var errHandshake = errors.New("TLS handshake")

// The messages about TLS are shown to administrators.
const (
	msgNoTLS         = "The worker does not speak TLS: begin its endpoint with http://, or give the worker a certificate"
	msgNeedsTLS      = "The worker speaks TLS: begin its endpoint with https://"
	msgMaybeTLS      = msgBroken + "; if it speaks TLS, its endpoint begins with https://"
	msgHandshake     = "The TLS handshake with the worker failed: it may accept other versions of TLS, or demand a certificate"
	msgCertAuthority = "The worker's certificate comes from an authority that this server does not know"
	msgCertExpired   = "The worker's certificate has expired"
	msgCertEarly     = "The worker's certificate is not valid yet; compare the clocks"
	msgCertName      = "The worker's certificate is for another host name than that of the endpoint"
	msgCertInvalid   = "The worker's certificate is not valid for a server"
)

// tlsMessage returns the message for a failure of the TLS handshake, or "" for another
// failure to connect.
func tlsMessage(err error, now time.Time) string {
	if !errors.Is(err, errHandshake) {
		return ""
	}
	var record tls.RecordHeaderError
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &record):
		return msgNoTLS
	case errors.As(err, &authority):
		return msgCertAuthority
	case errors.As(err, &name):
		return msgCertName
	case !errors.As(err, &invalid):
		return msgHandshake
	case invalid.Reason != x509.Expired:
		return msgCertInvalid
	case invalid.Cert != nil && now.Before(invalid.Cert.NotBefore):
		return msgCertEarly
	}
	return msgCertExpired
}

// speaksTLS reports whether a response begins as a TLS alert, with which a server for TLS
// answers plain HTTP.
func speaksTLS(head []byte) bool { return len(head) > 1 && head[0] == 0x15 && head[1] == 0x03 }

// demandsTLS reports whether a web server says that it received plain HTTP on a port
// for TLS. Go and nginx do.
func demandsTLS(resp *fasthttp.Response) bool {
	return resp.StatusCode() == http.StatusBadRequest &&
		(bytes.Contains(resp.Body(), []byte("HTTPS server")) || bytes.Contains(resp.Body(), []byte("HTTPS port")))
}

// withTLSHint adds a hint to the failure of a health call over plain HTTP. A server for
// TLS may end such a connection without an answer.
func (p *peer) withTLSHint(failure *ports.WorkerError) *ports.WorkerError {
	if failure.Failure == ports.WorkerConnectionLost && failure.Message == msgBroken && !p.secure {
		failure.Message = msgMaybeTLS
	}
	return failure
}
