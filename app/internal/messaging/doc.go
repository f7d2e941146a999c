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
// It writes two rows, and one more with an idempotency key. From the first on the caller's
// cancellation no longer counts.
//
// A send is never repeated, unless it cannot have reached the worker. A message that was
// answered 2xx is recorded and was sent once. A message with an unknown outcome was sent
// at most once; a report settles it, or it fails after [domain.Timing].MessageLife. A
// later receipt still settles it. A call to a worker takes at most 30 s, and a send 35 s
// in all.
//
// A 4xx in the error form of the worker protocol, or notSent in an error, proves that the
// worker sent nothing. Any other failure after the request was written leaves the outcome
// unknown: a 5xx, a page of a proxy, a 200 without the id of the message.
//
// # Sent later
//
// A message with a [domain.Schedule] enters the send queue of its session instead (package
// sendqueue), which hands it to [Messages.Forward] when it is time. From the quota on, Forward
// does what a direct send does. A message that the worker certainly did not send waits again,
// unless waiting cannot help or its attempts are used up.
//
// # Idempotency keys
//
//	SendOnce ─► no other send here has the key ─► send ─► PENDING row + key's row, one transaction
//	                │ another: wait for its end     │
//	                └──────────► replay ◄───────────┴─ key is bound, or the send is refused
//
// A key is bound when its message is recorded. A first send with a key therefore costs one
// row and no query: its own insert tells it that the key is bound, and it then refunds its
// quota. A refused send looks the key up too: a repeat is answered although the
// session is down or the limit is reached by now. A key counts for 24 hours.
//
// A repeat is answered by the present state of the message. SENT and later: success.
// FAILED: the error of the first send, which its key's row keeps. PENDING: the error of the
// unknown outcome, or success if a worker has accepted the message. A repeat waits while
// the first send is under way: on this replica for its end ([keyedSends]), on another one
// until the rows tell the end or its time limit is over. A crash between the record and the
// answer leaves neither: the repeat is answered with the unknown outcome.
//
// A repeat of a message that is sent later is answered at once, by its state and without an
// error: the first call was answered before the message was sent.
//
// Actions on messages and typing signals take no key: they record no message to which a key
// could be bound.
//
// # Several messages in one call
//
// [Messages.SendAll] sends in the order of the list, each message after the end of the one
// before: people read them in that order. Several at once would be faster and arrive in any
// order. Each message is a send of its own, with its limit, row, events and result.
//
// A message of a call with a key has a key that follows from it and the index. A repeat
// goes on where the first call ended, whichever replica it comes to. Of two equal calls at
// once each message is sent by one, and the order holds: none sends a message before the one
// before it has ended.
//
// A key that is revoked or rotated, or a user who is deactivated, sends nothing further: each
// message of the call checks its sender anew.
//
// A call begins no message after 30 s, which leaves 25 s until the write timeout of a server
// when the last one takes as long as it may. The HTTP API ends the context of the call when
// the server begins to stop: the present message is finished, and the rest is not sent.
//
// # Replies and mentions
//
// They go to workers with [domain.CapReplies]. For any other worker the send is refused
// before it is recorded: the message would arrive without them. The message that is replied
// to may be older than the history. It is looked up only to translate an id of ours.
//
// # Sends whose session is deleted
//
//	user: send ──► worker sends ──────────► answer: 200, SENT
//	user:      delete: session, history, keys
//
// The deletion does not wait. It would need a lock on the session that all replicas share and
// that a slow worker holds for 35 s. The send is answered as it ended. Its row is gone, so the
// log alone tells of it: message.sent or message.failed follows session.deleted, and usage
// counts the message. A repeat with its key fails with SESSION_NOT_FOUND. A message whose
// outcome was unknown leaves no further trace: no receipt finds its row.
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
// # Received messages
//
// A received message is stored once for each id of WhatsApp's. A vote, a reaction, an edit
// and a deletion are messages of their own, with [domain.Relations].TargetID. The target
// stays as it was: it may be older than the history, and what a customer received is a fact.
//
// # Figures
//
// One send takes about 120 µs of processor time with the store in memory, of which 20 are for
// its event. On SQLite it takes about 240, in which it writes its message twice and its event
// once: 12 KB on disk, with the log and the indexes. Without events and words it took 160 µs and
// 6 KB. The figures are from runs on 2 cores that other processes shared.
package messaging
