// Package outbox reads the event log for other parts, and keeps it within its bounds.
//
// A transaction appends its events to the outbox together with the change that causes them. After
// the commit the outbox is a log in the order of commits: [ports.Outbox] states the promises.
// Clients read it by position (package events). Parts of the core derive rows from it:
//
//	commit ─► Reader.Read: events after the recorded position
//	               │
//	               └─► one transaction: rows derived from the events, and Reader.Advance
//
// # What it promises
//
//   - A reader sees every event of a committed transaction, after any crash.
//   - It sees them in the order of the log.
//   - What it derives from an event is committed exactly once, together with the position. When two
//     replicas read the same events, the later one fails with [ports.ErrConflict].
//
// # Retention
//
// Events are kept for the retention that [NewLog] is given. Events that a reader has not read are
// never deleted. The log is deleted from its beginning, so a position that has expired stays expired.
package outbox

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/ports"
)

// deletedPerPass bounds the events that one transaction deletes.
const deletedPerPass = 1000

// Log knows the readers of the event log. It is safe for concurrent use after the last NewReader.
type Log struct {
	*txn.Writer
	readers   []*Reader
	retention time.Duration
}

// NewLog returns the log. Events are kept for the retention.
func NewLog(w *txn.Writer, retention time.Duration) *Log {
	return &Log{Writer: w, retention: retention}
}

// NewReader returns a reader of the log. The log keeps the events that it has not read. Call it before
// the first Housekeep. Each name has one reader.
func (l *Log) NewReader(name string) *Reader {
	reader := &Reader{setting: name + ".position"}
	l.readers = append(l.readers, reader)
	return reader
}

// Housekeep deletes events that are older than the retention and that every reader has read.
func (l *Log) Housekeep(ctx context.Context, now time.Time) error {
	for {
		n := 0
		err := l.Update(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
			before := now.Add(-l.retention)
			for _, reader := range l.readers {
				unread, err := reader.Read(ctx, tx, 1)
				if err != nil {
					return err
				}
				if len(unread) > 0 && unread[0].At.Before(before) {
					before = unread[0].At
				}
			}
			n, err = tx.Outbox.DeleteBefore(ctx, before, deletedPerPass)
			return err
		})
		if err != nil || n < deletedPerPass {
			return err
		}
	}
}
