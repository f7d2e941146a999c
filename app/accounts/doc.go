// Package accounts implements the services of people: registration, sign-in,
// passwords, profiles, and the administration of users. [Accounts] implements
// service.Accounts.
//
// # Refresh tokens
//
// A sign-in is a family of refresh tokens. Only its newest token is usable:
//
//	Register, Login ──▶ usable ──Refresh (newest token)──▶ usable, another token
//	                      │
//	                      ├──Refresh (earlier token)──▶ revoked
//	                      ├──Logout, new password, deactivation──▶ revoked
//	                      └──RefreshLife without a refresh──▶ expired
//
// The use of an earlier token revokes the family, because either that token or
// the newest one was stolen. Two refreshes with the same token race:
//
//	caller A                       caller B
//	refreshes with token 1
//	gets token 2
//	                               refreshes with token 1 (used twice)
//	                               family revoked
//	token 2 is refused
//
// # Access tokens
//
// An access token is accepted while all of these hold:
//
//   - Its signature and expiry are valid.
//   - Its family is not revoked.
//   - Its user is active.
//   - The user's CredentialsAt equals the value in the token.
//
// A change of password, role or activity moves CredentialsAt. Thus it ends every
// access token of the user at once. A logout ends the access tokens of one
// family. "At once" means at once in this process. Other processes cache the
// auth state for one second, and an invalidation shortens that second.
//
// After a change of password the caller's own family stays usable. Its refresh
// token returns a new access token.
//
// # Passwords
//
// Passwords are hashed and compared outside of transactions, because hashing is
// slow. The transaction checks that the stored hash is still the compared one.
// Neither passwords nor tokens appear in a log line or an error.
//
// Ten wrong passwords within 15 minutes lock the key that they count under. The
// error (RATE_LIMIT_EXCEEDED) has a cause with the method
// RetryAfter() time.Duration.
//
// # Transactions
//
// Every method reads and writes in one transaction. A transaction that met a
// concurrent change of its rows runs again, up to 20 times without a pause: in
// each round at least one of the contenders succeeds.
package accounts
