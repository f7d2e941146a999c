// Package sessions serves the owners of sessions, and the users themselves.
//
// A service changes the recorded intent of a session in one transaction and then runs
// one pass of the reconciler, which usually carries the intent out before the service
// returns:
//
//	Connect:    intent UP + placement ──► Reconciler.Session ──► QR code, or waits for it
//	Disconnect: intent DOWN           ──► Reconciler.Session ──► view
//	Delete:     row deleted, wipe scheduled ──► Reconciler.Cleanup
//
// From the commit on the caller's cancellation no longer counts. If the pass fails, or
// the process dies, the loop continues from the recorded state.
//
// Connect is the exception: if no worker can take the session, the intent is taken back
// and the error says why. Somebody who looks at a QR code page must not be surprised by
// a connection later.
//
// # Sessions that wait for a first scan
//
// A session that was never linked holds a slot while nobody scans its QR code. Connect
// bounds such sessions by domain.UnscannedLimits: per user, per network of the client, and
// by a wait after connects that nobody scanned. The error is a rate limit, because codes
// expire. Clients on this machine are not counted by network: they may be a proxy that is
// not configured. Concurrent connects on several replicas may exceed a limit by one each.
// The wait counts the runs of the session, and those of all sessions of its user: a
// session that is deleted and created again starts with the wait of its user. Runs of one
// user at the same time count as one. A scan resets the count of the user, which stands
// in the user's row.
//
// When room is short, a session whose last code expired a while ago yields its slot to a
// user whose tier ranks above the lowest (reconcile.ReclaimSlot).
//
// # Sessions of a changed user
//
// When a tier shrinks or a user is deactivated, the youngest live sessions go down until
// the rest fit ([Users.ApplyChange]). A crash may come between the change and its
// application; [Users.Housekeep] checks all users in rounds.
//
// # Waiting
//
// Connect with a wait, and nothing else here, blocks on a session: it reads the row after
// every change that this replica makes or hears of, and once a second among replicas.
//
// # Ids
//
// A session id may be used again after its deletion once every worker that was ever given
// the session has confirmed the wipe. Until then Create refuses it, without telling whose it
// was: a new session would find the old credentials. A derived id avoids those that are
// taken. Generations go on where the former session ended.
package sessions
