// Package simworker simulates workers: processes that speak the worker
// protocol and pretend to be WhatsApp.
//
// A [Worker] is a deterministic core. It has no goroutine, no socket and no
// clock of its own: the control plane's calls are its methods, what it does by
// itself happens in [Worker.Step], and time comes in from outside. So a fleet
// can be driven in virtual time, through a [Fleet], which is a
// ports.WorkerGateway without sockets. [Serve] puts a worker behind HTTP and
// drives it in real time, and [Control] is its way back to the control plane.
//
// A [State] is what outlives a worker's process: the credentials of the
// pretended phones, and a journal of every start, stop and sent message, which
// is the evidence that no session ran twice at once and no message was sent
// twice: see [Overlaps] and [Repeats].
//
// A worker can be made to fail in the ways that matter: [Worker.Crash],
// [Worker.Hang], [Worker.CutOff].
package simworker
