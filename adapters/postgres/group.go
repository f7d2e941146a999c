package postgres

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/switchyard-wa/switchyard/adapters/internal/sqlstore"
)

const (
	// maxRounds bounds the statements of each Update in a group.
	maxRounds = 16
	// roundTimeout bounds how long the functions of a group run between two round trips.
	roundTimeout = 250 * time.Millisecond
	// maxMergedSize is up to how many bytes of arguments a statement has to be merged with others.
	maxMergedSize = 64 << 10
)

// group is one transaction that several Updates share. Its leader sends statements and reads results while every
// function waits. The functions run while the leader waits. The package comment has the states.
type group struct {
	size    int
	begun   bool          // the transaction has begun; only the leader uses it
	idle    chan struct{} // receives once no function runs
	done    chan struct{} // is closed once outcome is set
	outcome error

	mu         sync.Mutex
	pending    []*participant // wait for the result of a statement
	running    int            // participants whose function runs
	aborted    bool           // the transaction must not commit
	committing bool           // COMMIT is next, so nobody withdraws
}

// newGroup makes a group of participants, each with its first statement.
func newGroup(members []*participant) *group {
	return &group{size: len(members), pending: members, idle: make(chan struct{}, 1), done: make(chan struct{})}
}

// step is what the leader does after a round.
type step int

const (
	stepAbort  step = iota // roll back
	stepFlush              // send the next statements
	stepCommit             // send COMMIT
)

// run executes the transaction of the group up to COMMIT. On an error the caller rolls back.
func (g *group) run(c *conn) error {
	for range maxRounds {
		if err := g.flush(c); err != nil {
			return err
		}
		switch g.runRound() {
		case stepAbort:
			return errRetryIndividually
		case stepCommit:
			return c.commit()
		}
	}
	return errRetryIndividually
}

// flush sends all pending statements in one round trip and assigns the results. The first flush also begins the
// transaction, unless that was done before.
func (g *group) flush(c *conn) (err error) {
	var batch pgconn.Batch
	var before []*sqlstore.Statement
	if !g.begun {
		before, g.begun = []*sqlstore.Statement{beginWrite, groupSettings}, true
	}
	if err := c.appendAll(&batch, before); err != nil {
		return err
	}
	merged := mergeStatements(g.pending)
	for i := range merged {
		if err := merged[i].appendTo(c, &batch); err != nil {
			return err
		}
	}
	c.setDeadline()
	results := c.pg.ExecBatch(context.Background(), &batch)
	for i := 0; i < len(before) && err == nil; i++ {
		_, err = c.readResult(results)
	}
	for i := 0; i < len(merged) && err == nil; i++ {
		err = merged[i].readResults(c, results)
	}
	return errors.Join(err, results.Close())
}

// runRound wakes the participants with their results and waits until every function has another statement or has
// returned.
func (g *group) runRound() step {
	if !g.wakePending() {
		return stepAbort
	}
	select {
	case <-g.idle:
	case <-time.After(roundTimeout):
		return stepAbort
	}
	return g.nextStep()
}

// wakePending wakes the participants that wait for a result, unless the group is aborted.
func (g *group) wakePending() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.aborted {
		return false
	}
	g.running = len(g.pending)
	for _, p := range g.pending {
		p.ready <- struct{}{}
	}
	g.pending = g.pending[:0]
	return true
}

// nextStep decides what follows a round.
func (g *group) nextStep() step {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.aborted:
		return stepAbort
	case len(g.pending) > 0:
		return stepFlush
	}
	g.committing = true
	return stepCommit
}

// enqueueStatement queues the next statement of a participant whose function was running.
func (g *group) enqueueStatement(p *participant) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.done: // the leader has given up on the round
		p.ready <- struct{}{}
	default:
		g.pending = append(g.pending, p)
		g.participantIdle()
	}
}

// finishFunction records that the function of a participant has returned. The group is aborted if the function leaves
// changes behind that must not be kept.
func (g *group) finishFunction(leavesChanges bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.aborted = g.aborted || leavesChanges
	g.participantIdle()
}

// participantIdle counts a participant whose function no longer runs. The caller holds g.mu.
func (g *group) participantIdle() {
	g.running--
	if g.running == 0 {
		g.idle <- struct{}{}
	}
}

// withdraw aborts the group on behalf of a participant that no longer waits. It returns false if the participant has
// a result, or if COMMIT may be on its way.
func (g *group) withdraw(p *participant) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(p.ready) > 0 || g.committing {
		return false
	}
	p.withdrawn, g.aborted = true, true
	return true
}

// complete publishes the outcome to all participants.
func (g *group) complete(outcome error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.outcome = outcome
	close(g.done)
	for _, p := range g.pending {
		p.ready <- struct{}{}
	}
}

