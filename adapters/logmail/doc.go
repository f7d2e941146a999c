// Package logmail writes mail to the log instead of sending it. It implements
// [ports.Mailer]. `switchyard serve` uses it if no mail server is configured.
//
// The log contains the whole text, with the link or token that resets a password.
// An operator can pass the link on, or try the service out. Thus everybody who can
// read the log can take over accounts. Where that is not acceptable, use package
// smtp.
package logmail
