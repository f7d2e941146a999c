package postgres

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/switchyard-wa/switchyard/adapters/internal/sqlstore"
)

const (
	// shortAtOnce and longAtOnce are how many groups run at a time. The second short
	// one runs only while there are Updates enough: large groups cost least.
	shortAtOnce, longAtOnce = 2, 1
	groupEnough             = 32
	// groupSize is how many Updates a group has at most, and groupRounds how
	// many statements each of them.
	groupSize   = 128
	groupRounds = 16
	// smallEnough are arguments, in bytes, that go out together with others.
	smallEnough = 64 << 10
	// groupPatience is how long the functions of a group may take between two
	// round trips before each has to run on its own.
	groupPatience = 250 * time.Millisecond
	// scatter is within which time the Updates of a group that failed begin again.
	scatter = 10 * time.Millisecond
)

// settings have a group give up early on a row that somebody else holds: two groups
// may each wait for what the other has. And they have the server look for rows by
// their keys, also while it takes a table that grows for a small one.
var settings = &sqlstore.Statement{
	SQL: "SELECT set_config('lock_timeout', '100ms', true), set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true)",
}

// longTurn has the long groups of all replicas take turns: most of them want the same
// few rows, such as the one that numbers events.
var longTurn = &sqlstore.Statement{SQL: "SELECT 1 FROM pg_advisory_xact_lock(7526768903562)"}

// errAlone: the group was rolled back, and its Updates are to run on their own.
var errAlone = errors.New("postgres: the Update runs again on its own")

// groups have Updates share transactions. The functions of a group run at the
// same time, each in the goroutine of its Update, and halt at every statement
// until all have come to one or to their end. Then the statements go out
// together.
type groups struct {
	store  *Store
	atOnce int                 // groups
	turn   *sqlstore.Statement // what a group waits for before it is formed; nil: nothing

	mu      sync.Mutex
	waiting []*seat // for a group
	running int
	trust   int // how many the next group has at most, after one that failed; 0: groupSize
}

// group is a transaction that several Updates share.
type group struct {
	begun      bool // its transaction
	mu         sync.Mutex
	asking     []*seat       // have halted at a statement
	thinking   int           // how many run their function
	broken     bool          // it cannot be committed
	committing bool          // nobody leaves any more
	halted     chan struct{} // receives when nobody is thinking
	over       chan struct{} // is closed once the outcome stands
	outcome    error
}

// seat is the part of one Update in a group.
type seat struct {
	groups   *groups
	group    *group // nil: waiting for one; guarded by groups.mu until answered
	left     bool   // its Update has ended before the group
	wrote    bool   // it has changed something
	refused  bool   // its statement was, which broke the group
	asked    *sqlstore.Statement
	params   *params
	answer   reply
	answered chan struct{} // receives once there is an answer, or the group is over
}

// reply is the answer to a statement, in memory. It implements [sqlstore.Rows].
type reply struct {
	changed int64 // rows
	rows    [][]driver.Value
}

func (r *reply) Next(row []driver.Value) error {
	if len(r.rows) == 0 {
		return io.EOF
	}
	copy(row, r.rows[0])
	r.rows = r.rows[1:]
	return nil
}

func (r *reply) Close() error { return nil }

// ask halts until the statement is answered.
func (s *seat) ask(ctx context.Context, statement *sqlstore.Statement) (reply, error) {
	s.asked = statement
	if s.group == nil {
		s.groups.join(s)
	} else {
		s.group.halt(s)
	}
	select {
	case <-s.answered:
	case <-ctx.Done():
		if s.leave() {
			return reply{}, ctx.Err()
		}
		<-s.answered
	}
	select {
	case <-s.group.over:
		return reply{}, s.group.outcome
	default:
		return s.answer, nil
	}
}

// vote says how the function has ended, and gives the outcome of the group.
func (s *seat) vote(ctx context.Context, keep bool) error {
	if s.left || s.group == nil {
		return nil // what counts is why
	}
	g := s.group
	g.mu.Lock()
	g.broken = g.broken || s.wrote && !keep
	g.rest()
	g.mu.Unlock()
	select {
	case <-g.over:
	case <-ctx.Done():
		if s.leave() {
			return ctx.Err()
		}
		<-g.over
	}
	return g.outcome
}

