package sqlite

import (
	"context"

	"github.com/switchyard-wa/switchyard/adapters/internal/sqlstore"
)

// groupConn is the connection of the Updates of a group. It sets a savepoint for each Update that writes.
type groupConn struct {
	*conn
	hasSavepoint bool  // the running Update has written
	hasWritten   bool  // some Update of the group has written
	lost         error // the error with which SQLite has ended the transaction of the group
}

// ensureSavepoint sets a savepoint before the first write of an Update.
func (g *groupConn) ensureSavepoint(s *sqlstore.Statement) error {
	if g.lost != nil {
		return g.lost
	}
	if !s.Write || g.hasSavepoint {
		return nil
	}
	if err := g.control(savepoint); err != nil {
		return g.detectLoss(err)
	}
	g.hasSavepoint, g.hasWritten = true, true
	return nil
}

// detectLoss records an error with which SQLite has ended the transaction, and returns the error.
func (g *groupConn) detectLoss(err error) error {
	if err != nil && g.idle() {
		g.lost = err
	}
	return err
}

// Exec implements [sqlstore.Conn].
func (g *groupConn) Exec(ctx context.Context, s *sqlstore.Statement, args []any) (int64, error) {
	if err := g.ensureSavepoint(s); err != nil {
		return 0, err
	}
	n, err := g.conn.Exec(ctx, s, args)
	return n, g.detectLoss(err)
}

// Query implements [sqlstore.Conn]. It ignores the context: an interrupted statement that writes would end the transaction of
// the whole group.
func (g *groupConn) Query(_ context.Context, s *sqlstore.Statement, args []any) (sqlstore.Rows, error) {
	if err := g.ensureSavepoint(s); err != nil {
		return nil, err
	}
	rows, err := g.conn.Query(context.Background(), s, args)
	return rows, g.detectLoss(err)
}

// finishUpdate keeps or undoes the writes of the running Update.
func (g *groupConn) finishUpdate(keep bool) {
	if !g.hasSavepoint {
		return
	}
	g.hasSavepoint = false
	if g.lost != nil {
		return
	}
	var err error
	if !keep {
		err = g.control(rollbackTo)
	}
	if err == nil {
		err = g.control(release)
	}
	if err != nil { // the state of the transaction is unknown
		g.lost = err
	}
}
