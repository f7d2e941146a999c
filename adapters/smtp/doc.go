// Package smtp sends mail through a mail server. It implements [ports.Mailer].
//
// Each mail has a connection of its own, which is encrypted unless the
// configuration says otherwise, and a bounded time. Credentials never travel
// in the clear. A mail whose recipient is not exactly one bare address, or that
// has control characters outside of its text, is refused before anything is
// sent, so nobody can smuggle headers or recipients into it.
package smtp
