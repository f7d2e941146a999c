// Package sendqueue keeps messages that are sent later, one queue for each session.
//
//	Enqueue ─► WAITING ─► FORWARDING ─► SENT, FAILED, or PENDING with an unknown outcome
//	             │  ▲          │
//	             │  └──────────┤ the worker certainly did not send it
//	             ├─► FAILED    │ the deadline has passed, or it can never be sent
//	             └─► cancelled │ by its sender, or with its session
//
// WAITING is a row of [ports.QueuedMessages]. Every other state is a row of the history, or
// no row at all. The transaction that begins to forward a message deletes its row here and
// writes the PENDING row of the history. There is no third state to recover after a crash.
//
// # What it promises
//
//   - A message that was accepted is sent once, fails with a reason, or has an unknown
//     outcome. The row is deleted by its Rev: of several owners only one forwards it. A crash
//     between the deletion and the answer of the worker leaves a PENDING message. A report
//     decides its outcome, or it fails after [domain.Timing].MessageLife. It is never sent again.
//   - In order: the messages of a session are forwarded by SendAt and then by age. A
//     message that cannot be sent yet holds up the later ones. A direct send does not wait.
//   - A message counts against the limit of the hour in which it is forwarded. When the hour
//     is used up it waits for the next one. The queue tries every 30 s: the user may have been
//     given a higher tier, or the tier a higher limit.
//   - At its deadline a message fails. The reason says what it was waiting for.
//   - Bounded: 1,000 messages of a session, and 100 MiB of a user. Requests that run at once
//     for several sessions of a user may exceed the latter by what they carry.
//   - A message is forwarded as soon as its session is connected: the commit that connects
//     the session wakes the queue. If the wake-up is lost, the queue tries every 30 s.
//
// # The history
//
// A message enters the history when it leaves the queue. Its CreatedAt is that time. The
// message therefore counts in the hour in which it is forwarded, and retention never deletes
// a message that waits. A message that fails without having been forwarded enters with the
// time at which it was accepted, and as Unforwarded. It counts against the limit of no hour,
// and usage counts it as failed, but not among the messages that were sent.
//
// # Pace
//
// With a pace, the next message of a session is forwarded after 60 s divided by the pace,
// times a random number from 0.5 to 1.5. The time is in the row of the queue, and all
// replicas keep to it. Messages of a bulk call without a [domain.Schedule] keep to it too
// ([Queues.AwaitPace]).
//
// # Replicas
//
// Each queue has an owner, by [membership.Members.OwnsWork]. Two seconds after its due time
// any replica works on it. The row of the queue holds the claim of the replica that works on
// it. A claim lasts longer than a call to a worker. The claim keeps the order. Sending once
// does not need it: the Rev of the message ensures that.
//
//	A: claim, message 1 leaves the queue ──(killed)
//	B:                                        claim has ended: message 2
//
// # Cost
//
// A direct send costs nothing here. A message that waits costs one transaction to enter and
// one to be claimed, and then as much as a direct send. A queue that is held costs a
// transaction every 5 to 30 s. Each of several replicas reads the due queues every 5 s, and
// whenever another one announces a change. A process alone knows when the next one is due.
package sendqueue
