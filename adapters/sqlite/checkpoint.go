package sqlite

import "sync"

// checkpointer copies the write-ahead log into the database, beside the writer, in its own goroutine and on its own
// connection. Pages that the writer adds meanwhile stay in the log. SQLite reuses a log only when all of it is copied, so the
// writer itself copies the small rest of a long log between two groups:
//
//	checkpointer: copy ─ copy ─ copy ─ little is left ─▶ request
//	writer:       group │ group │ group │ group │ group ────┴─▶ copy the rest │ group, at the start of the log
//
// Large transactions may extend the log faster than the checkpointer copies it. The writer copies a log of maxFrames itself,
// however much is left, and its callers wait meanwhile. The log therefore stays below maxFrames + copyAfter, and one group,
// unless a View keeps its pages from being copied.
type checkpointer struct {
	conn   *conn
	writer *writer

	// The lengths of the log are in frames. A frame is a page.
	copyAfter int64 // from here on the checkpointer copies
	maxFrames int64 // from here on the writer copies
	smallRest int64 // the writer copies such a rest itself

	nextCopy int64      // no copy begins before this length, nor before copyAfter; only the writer uses it
	copying  sync.Mutex // held while a connection copies; SQLite refuses a second one at the same time

	wake    chan struct{}
	quit    chan struct{}
	stopped chan struct{}
}

// maxCopies bounds how often the checkpointer copies in a row while the writer extends the log.
const maxCopies = 6

func newCheckpointer(c *conn, w *writer) *checkpointer {
	return &checkpointer{
		conn: c, writer: w, copyAfter: 16_000, maxFrames: 64_000, smallRest: 400,
		wake: make(chan struct{}, 1), quit: make(chan struct{}), stopped: make(chan struct{}),
	}
}

func (c *checkpointer) start() { go c.run() }

func (c *checkpointer) stop() {
	close(c.quit)
	<-c.stopped
}

// boundLog makes the checkpointer copy a long log, and copies a very long one itself. Only the writer calls it, between two
// groups.
func (c *checkpointer) boundLog(w *conn) {
	state, ok := readLog(w, "NOOP")
	if !ok || state.frames < max(c.nextCopy, c.copyAfter) {
		return
	}
	if state.frames >= c.maxFrames {
		c.finishCopy(w)
		return
	}
	c.nextCopy = state.frames + c.copyAfter
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// finishCopy copies the rest of the log. SQLite then begins the log again. Only the writer calls finishCopy. If a View keeps the
// rest from being copied, the log grows by copyAfter before the next copy.
func (c *checkpointer) finishCopy(w *conn) {
	state, ok := c.copyLog(w)
	c.nextCopy = 0
	if ok && state.rest > 0 {
		c.nextCopy = state.frames + c.copyAfter
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
		for range maxCopies {
			state, ok := c.copyLog(c.conn)
			if !ok {
				break
			}
			if state.rest < c.smallRest {
				c.writer.requestCheckpoint()
				break
			}
		}
	}
}

// copyLog copies as many frames of the log as it can without waiting for a View. A failure does no harm, because the log is as
// durable as the database.
func (c *checkpointer) copyLog(on *conn) (state logState, ok bool) {
	c.copying.Lock()
	defer c.copying.Unlock()
	return readLog(on, "PASSIVE")
}

// logState describes the write-ahead log.
type logState struct {
	frames int64 // in the log
	rest   int64 // frames that are not copied yet
}

// readLog runs a checkpoint of a mode and returns the log afterwards. The mode NOOP copies nothing. ok is false after a failure.
func readLog(c *conn, mode string) (state logState, ok bool) {
	answer, err := c.pragma("wal_checkpoint(%s)", mode)
	if err != nil || len(answer) != 3 {
		return logState{}, false
	}
	frames, _ := answer[1].(int64)
	copied, _ := answer[2].(int64)
	return logState{frames: frames, rest: frames - copied}, frames >= 0
}
