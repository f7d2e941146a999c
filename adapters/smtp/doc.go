// Package smtp sends mail through a mail server. It implements [ports.Mailer].
//
// Each mail uses a connection of its own and has a time limit. The connection is
// encrypted unless the configuration says otherwise. Credentials are never sent in
// the clear.
//
// Send refuses a mail whose recipient is not exactly one bare address, and a mail
// with control characters outside of its text. This happens before anything is
// sent. Thus nobody can inject headers or recipients.
package smtp