// leave ends the wait for an answer or the outcome, unless it is there or the
// outcome is not in our hands any more.
func (s *seat) leave() bool {
	s.groups.mu.Lock()
	g := s.group
	if g == nil {
		s.groups.waiting = slices.DeleteFunc(s.groups.waiting, func(o *seat) bool { return o == s })
		s.left = true
	}
	s.groups.mu.Unlock()
	if g == nil {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(s.answered) > 0 || g.committing {
		return false
	}
	s.left, g.broken = true, true
	return true
}

// join adds a seat, which asks, to those that wait for a group.
func (g *groups) join(s *seat) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = append(g.waiting, s)
	if g.running == 0 || g.running < g.atOnce && len(g.waiting) >= groupEnough {
		g.running++
		go g.run()
	}
}

// run has groups formed until nobody waits.
func (g *groups) run() {
	for g.goesOn() {
		if crowd := g.one(); crowd > 1 {
			g.gather()
		}
	}
}

// goesOn reports whether there is a group for this goroutine to form.
func (g *groups) goesOn() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.waiting)
	if n == 0 || g.running > 1 && n < groupEnough {
		g.running--
		return false
	}
	return true
}

// one forms a group of those who wait once it is the group's turn, and gives how
// many they are.
func (g *groups) one() int {
	pooled, err := g.store.acquire(context.Background())
	if err != nil {
		next := g.form()
		next.end(apart(err))
		return len(next.asking)
	}
	c := ours(pooled)
	defer c.back(pooled)
	if g.turn != nil {
		err = c.transact(beginWrite, g.turn, settings)
	}
	next := g.form()
	crowd := len(next.asking)
	if next.begun = g.turn != nil; err == nil && crowd > 0 {
		err = next.transact(c)
	}
	if (err != nil || crowd == 0) && !errors.Is(err, ErrUncertain) {
		_, _ = c.do(rollback) // or else the pool closes the connection
	}
	if err != nil && !errors.Is(err, ErrUncertain) {
		err = apart(err)
	}
	g.learn(crowd, err)
	next.end(err)
	return crowd
}

// learn has the next groups be smaller after one whose members have to run again on
// their own, and larger again as they succeed. An Update that was by itself was in
// nobody's way.
func (g *groups) learn(crowd int, outcome error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case errors.Is(outcome, errAlone) && crowd > 1:
		g.trust = max(crowd/4, 1)
	case outcome != nil:
	case g.trust > 0 && crowd >= g.trust:
		if g.trust += max(g.trust/4, 1); g.trust >= groupSize {
			g.trust = 0
		}
	}
}

// form gives a group of those who wait, if there is anybody.
func (g *groups) form() *group {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.waiting), groupSize)
	if g.trust > 0 {
		n = min(n, g.trust)
	}
	next := &group{
		asking: slices.Clone(g.waiting[:n]), halted: make(chan struct{}, 1), over: make(chan struct{}),
	}
	g.waiting = slices.Delete(g.waiting, 0, n)
	for _, s := range next.asking {
		s.group = next
	}
	return next
}

// gather lets those who were just told the outcome go on: they may have more to
// write, and then it is in the next group and not in the one after it. It waits
// for nothing, and only as long as more come.
func (g *groups) gather() {
	for came := 0; ; {
		runtime.Gosched()
		g.mu.Lock()
		n := len(g.waiting)
		g.mu.Unlock()
		if n == came {
			return
		}
		came = n
	}
}

// transact runs everything but the end of a group that fails.
func (g *group) transact(c *conn) error {
	for round := range groupRounds {
		if err := g.exchange(c, round == 0 && !g.begun); err != nil {
			return err
		}
		if !g.think() {
			break
		}
		if g.committing {
			return c.commit()
		}
	}
	return errAlone
}

// apart says what comes of a group that failed: unless the server does not
// answer at all, its Updates may do better on their own.
func apart(err error) error {
	if pgconn.Timeout(err) || errors.Is(err, ErrUnavailable) {
		return err
	}
	return errAlone
}

// exchange sends what is asked, after the begin of the transaction if it is to, and
// reads the answers.
func (g *group) exchange(c *conn, begin bool) (err error) {
	var batch pgconn.Batch
	var before []*sqlstore.Statement
	if begin {
		before = []*sqlstore.Statement{beginWrite, settings}
	}
	if err := c.addAll(&batch, before); err != nil {
		return err
	}
	calls := g.calls()
	for i := range calls {
		if err := calls[i].add(c, &batch); err != nil {
			return err
		}
	}
	c.hurry()
	results := c.pg.ExecBatch(context.Background(), &batch)
	for i := 0; i < len(before) && err == nil; i++ {
		_, err = c.collect(results)
	}
	for i := 0; i < len(calls) && err == nil; i++ {
		err = calls[i].answer(c, results)
	}
	return errors.Join(err, results.Close())
}

