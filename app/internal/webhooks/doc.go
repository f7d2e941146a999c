// Package webhooks delivers the recorded events of sessions to the URLs of their owners.
//
//	outbox ──Project──► deliveries ──Dispatch──► one run for each webhook ──► WebhookSender
//	 (event log)         (PENDING)                  │      ▲
//	                                                ▼      │ next event, or the same one later
//	                                     DELIVERED or DEAD, recorded in one transaction
//
// # What it promises
//
//   - Every event that a webhook wants has one delivery. The delivery is written in the same transaction
//     as the position up to which the log was read, so neither a crash nor a second reader loses or
//     doubles it.
//   - At least once: an attempt whose outcome was not recorded, because the process died, is repeated with
//     the same webhook-id.
//   - In order: a delivery is tried when all deliveries of earlier events of its webhook have ended. A
//     delivery that waits for its next attempt therefore holds up the later ones, for up to 1 h 20 min.
//   - Webhooks are independent. Each has at most one attempt under way. One that hangs delays itself alone.
//     Many that hang delay one another: those whose latest attempt failed share half of the attempts at
//     once, and the other half is for the rest.
//   - Bounded: as many attempts at once as Parts.Parallel says, and in each half 8 of them for one user. A
//     body exists during its attempt only: it is rendered from the event's row in the log.
//   - Secrets are sealed, and bound to the id of their webhook. A secret is shown by the call that sets it
//     and never again.
//
// # What a webhook gets
//
// A webhook gets the events that are recorded after it was made ([domain.Webhook.Since]). Events that are
// read while it is switched off have no delivery; the owner can read them from the log. Deliveries that were
// pending when it was switched off stay, and go on when it is switched on again.
//
// An event that retention has removed from the log can no longer be delivered: its delivery is dead, and
// says so. This happens to nothing that is merely slow: 100 failures in a row switch a webhook off after
// about a day, and events are kept for a week. The alternative, to keep the log for the slowest receiver,
// would let one webhook that is switched off keep all events of all users.
//
// Deliveries that have ended are kept for the same time. A webhook that is switched off is due when its
// first pending delivery expires, and its expired deliveries end then.
//
// # The notice
//
// The system switches a webhook off after an answer of 410, and after many failures in a row. The same
// transaction records that its owner is to be told, and makes the webhook due. The run of a webhook that is
// switched off mails the notice and then records that the owner has been told. A crash between the
// two repeats the mail. While the mail server is away it is tried again for three days.
//
// # Replicas
//
// One replica, the owner of the work "webhooks", reads the log. Each webhook has an owner of its own. Two
// seconds after its due time any replica runs it. The row of the webhook holds the claim of the replica
// that runs it, which lasts for 10 s longer than an attempt may take. A replica that pauses during an
// attempt finds that the delivery has changed, and drops the outcome. Before an attempt it checks that the
// claim lasts longer than the attempt can take, and the sender sends nothing after the end of the claim:
//
//	A: claim, connect ──(paused) ─────────────────────────────────── resumes: too late, sends nothing
//	B:                          claim has ended: attempt 1 again, recorded, next event, …
//
// A pause of A between the check of the time and the write is still possible. No sender can close that gap
// alone. A receiver can: it sees the position of each event.
//
//	A: claim, attempt 1 ──(killed)
//	B:                          claim has ended: attempt 1 again, recorded, attempt 2, …
//
// # No lost wake-up
//
// The run of a webhook without pending deliveries clears its DueAt. Writing a delivery always writes the
// row of the webhook as well. One of two concurrent transactions therefore meets a changed row, and looks
// again.
//
// # Cost
//
// Without a webhook, events are skipped without being read. The ids of the sessions with a webhook are
// cached, and read anew when a setting, which every change of the set replaces, has another value than
// before. The setting is read in the same snapshot as the events, or after them: a webhook that was made
// before an event is known.
//
// A delivery costs one transaction besides the attempt: it records the outcome and picks the next. Events
// of 10,000 webhooks of 2,000 users are delivered within 3 s in memory, to receivers that answer at once.
package webhooks
