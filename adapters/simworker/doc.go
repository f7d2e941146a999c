// Package simworker simulates workers: processes that speak the worker
// protocol and pretend to be WhatsApp.
//
// A [Worker] is a deterministic core. It has no goroutine, no socket and no
// clock of its own: the control plane's calls are its methods, what it does by
// itself happens in [Worker.Tick], and time comes in from outside. So a fleet
// can be driven in virtual time, through a [Fleet], which is a
// ports.WorkerGateway without sockets. [Serve] puts a worker behind HTTP and
// drives it in real time, and [Control] is its way back to the control plane.
//
// # What is stopped stays down
//
// A worker other than an older one keeps sessions only while it holds a lease,
// which counts, by the monotonic clock, from the sending of the latest message that
// the control plane accepted. When it is out all sessions are stopped, and nothing
// is started until the worker is heard of again and has done what it is commanded.
// Every call and every answer looks at the clock first, so a process that was paused
// does nothing more for its sessions when it goes on. (A machine that sleeps stops
// that clock too; such machines should not hold sessions.)
//
// A stop that the control plane orders for a generation is for good: that
// generation and older ones are refused from then on, also by the worker's next
// process. A session that ended by itself, or with its lease, may be started again
// under the same generation.
//
// # Evidence
//
// A [State] is what outlives a worker's process: the credentials of the
// pretended phones, what was ordered to stop, and a journal of every start, stop
// and sent message, which is the evidence that no session ran twice at once, none
// went on after its end and no message was sent twice: see [Overlaps], [SendsAfterStop]
// and [Repeats].
//
// A worker can be made to fail in the ways that matter: [Worker.Crash],
// [Worker.Hang], [Worker.CutOff].
package simworker
