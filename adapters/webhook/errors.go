package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/switchyard-wa/switchyard/ports"
)

// ErrNotAllowed is the error that Config.Dial returns for an address that must not be called.
var ErrNotAllowed = errors.New("the address is not allowed")

// The messages are shown to the owners of webhooks. They contain no address.
const (
	msgNotAllowed    = "The URL leads to an address that this server does not call: it must be public"
	msgRefused       = "Connection refused: nothing listens at the URL"
	msgNameUnknown   = "The host name of the URL was not found"
	msgNoConn        = "Timed out: the receiver did not accept the connection"
	msgTimedOut      = "Timed out: the receiver did not answer in time"
	msgUnreachable   = "The receiver cannot be reached"
	msgBroken        = "The connection ended before the receiver had answered"
	msgInvalid       = "The receiver gave an answer that is no HTTP"
	msgNoTLS         = "The receiver does not speak TLS: begin the URL with http://, or give the receiver a certificate"
	msgCertAuthority = "The receiver's certificate comes from an authority that this server does not know"
	msgCertExpired   = "The receiver's certificate has expired, or is not valid yet"
	msgCertName      = "The receiver's certificate is for another host name than that of the URL"
	msgCertInvalid   = "The receiver's certificate is not valid for a server"
	msgHandshake     = "The TLS handshake with the receiver failed: it may accept other versions of TLS, or demand a certificate"
)

// failure returns why no response arrived. The cause of net/http names the URL, which may hold a secret
// of the customer, so only the innermost error is kept.
func failure(err error) *ports.WebhookError {
	cause := err
	for next := errors.Unwrap(cause); next != nil; next = errors.Unwrap(cause) {
		cause = next
	}
	return &ports.WebhookError{Message: message(err), Err: cause}
}

func message(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	isDial := errors.As(err, &op) && op.Op == "dial"
	switch {
	case errors.Is(err, ErrNotAllowed):
		return msgNotAllowed
	case errors.As(err, &dns) && dns.IsNotFound:
		return msgNameUnknown
	case errors.Is(err, syscall.ECONNREFUSED):
		return msgRefused
	case isTimeout(err) && (isDial || errors.As(err, &dns)):
		return msgNoConn
	case isTimeout(err):
		return msgTimedOut
	}
	if m := tlsMessage(err); m != "" {
		return m
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return msgBroken
	case isDial || errors.As(err, &dns):
		return msgUnreachable
	case strings.Contains(err.Error(), "malformed HTTP"), strings.Contains(err.Error(), "server response headers exceeded"):
		return msgInvalid
	}
	return msgBroken
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// tlsMessage returns the message for a failure of the TLS handshake, or "" for another failure.
func tlsMessage(err error) string {
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return msgNoTLS
	case errors.As(err, &authority):
		return msgCertAuthority
	case errors.As(err, &name):
		return msgCertName
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return msgCertExpired
	case errors.As(err, &invalid):
		return msgCertInvalid
	case errors.As(err, &alert), strings.Contains(err.Error(), "remote error: tls:"):
		return msgHandshake
	}
	return ""
}