// call is a statement that goes out for one seat, or at once for several.
type call struct {
	statement *sqlstore.Statement
	seats     []*seat
}

// calls gives what is asked, in as few statements as can be.
func (g *group) calls() []call {
	calls := make([]call, 0, len(g.asking))
next:
	for _, s := range g.asking {
		if s.asked.Together != nil && len(s.params.memory) <= smallEnough {
			for i := range calls {
				if c := &calls[i]; c.statement == s.asked && !slices.ContainsFunc(c.seats, func(o *seat) bool { return o.rev() == s.rev() }) {
					c.seats = append(c.seats, s)
					continue next
				}
			}
		}
		calls = append(calls, call{s.asked, []*seat{s}})
	}
	return calls
}

// rev is what a statement that can go out with others makes of the row's rev.
func (s *seat) rev() int64 { return int64(binary.BigEndian.Uint64(s.params.values[s.asked.Rev])) }

func (a *call) add(c *conn, b *pgconn.Batch) error {
	if len(a.seats) == 1 {
		return c.add(context.Background(), b, a.statement, a.seats[0].params)
	}
	// The server knows the types, also of what is NULL.
	if err := c.prepare(context.Background(), a.statement, a.seats[0].params); err != nil {
		return err
	}
	if err := c.params.arrays(c.prepared[a.statement].ParamOIDs, a.seats); err != nil {
		return err
	}
	return c.add(context.Background(), b, a.statement.Together, &c.params)
}

func (a *call) answer(c *conn, results *pgconn.MultiResultReader) error {
	r, err := c.collect(results)
	for _, s := range a.seats {
		if s.refused = refusal(err); len(a.seats) == 1 {
			s.answer = r
		} else {
			s.answer = reply{}
			if slices.ContainsFunc(r.rows, func(row []driver.Value) bool { return row[0] == s.rev() }) {
				s.answer.changed = 1
			}
		}
		s.wrote = s.wrote || s.asked.Write && s.answer.changed > 0
	}
	return err
}

// addAll adds statements of transactions to a batch.
func (c *conn) addAll(b *pgconn.Batch, statements []*sqlstore.Statement) error {
	for _, s := range statements {
		if err := c.add(context.Background(), b, s, none); err != nil {
			return err
		}
	}
	return nil
}

// transact runs statements of transactions.
func (c *conn) transact(statements ...*sqlstore.Statement) error {
	var batch pgconn.Batch
	if err := c.addAll(&batch, statements); err != nil {
		return err
	}
	c.hurry()
	return c.pg.ExecBatch(context.Background(), &batch).Close()
}

// collect reads the answer to the next statement of a batch.
func (c *conn) collect(results *pgconn.MultiResultReader) (a reply, err error) {
	if !results.NextResult() {
		return a, results.Close()
	}
	r := rows{conn: c, one: results.ResultReader()}
	columns := len(r.one.FieldDescriptions())
	for err == nil && columns > 0 {
		row := make([]driver.Value, columns)
		if err = r.next(row); err == nil {
			a.rows = append(a.rows, row)
		}
	}
	tag, failure := r.finish()
	if a.changed = tag.RowsAffected(); failure != nil || errors.Is(err, io.EOF) {
		err = failure
	}
	return a, err
}

// think hands out the answers and waits until everybody has halted again. It
// reports whether the group goes on.
func (g *group) think() bool {
	g.mu.Lock()
	if g.broken {
		g.mu.Unlock()
		return false
	}
	g.thinking = len(g.asking)
	for _, s := range g.asking {
		s.answered <- struct{}{}
	}
	g.asking = g.asking[:0]
	g.mu.Unlock()
	select {
	case <-g.halted:
	case <-time.After(groupPatience):
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.committing = !g.broken && len(g.asking) == 0
	return !g.broken
}

// halt takes note that somebody who was thinking asks.
func (g *group) halt(s *seat) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.over:
		s.answered <- struct{}{}
	default:
		g.asking = append(g.asking, s)
		g.rest()
	}
}

// rest takes note that somebody is not thinking any more.
func (g *group) rest() {
	if g.thinking--; g.thinking == 0 {
		g.halted <- struct{}{}
	}
}

// end tells everybody.
func (g *group) end(outcome error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.outcome = outcome
	close(g.over)
	for _, s := range g.asking {
		s.answered <- struct{}{}
	}
}
