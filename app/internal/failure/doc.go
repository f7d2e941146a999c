// Package failure decides which workers are down.
//
//	                  3 refused calls, no heartbeat since the first
//	          ┌──────────────────────────────────────────────► crashed
//	online ───┤  no heartbeat until the deadline
//	  ▲       ├──────────────────────────────────────────────► silent
//	  │       │  unregistered
//	  │       └──────────────────────────────────────────────► left
//	  │                                                           │
//	  └── heartbeat, registration, or an answered re-check ◄──────┘
//
// Marking a worker down ([Detector.MarkDown]) changes its row and those of its
// sessions in one transaction: linked sessions become RECONNECTING, and all are due
// at the time when they may be placed elsewhere (Worker.FailoverAt).
//
// # Evidence
//
// A refused connection proves that the process is gone. A timeout proves nothing: the
// worker may run its sessions behind a cut link. A worker with a lease stops them by
// itself when the lease ends, so it is down 46 s after its last heartbeat (lease and
// clock drift). A worker without a lease is down after three missed heartbeats, at
// most 90 s, and may go on running: that is the price of its protocol.
//
// The outcome of every call counts as a probe ([Detector.RecordCall]), so a crash shows
// within the calls that it fails. Only calls to the current process count, and only
// refusals after the last heartbeat.
//
// # Clocks
//
// Silence is measured by the clock of the observer: from when it first saw the latest
// heartbeat, wherever that arrived. Before a worker is marked down its row is read in
// the transaction. If the row has a newer heartbeat, the worker stays up.
//
// # Replicas
//
// The owner of a worker probes it and marks it down; others follow after two seconds.
// When a replica marks a worker as crashed, every other replica calls it once. If one
// gets an answer, only the first replica's link is cut, and the worker is back.
//
// While the store does not answer, nobody is marked down: heartbeats may wait for it.
//
// # Canaries
//
// A worker that joined or changed its version is compared with the fleet for 15 min.
// If it disconnects sessions at three times the rate of the others, it receives no
// more ([Detector.EvaluateCanaries]).
//
// # Figures
//
// Measured with three replicas on two cores: 200 sessions of a crashed worker were
// back after 11.9 to 12.0 s (p99, defaults), of which all but 0.7 s are detection and
// grace. With probes every 300 ms and a failover delay of 500 ms, 40 sessions: 1.6 s.
package failure