// mergedStatement is a statement that is sent once for one or more participants.
type mergedStatement struct {
	*sqlstore.Statement
	of []*participant
}

// mergeStatements merges equal statements of different participants. Participants whose rows get the same revision stay
// apart, because the results are told apart by it.
func mergeStatements(pending []*participant) []mergedStatement {
	merged := make([]mergedStatement, 0, len(pending))
next:
	for _, p := range pending {
		if p.statement.Batched != nil && len(p.params.memory) <= maxMergedSize {
			for i := range merged {
				m := &merged[i]
				if m.Statement == p.statement && !m.hasRevision(p) {
					m.of = append(m.of, p)
					continue next
				}
			}
		}
		merged = append(merged, mergedStatement{p.statement, []*participant{p}})
	}
	return merged
}

// hasRevision reports whether the statement writes a row with the revision of the participant's row.
func (m *mergedStatement) hasRevision(p *participant) bool {
	return m.Rev != sqlstore.NoRev && slices.ContainsFunc(m.of, func(o *participant) bool { return o.revision() == p.revision() })
}

// hasChanged reports whether the statement has changed the row of a participant. r is the result for all participants.
func (m *mergedStatement) hasChanged(p *participant, r result) bool {
	return m.Rev == sqlstore.NoRev || slices.ContainsFunc(r.rows, func(row []driver.Value) bool { return row[0] == p.revision() })
}

// appendTo appends the statement to a batch.
func (m *mergedStatement) appendTo(c *conn, b *pgconn.Batch) error {
	if len(m.of) == 1 {
		return c.appendTo(context.Background(), b, m.Statement, m.of[0].params)
	}
	// Preparing tells the types of all arguments, including those that are NULL.
	if err := c.prepare(context.Background(), m.Statement, m.of[0].params); err != nil {
		return err
	}
	if err := c.params.setArrays(c.prepared[m.Statement].ParamOIDs, m.of); err != nil {
		return err
	}
	return c.appendTo(context.Background(), b, m.Batched, &c.params)
}

// readResults reads the result of the statement and assigns it to the participants.
func (m *mergedStatement) readResults(c *conn, results *pgconn.MultiResultReader) error {
	r, err := c.readResult(results)
	for _, p := range m.of {
		p.refused = isRefusal(err)
		if len(m.of) == 1 {
			p.result = r
		} else {
			p.result = result{}
			if m.hasChanged(p, r) {
				p.result.changed = 1
			}
		}
		p.wrote = p.wrote || m.Write && p.result.changed > 0
	}
	return err
}

// result is the result of a statement, in memory. It implements [sqlstore.Rows].
type result struct {
	changed int64 // rows
	rows    [][]driver.Value
}

func (r *result) Next(row []driver.Value) error {
	if len(r.rows) == 0 {
		return io.EOF
	}
	copy(row, r.rows[0])
	r.rows = r.rows[1:]
	return nil
}

func (r *result) Close() error { return nil }

// participant is one Update in a group, from its first statement on.
type participant struct {
	committer *groupCommitter
	group     *group // nil: queued; guarded by committer.mu until ready has received
	withdrawn bool   // its Update has returned before the group was done
	wrote     bool   // it has changed rows
	refused   bool   // the server refused its statement, which aborted the group
	statement *sqlstore.Statement
	params    *params
	result    result
	ready     chan struct{} // receives once there is a result, or the group is done
}

// execute hands over a statement and waits for its result.
func (p *participant) execute(ctx context.Context, statement *sqlstore.Statement) (result, error) {
	p.statement = statement
	if p.group == nil {
		p.committer.enqueue(p)
	} else {
		p.group.enqueueStatement(p)
	}
	select {
	case <-p.ready:
	case <-ctx.Done():
		if p.withdraw() {
			return result{}, ctx.Err()
		}
		<-p.ready
	}
	select {
	case <-p.group.done:
		return result{}, p.group.outcome
	default:
		return p.result, nil
	}
}

// finishUpdate hands over whether the changes of the function may be kept, and waits for the outcome of the group.
func (p *participant) finishUpdate(ctx context.Context, keep bool) error {
	if p.withdrawn || p.group == nil {
		return nil // execute has returned the cause
	}
	p.group.finishFunction(p.wrote && !keep)
	select {
	case <-p.group.done:
	case <-ctx.Done():
		if p.withdraw() {
			return ctx.Err()
		}
		<-p.group.done
	}
	return p.group.outcome
}

// withdraw ends the wait for a result or for the outcome. It returns false if either is about to arrive.
func (p *participant) withdraw() bool {
	if g := p.committer.withdraw(p); g != nil {
		return g.withdraw(p)
	}
	return true
}

// revision returns the revision of the row that a mergeable statement writes.
func (p *participant) revision() int64 {
	return int64(binary.BigEndian.Uint64(p.params.values[p.statement.Rev]))
}
