package sqlite

import "sync/atomic"

// checkpointer copies the write-ahead log into the database, in a goroutine
// and on a connection of its own, beside the writer. What is written meanwhile
// stays in the log, so once the log is long the writer itself copies the rest,
// which is little, and then begins the log anew.
type checkpointer struct {
	conn    *conn
	writer  *writer
	updates atomic.Int64 // since the last copy

	copyAfter  int64 // Updates
	reuseAfter int64 // frames in the log, of a page each
	littleRest int64 // frames

	wake    chan struct{}
	quit    chan struct{}
	stopped chan struct{}
}

// maxCopies is how often the log is copied in a row, while the writer makes it
// longer.
const maxCopies = 6

func newCheckpointer(c *conn, w *writer) *checkpointer {
	return &checkpointer{
		conn: c, writer: w, copyAfter: 4096, reuseAfter: 4000, littleRest: 400,
		wake: make(chan struct{}, 1), quit: make(chan struct{}), stopped: make(chan struct{}),
	}
}

func (c *checkpointer) start() { go c.run() }

func (c *checkpointer) stop() {
	close(c.quit)
	<-c.stopped
}

// note counts Updates. It is called by the writer alone.
func (c *checkpointer) note(n int) {
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
			frames, rest, ok := copyLog(c.conn)
			if !ok || frames < c.reuseAfter {
				break
			}
			if rest < c.littleRest {
				c.writer.mu.Lock()
				c.writer.checkpoint = true
				c.writer.wakeAndUnlock()
				break
			}
		}
	}
}

// finish copies the rest on the writer's connection, between two groups.
func (c *checkpointer) finish(own *conn) { copyLog(own) }

// copyLog copies as much as it can without waiting for anybody. It is no harm
// if it fails: the log is as durable as the database.
func copyLog(c *conn) (frames, rest int64, ok bool) {
	answer, err := c.pragma("wal_checkpoint(PASSIVE)")
	if err != nil || len(answer) != 3 {
		return 0, 0, false
	}
	frames, _ = answer[1].(int64)
	copied, _ := answer[2].(int64)
	return frames, frames - copied, frames >= 0
}
