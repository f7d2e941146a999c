package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"github.com/switchyard-wa/switchyard/ports"
)

// maxLongReads returns how many Views of [ports.ForLongRead] may run at once on so many connections:
// an eighth, at least one.
func maxLongReads(connections int32) int { return max(1, int(connections)/8) }

// acquireLongRead waits for a place if ctx belongs to a long read. The caller calls release after its View.
func (s *Store) acquireLongRead(ctx context.Context) (release func(), err error) {
	if !ports.IsLongRead(ctx) {
		return func() {}, nil
	}
	select {
	case s.longReads <- struct{}{}:
		return func() { <-s.longReads }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// contextWatcher ends statements whose context ends. A long read is cancelled in the server, which
// would otherwise go on with it. Any other statement ends soon by itself: the client waits for
// a moment, and gives up the connection only if the answer takes longer.
type contextWatcher struct {
	short    pgconn.DeadlineContextWatcherHandler
	longRead pgconn.CancelRequestContextWatcherHandler
	ended    ctxwatch.Handler // the one that handles the present context
}

func newContextWatcher(c *pgconn.PgConn) *contextWatcher {
	return &contextWatcher{
		short:    pgconn.DeadlineContextWatcherHandler{Conn: c.Conn(), DeadlineDelay: 100 * time.Millisecond},
		longRead: pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: 2 * time.Second},
	}
}

// HandleCancel implements [ctxwatch.Handler].
func (w *contextWatcher) HandleCancel(ctx context.Context) {
	w.ended = &w.short
	if ports.IsLongRead(ctx) {
		w.ended = &w.longRead
	}
	w.ended.HandleCancel(ctx)
}

// HandleUnwatchAfterCancel implements [ctxwatch.Handler].
func (w *contextWatcher) HandleUnwatchAfterCancel() { w.ended.HandleUnwatchAfterCancel() }
