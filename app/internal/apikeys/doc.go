// Package apikeys checks API keys and counts what a tier still allows.
//
// A send must not read the store. The package caches credentials by the hash of the
// key, and quotas by user, each for one second. A change on this replica clears the
// cache at once ([Keys.Forget]); a change on another replica is invalidated, or shows
// after a second.
//
//	Authenticate: key ─SHA-256─► credential (cache, 1 s) ─► calls counted ─► Sender
//	                                  │ miss
//	                                  └─► one View: key, user
//
// # A read that races with a change
//
//	A: reads the key ───────────────► caches it: refused, the epoch has changed
//	B:       revokes the key, Forget
//
// Forget increments the epoch. What was read in an older epoch is used once and not
// cached.
//
// # Message limits
//
// Messages per hour are counted by the limiter, which may lose its memory: a process
// starts, or Redis restarts. A window that was never seeded is filled from the history
// of the last hour first ([Quota.TakeMessages]). So a restart does not double the
// allowance. API calls are not in the history and start at zero.
//
// # Bounds
//
// A session has at most 3 live keys, the newest and former ones within their grace, and
// at most 10 with those that have ended. Keys are deleted 7 days after their end
// ([Keys.Housekeep]).
//
// # Last use
//
// The time of a key's last use is kept in memory and stored once a minute by
// StoreLastUse. A crash loses at most a minute of it.
package apikeys
