// Package simworker simulates workers: processes that speak the worker protocol
// and pretend to be WhatsApp.
//
// A [Worker] is a deterministic core. It has no goroutine, no socket and no
// clock of its own. The calls of the control plane are its methods. Its own
// actions happen in [Worker.Tick], and every time is passed in. Therefore tests
// drive a fleet in virtual time, through a [Fleet], which implements
// ports.WorkerGateway without sockets. [Serve] puts a worker behind HTTP and
// drives it in real time. [Control] is its HTTP client to the control plane.
//
//	          Fleet (virtual time)        Serve (HTTP, real time)
//	                   \                    /
//	calls of the        \                  /        Tick: registration,
//	control plane  →     Worker (one mutex)    →    heartbeats, reports,
//	                           |                    receipts, via
//	                         State                  service.WorkerProtocol
//	             (credentials, blocked generations, journal)
//
// # States of a process
//
//	down ──Boot──▶ unregistered ──accepted──▶ registered ──lease ends──▶ fenced
//	  ▲                 ▲                          │  ▲                     │
//	  │                 └──worker unknown, 401─────┘  └──message accepted───┘
//	  └──Crash, Stop (from every state)
//
// Sessions start in the state registered only. They run until they are stopped or
// the lease ends. A legacy worker has no lease, and starts sessions in every state
// but down.
//
// A worker that is refused stays unregistered and tries again. A refusal of its id or
// endpoint is an error of the configuration. The worker logs it once, as "registration
// refused" at error level. [Worker.Refusal] returns the latest error. Sessions are not
// found on such a worker, and the control plane does not know it.
//
// # Promises
//
// A worker keeps sessions only while it holds a lease. The lease is measured on
// the monotonic clock. It starts when the worker sends a message that the control
// plane then accepts. At its end all sessions are stopped. No session is started
// until the control plane accepts another message and its commands are applied.
//
// Every call and every response reads the clock first. Therefore a process that
// was paused does nothing for its sessions when it resumes:
//
//	worker                           control plane
//	sends a heartbeat           →    grants a lease of 45 s
//	is paused
//	                                 declares the worker down, fails sessions over
//	resumes, reads the clock:
//	the lease has ended, fence()
//	answers the waiting request:
//	session not found
//
// (A machine that sleeps stops the monotonic clock too. Such machines should not
// hold sessions.)
//
// A stop that the control plane orders for a generation is final. The worker
// refuses that generation and lower ones from then on, and so does its next
// process. A session that ended by itself, or with the lease, may be started
// again under the same generation. A wipe for a generation does not reach credentials
// that were linked in a newer one, perhaps by another worker with the same state.
//
// A worker whose control plane hands out call tokens ([CallTokens]) announces ownToken.
// [Serve] then accepts the call token of the latest registration and no other token.
//
// # Media
//
// [Worker.ReceiveMedia] simulates a message with media. Their bytes follow from their id
// ([MediaContent]), so media of any size cost no memory and outlive the process.
//
// # Legacy workers
//
// A legacy worker behaves like the deployed ones: it answers 404 to a delete of a session
// that it has not started and keeps the files, and 500 to a logout of a session without a
// connection.
//
// # Evidence
//
// A [State] outlives the processes of a worker. It holds the credentials of the
// pretended phones, the generations that must not run, and a journal of every
// start, stop and sent message. The journal proves three rules: no session ran
// twice at once ([Overlaps]), no worker sent for a session that it had lost
// ([SendsAfterStop]), and no message was sent twice ([Repeats]).
//
// [Worker.Crash], [Worker.Hang] and [Worker.CutOff] inject failures.
package simworker
