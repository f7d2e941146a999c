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
//	                      ├──Logout, EndSignIn, new password, deactivation──▶ revoked
//	                      ├──new email, by another sign-in──▶ revoked
//	                      ├──50 sign-ins that were used later──▶ revoked
//	                      └──RefreshLife without a refresh──▶ expired
//
// The use of an earlier token revokes the family, because either that token or
// the newest one was stolen. A token carries a code that only its family makes, so
// a text that never was a token revokes nothing. Two refreshes with the same token race:
//
//	caller A                       caller B
//	refreshes with token 1
//	gets token 2
//	                               refreshes with token 1 (used twice)
//	                               family revoked
//	token 2 is refused
//
// The pages of a browser share a token in a cookie, and cannot keep to one refresh at a time: a
// reload cancels a request whose answer would have replaced the cookie. RefreshInBrowser derives each
// token from the one before, by the reuse key of the family. Within ten seconds it can therefore
// answer the former token with the newest one again:
//
//	page                           browser
//	refreshes with token 1         cookie: token 1
//	is reloaded                    drops the answer with token 2
//	refreshes with token 1         cookie: token 2, the same
//
// Later, or for an older token, it revokes the family as Refresh does.
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
// A change of password also ends every family, the caller's own included: a thief may
// hold a copy of any refresh token. The caller signs in again. A change of email ends every
// family but the caller's own, and with them their access tokens: the caller stays signed in.
//
// # Passwords
//
// Passwords are hashed and compared outside of transactions, because hashing is
// slow. The transaction checks that the stored hash is still the compared one.
// Neither passwords nor tokens appear in a log line or an error.
//
// The most common passwords are refused, and the name or email of the account as its
// password.
//
//	wrong passwords        within      lock
//	10 for email, network  15 minutes  that email for that network
//	100 for email          24 hours    that email for unknown networks
//	10 for a signed-in     15 minutes  the actions that need the user's password
//	user
//
// A network is known for 30 days after a sign-in or refresh of the user from there. Thus
// a stranger cannot lock out the owner. A reset empties the budget of 24 hours. The error
// (RATE_LIMIT_EXCEEDED) says in RetryAfter how long to wait.
//
// Strangers may ask for passwords to be compared in any number. The work of a caller who is
// signed in, calls from a known network or holds a mailed token is marked
// with the account (ports.WithKnownCaller). The adapter keeps room for such work, and a share
// of it for each account.
//
// # Resets
//
// Up to ten mailed tokens of an account work at a time, each for 30 minutes. The use of one, a
// new password or a new email ends all of them. A stranger can neither void the token that the
// owner has received nor use up the owner's mails:
//
//	who asks          mails in 15 minutes            ten tokens work already
//	known network     5                              the oldest token ends
//	any other         5 for a network, 30 in all     no mail; the owner has ten
//
// # What callers learn about emails
//
// Login, ForgotPassword and ResetPassword answer the same for every email. Register and
// a change of email say that an email is taken, because no other true answer would help
// the caller. They say so ten times in 15 minutes to a network, and five
// times an hour to a user.
//
// # Mails and the audit trail
//
// Mails notify the owner of a new password, email or API key, and of a deactivation. These
// mails do not wait for mails with resets, which anybody may ask for.
// Every action on an account is in the audit trail, in the transaction of the action.
//
// # Bounds
//
// A user has at most 50 sign-ins, 100 rows of sign-ins, and ten resets.
//
// # Transactions
//
// Every method reads and writes in one transaction. A transaction that met a
// concurrent change of its rows runs again, up to 20 times without a pause: in
// each round at least one of the contenders succeeds.
package accounts
