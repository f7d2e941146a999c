// Package sqlstore holds the SQL that all stores in SQL databases share: every statement, the schema with its migrations, and
// the repositories of [ports.Tx]. The adapters sqlite and postgres add connections, transactions and the translation of
// their driver's errors.
//
// # How an adapter uses it
//
//	Store.Update(fn)                     adapter: take a connection, send BEGIN
//	   │
//	   ▼
//	Queries.Begin(conn) ──▶ Tx ──▶ fn    sqlstore: fn calls tx.Sessions.Put, …
//	                        │
//	                        ▼
//	            Conn.Exec, Conn.Query    adapter: run a Statement, decode rows, translate errors
//	   │
//	   ▼
//	COMMIT or ROLLBACK                   adapter: from the error that Tx.Run returned
//
// A new database needs four things. None of them touches a repository.
//
//   - A [Dialect]: placeholders, column types, the expression for lower case, the query that finds whose tables
//     these are, and perhaps a way to put many rows with one statement.
//   - A [Conn], which runs statements in a transaction. It reports duplicates and missing references as [ports.ErrExists] and
//     [ports.ErrNotFound], and neither of them ends the transaction.
//   - A [Schema], which is a Conn that runs scripts, for [Queries.Migrate].
//   - The suite conformance.Store, which shows that the store keeps the contract.
//
// # Statements
//
// Statements that do not depend on a filter are built once for each dialect and numbered, so an adapter keeps them prepared.
// Lists are the exception: their conditions depend on a filter, so they are built for each call. Statements of all dialects
// are equal except for placeholders, the words of a message and the numbers of events; a test compares them. Another test asks
// SQLite for its query plans: every statement uses an index, except for a few that count or list whole tables, and none sorts
// rows that may be many.
//
// # Migrations
//
// A migration is a file in the folder migrations, such as 0002_replicas.sql. It is a template in which a dialect fills in its
// types. Versions begin with 1 and have no gaps. The table schema_migrations records the applied versions. [Queries.Migrate]
// runs the missing ones in the adapter's transaction, so a failed migration leaves nothing behind. [Queries.Check] refuses a
// schema that is older or newer than this package. A migration that was released never changes.
//
// # Promises
//
//   - No invariant depends on an isolation level. Each hangs on the rev of a row or on a conditional UPDATE.
//   - Put is compare-and-swap: it inserts a row without a rev, and changes a row only if its rev is the given one.
//   - A rev never repeats, even if a row is deleted and inserted again.
//   - No UPDATE and no DELETE lacks a condition. The two functions that build them refuse an empty one.
//   - Searches are literal and ignore case: % and _ have no meaning in them. Histories are searched by words (package words).
//   - Events become visible in the order of their numbers.
//
// # Bounds
//
// Every table but tombstones has a bound. The core's housekeeping deletes rows that have ended once a minute, through the ports:
//
//	table             rows                                                      deleted
//	users             one for each account; sign-up is rate limited             never
//	sign_ins          one for each sign-in that is not expired                  when expired
//	password_resets   at most 10 for each user                                  when used, replaced or expired
//	sessions          up to the limit of each user's tier                       by the user
//	tombstones        one for each id of a deleted session that had a worker    never
//	api_keys          at most 10 for each session, 3 of them live               7 days after their end
//	messages          messages per hour of a tier, times its retention          after the tier's retention
//	idempotency_keys  one for each message of the last day that has a key      a day after their sends
//	message_words     one for each message (on SQLite a full-text index)        with its message
//	workers           one for each worker; the fleet token or an administrator  by an administrator
//	cleanups          one for each worker, session and state group              when the worker has confirmed
//	moves             migrations of the last 30 days                            30 days after their end
//	worker_loads      a sample a minute for each worker                         after 24 hours
//	usage_hours       a row for each hour, session, type and outcome            after 400 days
//	message_totals    a row for each five minutes and outcome                   after 31 days
//	fleet_samples     a row every five minutes                                  after 31 days
//	outbox            events of the retention, unpublished ones                 after the retention, 7 days by default
//	audit             entries of the retention                                  after the retention, 90 days by default
//	webhooks          at most 5 for each session                                by the user, or with the session
//	send_queues       one for each session that has used its queue or pace      with the session
//	queued_messages   1,000 of a session and 100 MiB of a user                  when forwarded, cancelled or at the deadline
//	deliveries        one for each event that a webhook delivers                the retention of events after their end
//	replicas          one for each process                                      when it is known to be dead
//	settings          a fixed set of names                                      never
//	counters          a fixed set of names                                      never
//	health_checks     64 rows                                                   never
//
// A tombstone stays: workers keep the generations that they were told to stop, and refuse them for ever. A session that
// began again with generation 1 would not start there. A tombstone costs its user a placement on a worker and a deletion.
//
// Texts have bounds too: 255 characters of a description, 32 labels of a worker, 1 MiB of a request that is stored.
//
// # Stored values
//
// Times are microseconds since 1970. The zero time is NULL, except in columns that lists are ordered by, where it is a number.
// Hashes are bytes. Labels, capabilities and breakdowns are JSON. A rev is a time in microseconds, and above the row's former
// rev.
//
// # Decisions
//
// One SQL text for all databases, instead of one for each. The dialects differ in placeholders, types, lower case and one
// catalogue query. Every fix and every test of a plan therefore holds for both stores.
//
// Full-text search: words are split in Go, so every store finds the same messages (package words). Each word carries a mark of its
// session, so a search reads nothing of other sessions. On SQLite the index is FTS4, which the plain build of the driver has. FTS5
// would need a build tag of whoever installs the module. PostgreSQL has a tsvector of the words in a table of its own, because every
// change of a message's status would enter the words again. A table with one row for each word would work on both, but a message
// would write a page for each of its words.
//
// Words enter FTS4 for 512 messages at once, with the COMMIT of the group that completes their number ([Queries.IndexNew]). FTS4
// writes a segment at each savepoint and each COMMIT. A search also reads the messages that are not indexed yet, and looks for its
// words in them. It therefore misses nothing, and a crash loses nothing: the number of the last indexed message changes with the
// index. The store's part of a send takes 111 µs of processor time. It took 123 µs with a segment for each group of Updates (medians
// of three alternating rounds). Entered one by one, words had doubled it.
//
// A search first reads the newest 1,000 messages itself. The full-text index returns all messages with a word, which are sorted for
// one page. On PostgreSQL the first page of a word that half a million messages have took 29 s by the index alone, and takes 2 ms now.
// A word that few of the newest messages have is rare enough for the index.
//
// A filter by direction, type and status reads the index messages_kind once for each kind that the filter admits, and sorts the newest
// ids of all kinds. One index therefore serves all combinations, and a filter that matches nothing reads nothing. A send enters the
// index once, because PENDING messages are not in it. PostgreSQL gets the kinds as a list and joins it laterally. With a part of a
// UNION for each of 56 kinds a page took 15 ms, mostly for its plan; it takes 0.7 ms now. BenchmarkHistory measures each filter;
// HISTORY_ROWS sets its size.
//
// PENDING messages are indexed by session, although housekeeping wants the oldest of all sessions and has to sort them. On PostgreSQL an
// entry stays until the next VACUUM: ordered by time, a page read the entries of all sends since, 40 ms after 150 000 sends.
//
// Figures with 10 million messages, one million of them in the session that was asked, on a busy machine of two processors:
//
//	first page, median                              SQLite           PostgreSQL
//	recipient with a kind that no message has       33 ms            17 ms
//	other filters                                   0.03 to 5 ms     0.03 to 5 ms
//	search                                          0.6 to 10 ms     not stated
//	sends, of the rate of an empty store            0.81 to 0.93     0.71 to 0.83
//	sends right after a checkpoint                  not stated       0.5 to 0.6
//
// The first rates of sends hold once the pages that sends touch are read. After a checkpoint PostgreSQL logs each page that it changes
// as a whole: 1.2 pages for each message.
//
// An update leaves out columns that are indexed and rarely change, unless they have changed. The update therefore does not
// touch their indexes. A message is updated at least once, when the worker has answered, and these columns carry six indexes.
//
// An event is one statement with its number. On PostgreSQL the statement takes the number from a counter, whose row it locks until
// the transaction ends, and a group of Updates appends all its events with one statement. On SQLite, which has one writer, the
// number follows from the last event. With a second statement for the number, a group on PostgreSQL had one more round trip. All
// statements of a send then took 560 µs of processor time, and take 500 now (the least of five alternating rounds).
//
// On PostgreSQL, equal puts of one transaction run as one statement with arrays ([Statement.Batched]). In one run this raised
// the rate of BenchmarkMessage from 15 400 to 17 900 updates a second, and the rate of heartbeats of 50 sessions from 6 800
// to between 9 000 and 9 800. SQLite runs within the process, so batches would save nothing there.
package sqlstore
