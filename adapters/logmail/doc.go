// Package logmail writes mail to the log instead of sending it. It implements
// [ports.Mailer], and is what `switchyard serve` uses when no mail server is
// configured.
//
// The whole text is in the log, with the link or token that resets a password:
// that is its purpose, so that an operator can pass it on, or try the service
// out. Who can read the log can therefore take over accounts. Where that is
// not acceptable, use package smtp.
package logmail
