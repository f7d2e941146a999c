// Package registry speaks the worker protocol, and serves administrators of the fleet.
//
//	worker                        Protocol                       rows
//	  ├─ register ──────────────► health check, conflicts ─────► worker ONLINE, sessions to recover
//	  ├─ heartbeat, no news ────► one row ─────────────────────► LastHeartbeat
//	  ├─ heartbeat with news ───► diff against the cache ──────► sessions, commands in the answer
//	  ├─ session report ────────► owner and generation checked ► session
//	  ├─ recovery results ──────► one outcome per session ─────► sessions
//	  └─ unregister ────────────► worker down, failover delay
//
// # Registration
//
// A worker is taken in when its health route answers. A new process may take over the id
// of a former one at another endpoint only when that refuses connections, or its lease
// is out: nothing else proves that the former process runs no sessions. Its answer lists
// the sessions to stop before anything is started (StopCommand).
//
// # Heartbeats
//
// A heartbeat without news costs one row and no allocation per session: the cache
// compares ([fleet.Cache.DiffHeartbeat]), and one Put renews the worker's row. With news
// the rows of the sessions are read in the transaction, and each report is judged
// against its row. Measured with 50 sessions: 8,800 heartbeats a second on SQLite, 5,300
// to 9,800 on PostgreSQL with Redis (two cores).
//
// A heartbeat is a sign of life whatever it lists, and however often it comes (intake.go).
// It is stored even if its worker has hung up, and even if its sessions cannot be stored.
// What it may cost is bounded:
//
//   - A list is cut to five times the worker's capacity, or 500. Sessions that are
//     assigned to the worker stay. A session that is listed twice counts once.
//   - One heartbeat looks up 100 unexpected sessions, and the next one continues with others.
//   - One transaction applies 100 sessions.
//   - The sessions of one heartbeat of a worker are applied at a time, of 2 heartbeats in a
//     second, after 60 at once. 20 in a second are stored, after 200 at once.
//
// A list that was cut, or from which an item was skipped, makes no session missing.
//
// # Unexpected and foreign sessions
//
// A session in a heartbeat is unexpected if it is not assigned to the worker, or runs there in a
// lower generation. If the store knows or has known it, it is stopped.
//
// A session is foreign on a worker if this store never gave it to that worker. The store may be
// the wrong one, or empty, or another control plane may use the same id. A foreign session is
// wiped by nobody but an administrator ([Workers.StopForeign]), and one whose id the store has
// never known is not stopped either. A row of the cleanups records it (up to 1000 for each
// worker), also after the worker lists it no longer. [Workers.Get] shows these rows: their ids
// are not free, and no session with such an id starts on the worker, until an administrator has
// had the session wiped, or has removed the worker as destroyed.
//
// # A store restored from a backup
//
// Workers run sessions in generations that a restored store does not know yet:
//
//	backup: s on w1, generation 3
//	later:  s moves to w2 and back, generation 5
//	restored store: generation 3 ◄── heartbeat of w1: s in generation 5
//
// The assigned worker's higher generation is adopted, whatever the status of the session, and nothing
// is stopped. Before that, 5 used to be refused and s told to stop; each start then cost a minute for
// each missing generation, because w1 refuses 3 and 4 for good. A step of more than a million, or a
// generation above 2^52, is refused and logged ([domain.IsPlausibleGeneration]). A report that names no
// worker raises nothing.
//
// Another worker that runs s is told to stop it. Its cleanup keeps the generation, and the next
// assignment is above. If the worker had confirmed a wipe meanwhile, the wipe was of a generation that is
// over and did nothing: it is due again.
//
// # Late reports
//
// A replica that was paused may apply a report long after it arrived. By then the report
// of an end may be about a former process. Such a report is dropped; the next heartbeat
// repeats the true state ([isTooOldToTrust]).
//
// # Legacy workers
//
// A legacy worker may report with the fleet token without naming itself. Such a report counts
// only while the session's worker has no token of its own ([txn.CanReport]).
//
// A legacy worker knows no generations and reads no commands. It is told to stop foreign
// sessions by calls, which are scheduled as cleanups.
package registry
