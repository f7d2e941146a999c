// Package accounts is the use cases of people: registering, signing in and
// staying signed in, passwords, profiles, and what administrators do to users.
// [Accounts] implements [ports.AccountUseCases].
//
// A sign-in is a family of refresh tokens of which only the newest is good;
// using an older one ends the family. An access token is good while its
// signature and expiry are, its sign-in stands, its user is active, and the
// user's CredentialsAt is still the one it was issued for. So a change of
// password, role or activity ends every access token of the user at once, and
// a logout those of its sign-in: in this process at once, in others within a
// second. After a change of password the caller's own sign-in stands, and its
// refresh token gives a new access token.
//
// Passwords are hashed and compared outside of transactions, because it takes
// long. Neither passwords nor tokens are ever part of a log line or an error.
//
// An error for too many wrong passwords (RATE_LIMIT_EXCEEDED) has in its chain
// a value with the method RetryAfter() time.Duration, which tells how long to
// wait.
//
// The package imports domain, ports and the standard library only.
package accounts
