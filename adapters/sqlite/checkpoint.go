package sqlite

import "sync/atomic"

// checkpointer copies the write-ahead log into the database, beside the writer, in its own goroutine and on its own
// connection. Pages that the writer adds meanwhile stay in the log. SQLite reuses a log only when all of it is copied, so the
// writer itself copies the small rest of a long log between two groups:
//
//	checkpointer: copy ─ copy ─ copy ─ little is left ─▶ request
//	writer:       group │ group │ group │ group │ group ────┴─▶ copy the rest │ group, at the start of the log
type checkpointer struct {
	conn    *conn
	writer  *writer
	updates atomic.Int64 // since the last copy

	copyAfter  int64 // Updates
	reuseAfter int64 // frames in the log; a frame is a page
	smallRest  int64 // frames that the writer copies itself

	wake    chan struct{}
	quit    chan struct{}
	stopped chan struct{}
}

// maxCopies bounds how often the checkpointer copies in a row while the writer extends the log.
const maxCopies = 6

func newCheckpointer(c *conn, w *writer) *checkpointer {
	return &checkpointer{
		conn: c, writer: w, copyAfter: 4096, reuseAfter: 4000, smallRest: 400,
		wake: make(chan struct{}, 1), quit: make(chan struct{}), stopped: make(chan struct{}),
	}
}

func (c *checkpointer) start() { go c.run() }

func (c *checkpointer) stop() {
	close(c.quit)
	<-c.stopped
}

// countUpdates counts Updates, and wakes the checkpointer after enough of them. Only the writer calls it.
func (c *checkpointer) countUpdates(n int) {
	if c.updates.Add(int64(n)) < c.copyAfter {
		return
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *checkpointer) run() {
	defer close(c.stopped)
	for {
		select {
		case <-c.quit:
			return
		case <-c.wake:
		}
		c.updates.Store(0)
		for range maxCopies {
			state, ok := copyLog(c.conn)
			if !ok || state.frames < c.reuseAfter {
				break
			}
			if state.rest < c.smallRest {
				c.writer.requestCheckpoint()
				break
			}
		}
	}
}

// logState describes the write-ahead log after a copy.
type logState struct {
	frames int64 // in the log
	rest   int64 // frames that are not copied yet
}

// copyLog copies as many frames of the log as it can without waiting. A failure does no harm, because the log is as durable as
// the database. ok is false after a failure.
func copyLog(c *conn) (state logState, ok bool) {
	answer, err := c.pragma("wal_checkpoint(PASSIVE)")
	if err != nil || len(answer) != 3 {
		return logState{}, false
	}
	frames, _ := answer[1].(int64)
	copied, _ := answer[2].(int64)
	return logState{frames: frames, rest: frames - copied}, frames >= 0
}
