// Package domain holds the rules of Switchyard: which worker runs a session, what a worker's report
// may change, when a silent worker counts as lost, and which step comes next.
//
// The package is pure. Values come in, decisions come out, and the time is an argument. Nothing here
// reads a clock, draws a random number, waits, logs or performs I/O. The same input yields the same
// decision on every replica and in every test. Functions are safe for concurrent use. Methods that
// change their receiver need a receiver that no other goroutine uses.
//
// # Glossary
//
//	session             One WhatsApp account that a user wants online, or not.
//	user                The owner of sessions and API keys.
//	tier                The plan of a user. It sets the user's limits, rank and worker pool.
//	intent              What the user wants of a session: UP or DOWN.
//	status              What workers report of a session, such as CONNECTED.
//	command             The call that the assigned worker has still to receive or to confirm.
//	worker              A process that runs sessions and talks to WhatsApp.
//	legacy worker       A worker that announced no capabilities.
//	capability          An extension of the worker protocol: lease, generation, dedupe or ownToken.
//	fleet token         The secret that all workers share. It registers any worker.
//	own token           A token that speaks for one worker, from one registration to the next.
//	call token          The token with which the control plane calls a worker that has an own token.
//	token epoch         The time from one registration to the next. The own and call tokens end with it.
//	slot                Capacity for one session on one worker.
//	placement           The choice of a worker for a session.
//	strategy            The rule that scores workers for placement. The lowest score wins.
//	ranking             An index of workers by score. A choice looks at a few of them.
//	assignment          The link of a session to one worker. It holds one slot.
//	generation          The number of the assignment. It grows by one each time.
//	fencing             Refusing calls and reports that carry an old generation.
//	home                The worker that stores the WhatsApp credentials of a session: where it was CONNECTED last.
//	holder              A worker that was given a session and has not confirmed a wipe. The home is one of them.
//	linked session      A session with a home.
//	home policy         Whether placement prefers or requires the home of a session, or has abandoned it.
//	state group         Workers that share credentials. Each names its group when it registers.
//	QR, pairing code    What links an account: an image that a phone scans, or a code to type there.
//	first scan          The scan that links a session that is not linked: a new one, or one that logged out.
//	unscanned run       A connect that ended although nobody had scanned its QR code, or that needs another code.
//	reclaim             Ending an unscanned run to give its slot to a user of a higher tier.
//	debounce            The wait before a DISCONNECTED report counts as final.
//	heartbeat           A worker's periodic message that it is alive.
//	lease               The time that a worker may run without an accepted heartbeat.
//	probe               A health check that the control plane sends to a worker.
//	down reason         Why a worker is offline: CRASHED, SILENT (no heartbeat) or LEFT (unregistered).
//	lost worker         A worker that is offline past its failover time, or was removed.
//	failover            Placing the sessions of a lost worker on other workers.
//	failover delay      The grace for a worker to return before its sessions move.
//	recovery            A worker's restart of the sessions that are still assigned to it.
//	cleanup             The record that a worker was given a session, and of the stop or wipe due there.
//	wipe                The removal of a session's credentials from a worker.
//	tombstone           The last generation of a deleted session. A new one with its id continues there.
//	foreign session     A session that a worker runs and that this store never gave to it.
//	migration           One recorded move of a session to another worker.
//	drain               Moving all sessions off a worker. It receives no new ones.
//	maintenance         A worker's own word for a drain of the sessions that need no scan.
//	return              The migration of a session to its home, which is back before a scan elsewhere.
//	rebalance           Migrations that even out how full workers are.
//	admission           A limit on work that runs at the same time, such as migrations.
//	canary              A worker that joined or changed its version a short time ago.
//	suspect             A worker that failed its canary period. It receives no new sessions.
//	replica             One process of the control plane.
//	ownership           The replica that runs a piece of background work, by rendezvous hashing.
//	claim               A replica's short, exclusive right to call a worker about a session.
//	route               The cached location of a session, for the send path.
//	invalidation        A message to other replicas about changed rows that they may cache.
//	audit trail         Who did what to which object, from where, and how it ended.
//	outbox              Events recorded with their cause, in the order of commits.
//	event log           The outbox as clients read it, with the message or session of each event.
//	send queue          The messages of one session that are sent later, in order of time. They are scheduled.
//	hold                The reason why the first message of a send queue waits past its time. The others wait too.
//	pace                The number of messages that a send queue forwards a minute, at irregular intervals.
//	sample              The numbers of users, sessions and workers at one moment, kept for analytics.
//	idempotency key     A sender's name for one message, with which a send may be repeated.
//	replay              The answer to a repeated send: what its message has become. Nothing is sent.
//	unknown outcome     Nobody knows whether a message was sent. It stays PENDING until a report or its time limit.
//	position            The number of an event in the log, in the order of commits.
//	webhook             A customer's URL that receives events of one session.
//	delivery            One event on its way to one webhook. It is PENDING, DELIVERED or DEAD.
//	dead                Given up after all attempts. The owner can have it delivered again.
//	switched off        A webhook that delivers nothing: its owner, a 410 or many failures in a row did it.
//	sealed              Encrypted and bound to one row, as the store keeps secrets of webhooks.
//	window              A period that begins with the first use and counts the uses in it.
//	quota               The uses that a tier allows within one window.
//	backfill            Adding earlier uses from the history to a new window.
//	client network      The unit in which limits count clients: an IPv4 address, or an IPv6 /64.
//	address policy      The rule that decides which addresses may be called for others.
//	sign-in             One place where a user is signed in: a family of refresh tokens.
//
// # Life cycle of a session
//
// The intent changes only through the user's actions and final failures. The status follows reports.
//
//	              Connect           report                report
//	DISCONNECTED ---------> INIT -----------> QR_REQUIRED ---------> CONNECTED
//	 (new)                   |                    ^                   |     ^
//	                         |                    | report            |     | report
//	                         | report             |      report, loss,|     |
//	                         |                    |      move         v     |
//	                         |                    +-------------- RECONNECTING
//	                         +------------------------------------> CONNECTED
//
//	from every status:
//	Disconnect, Logout, Reclaim     -> DISCONNECTED, intent DOWN
//	report ERROR, Fail              -> ERROR, intent DOWN; Connect leads to INIT
//	report DISCONNECTED, intent UP  -> DISCONNECTED, debounced for 5 s
//	    after a QR, see mayEndScan    -> INIT and one restart, not debounced
//	    a further report              -> the reported status
//	    logged out, or never linked   -> DISCONNECTED, intent DOWN
//	    otherwise                     -> INIT after a backoff, ERROR after 5 restarts
//
// The assignment has a cycle of its own. [NextStep] derives each step from recorded state:
//
//	             StepPlace               StepCall           report: it runs
//	unassigned ------------> START due ----------> accepted ----------------> confirmed
//	    ^                       |                     |                           |
//	    | StartRejected         |                     | StepStartTimedOut         | StepStopForMove,
//	    +-----------------------+                     v                           | Disconnect, Logout
//	    |                                         stop due <----------------------+
//	    | StopConfirmed                               |
//	    +---------------------------------------------+
//	    | StepFailover, StepAbandonAssignment: the worker is lost
//	    +--------------------------------------------- from every assigned state
//
// # Invariants
//
//   - A session is assigned to at most one worker, and holds a slot exactly while it is assigned.
//   - Generations only grow. A report of another worker or of a lower generation changes nothing. The
//     assigned worker may state a higher one, which the session adopts: the store was restored from a
//     backup.
//   - A session leaves a worker only when it certainly does not run there: the worker certainly did
//     not execute the first start, the worker reports it down past the debounce, the stop was confirmed,
//     or the worker is lost.
//   - A logout is never weakened. It completes before the session starts on that assignment again.
//   - A message status only moves forward.
//   - A crash between two steps loses nothing, because NextStep looks at recorded state alone.
//
// # Decisions
//
// Workers report DISCONNECTED in the middle of a restart. The debounce of 5 s keeps such a report from
// ending the session.
//
// WhatsApp closes the connection after a scan, and some workers report only that disconnect. The first
// DISCONNECTED after a QR therefore causes a restart, if its reason is empty or asks for a restart. The
// next one is debounced.
//
// A worker is marked down, and lost, at the following times ([DefaultTiming]):
//
//	observed                                          down reason   sessions move
//	3 refused connections, no heartbeat since the 1st CRASHED       after the failover delay, 5 s
//	no heartbeat, worker with a lease                 SILENT        after lease and drift, 45 s + 1 s
//	no heartbeat, worker without a lease              SILENT        after 3 heartbeats, at most 90 s
//	the worker unregistered                           LEFT          after the failover delay, 5 s
//
// A worker with a lease stops its sessions by itself when the lease ends. Lease and drift therefore
// separate the old run of a session from the new one. Only the rates of two clocks matter: they may
// differ by at most 1 s in 45 s.
//
// A linked session moves at once only within the state group of its home. Otherwise it waits for its
// home (Timing.HomeWait, 10 min) before it takes another worker, which asks for a scan. It keeps its
// number and its home, and returns when the home is back before the scan. The alternative, moving at
// once as sessions without credentials do, logged customers out whose worker was back 12 s later.
//
// Placement compares scores as integers, so every replica computes the same order. [Ranking] chooses
// among 100,000 workers within a few microseconds; its comment has the figures. [Explain] returns the
// same choice together with its reasons.
package domain
