// Package messaging sends messages, applies status reports, and reads the history.
//
// # A send
//
//	validate ─► target (route) ─► quota ─► PENDING row ─► worker ─► SENT row ─► answer
//	                                │          │            │
//	                                │          │            ├─ says failed: FAILED; pending: stays PENDING
//	                                │          │            ├─ certainly not executed, or circuit open: FAILED, refund
//	                                │          │            └─ outcome unknown: stays PENDING, 504
//	                                │          └─ not stored: refund, error
//	                                └─ exceeded: 429, nothing stored
//
// Validation looks at the media that a message carries, not at its name or declared type
// ([ports.MediaTypes]): WhatsApp does not show what it cannot play. Media by URL is
// fetched by the worker alone and is not checked here.
//
// The transaction that changes the status of a message also records its events
// ([domain.MessageEvents]).
//
// In the steady state a send reads nothing from the store: credentials and quota come
// from package apikeys, the route from [ports.Routes], the worker from the fleet cache.
// It writes two rows. From the first on the caller's cancellation no longer counts.
//
// A send is never repeated, unless it cannot have reached the worker. A message that was
// answered 2xx is recorded and was sent once. A message with an unknown outcome was sent
// at most once; a report settles it, or after an hour it fails ([Messages.Housekeep]). A
// later receipt still settles it. A call to a worker takes at most 30 s, and a send 35 s
// in all.
//
// A 4xx in the error form of the worker protocol, or notSent in an error, proves that the
// worker sent nothing. Any other failure after the request was written leaves the outcome
// unknown: a 5xx, a page of a proxy, a 200 without the id of the message.
//
// # Routes
//
// A route tells where a session runs. It may be older than the row. A route that allows
// the send is used. A route that forbids it is read again from the store first, so a
// stale route costs a query and never refuses wrongly. If a worker certainly did not
// execute a send, and the session is elsewhere by now, the send goes there once.
//
// # Reports that overtake the answer
//
//	worker: sends ──► report DELIVERED ──► answer to the send, with WhatsApp's id
//
// The report names a message id that we learn from the answer. While a send of the
// session is under way here, such a report is held until the answer ([earlyReports]).
// If the send may be under way on another replica, the report waits for up to two
// seconds, which is less than workers wait.
//
// # Figures
//
// One send takes about 95 µs of processor time with the store in memory, of which
// net/http takes three quarters; two durable writes on SQLite add 140 µs.
package messaging
