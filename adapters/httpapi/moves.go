package httpapi

import (
	"context"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// migrationView is a migration as administrators see it.
type migrationView struct {
	ID          string                 `json:"id"`
	SessionID   string                 `json:"sessionId"`
	UserID      string                 `json:"userId"`
	Kind        domain.MigrationKind   `json:"kind"`
	Status      domain.MigrationStatus `json:"status"`
	FromWorker  string                 `json:"fromWorker"`
	ToWorker    optional               `json:"toWorker"`
	BatchID     optional               `json:"batchId"`
	Reason      optional               `json:"reason"`
	Error       optional               `json:"error"`
	CreatedAt   stamp                  `json:"createdAt"`
	StartedAt   stamp                  `json:"startedAt"`
	CompletedAt stamp                  `json:"completedAt"`
	Duration    figure                 `json:"duration"` // milliseconds from start to end; null before
}

func viewMigration(m *domain.Migration) migrationView {
	v := migrationView{
		ID: m.ID, SessionID: m.SessionID, UserID: m.UserID, Kind: m.Kind, Status: m.Status,
		FromWorker: m.FromWorker, ToWorker: optional(m.ToWorker), BatchID: optional(m.BatchID),
		Reason: optional(m.Reason), Error: optional(m.Error),
		CreatedAt: stamp(m.CreatedAt), StartedAt: stamp(m.StartedAt), CompletedAt: stamp(m.CompletedAt), Duration: -1,
	}
	if !m.StartedAt.IsZero() && !m.CompletedAt.IsZero() {
		v.Duration = milliseconds(m.CompletedAt.Sub(m.StartedAt))
	}
	return v
}

func viewMigrations(list []*domain.Migration) []migrationView {
	views := make([]migrationView, len(list))
	for i, m := range list {
		views[i] = viewMigration(m)
	}
	return views
}

func (a *api) migrate(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	target, reason, err := decodeMigrate(b)
	if err != nil {
		return nil, err
	}
	m, err := a.Operations.Migrate(ctx, c.sessionRef(), target, reason)
	if err != nil {
		return nil, err
	}
	switch m.Status {
	case domain.MigrationPending:
		c.message = "Session will migrate when its turn comes"
	case domain.MigrationRunning:
		c.message = "Session is migrating"
	case domain.MigrationFailed, domain.MigrationCancelled:
		c.message = "Session did not migrate"
	}
	return struct {
		Migration migrationView `json:"migration"`
	}{viewMigration(m)}, nil
}

func decodeMigrate(b *body) (target, reason string, err error) {
	var targetID, why *string
	for b.next() {
		switch b.member() {
		case "targetWorkerId":
			b.optional(&targetID)
		case "reason":
			b.optional(&why)
		}
	}
	target, reason = b.target(targetID), b.reason(why)
	return target, reason, b.end()
}

// target is where sessions are to go, or "" for anywhere.
func (b *body) target(id *string) string {
	if id == nil || *id == "" {
		return ""
	}
	target, err := domain.NormalizeWorkerID(*id)
	b.check("targetWorkerId", err)
	return target
}

func (b *body) reason(text *string) string {
	if text == nil {
		return ""
	}
	reason, err := domain.CheckReason(*text)
	b.check("reason", err)
	return reason
}

func (a *api) migrations(ctx context.Context, c *call) (any, error) {
	q := c.query()
	var f ports.MigrationFilter
	parse(q, "sessionId", &f.SessionID, sessionRef)
	parse(q, "workerId", &f.WorkerID, workerRef)
	q.text("batchId", &f.BatchID)
	parse(q, "status", &f.Status, oneOf(domain.MigrationPending, domain.MigrationRunning,
		domain.MigrationCompleted, domain.MigrationFailed, domain.MigrationCancelled))
	parse(q, "kind", &f.Kind, oneOf(domain.MigrationByOperator, domain.MigrationByDrain, domain.MigrationByRebalance, domain.MigrationByFailover))
	p := q.page()
	if err := q.end(); err != nil {
		return nil, err
	}
	list, total, err := a.Operations.ListMigrations(ctx, f, p.Page)
	if err != nil {
		return nil, err
	}
	return struct {
		Migrations []migrationView `json:"migrations"`
		Pagination pagination      `json:"pagination"`
	}{viewMigrations(list), p.of(total)}, nil
}

// sessionRef and workerRef read an id to look for, in its one spelling.
func sessionRef(s string) (string, error) { return domain.NormalizeSessionRef(clean(s, maxID)), nil }
func workerRef(s string) (string, error)  { return domain.NormalizeWorkerRef(clean(s, maxID)), nil }

func (a *api) cancelMigrations(ctx context.Context, c *call) (any, error) {
	cancelled, running, err := a.Operations.CancelMigrations(ctx, c.param("id"))
	if err != nil {
		return nil, err
	}
	c.message = counted(len(cancelled), "migration") + " cancelled"
	if running > 0 {
		c.message += fmt.Sprintf("; %d had begun and take their course", running)
	}
	return struct {
		Cancelled  int             `json:"cancelled"`
		Running    int             `json:"running"`
		Migrations []migrationView `json:"migrations"`
	}{len(cancelled), running, viewMigrations(cancelled)}, nil
}

// counted puts a noun after a number.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

type plannedView struct {
	SessionID  string `json:"sessionId"`
	UserID     string `json:"userId"`
	FromWorker string `json:"fromWorker"`
	ToWorker   string `json:"toWorker"`
}

// balanceView is how full a worker is.
type balanceView struct {
	SessionCount int    `json:"sessionCount"`
	Load         figure `json:"load"` // percent of its capacity
}

type rebalancedView struct {
	WorkerID    string      `json:"workerId"`
	MaxSessions int         `json:"maxSessions"`
	Before      balanceView `json:"before"`
	After       balanceView `json:"after"`
}

func (a *api) rebalance(ctx context.Context, c *call) (any, error) {
	dryRun, err := c.dryRun()
	if err != nil {
		return nil, err
	}
	r, err := a.Operations.Rebalance(ctx, service.RebalanceOptions{DryRun: dryRun})
	if err != nil {
		return nil, err
	}
	v := struct {
		DryRun  bool             `json:"dryRun"`
		BatchID optional         `json:"batchId"`
		Moves   []plannedView    `json:"moves"`
		Left    int              `json:"left"` // moves that the next rebalance would make
		Workers []rebalancedView `json:"workers"`
	}{r.DryRun, optional(r.BatchID), make([]plannedView, len(r.Moves)), r.RemainingMoves, make([]rebalancedView, len(r.Workers))}
	for i, m := range r.Moves {
		v.Moves[i] = plannedView(m)
	}
	for i, w := range r.Workers {
		full := func(n int) balanceView { return balanceView{n, figure(100 * float64(n) / float64(max(w.Capacity, 1)))} }
		v.Workers[i] = rebalancedView{w.WorkerID, w.Capacity, full(w.Before), full(w.After)}
	}
	switch {
	case len(r.Moves) == 0:
		c.message = "The load is even; nothing has to move"
	case dryRun:
		c.message = "A rebalance would move " + counted(len(r.Moves), "session")
	default:
		c.message = counted(len(r.Moves), "session") + " will move, a few at a time; follow them with GET /admin/migrations?batchId=" + r.BatchID
	}
	if r.RemainingMoves > 0 {
		c.message += fmt.Sprintf("; %d more are left to the next rebalance", r.RemainingMoves)
	}
	return v, nil
}

// dryRun reads the query and the body, either of which may ask for the plan
// alone. What looks like it is not overlooked.
func (c *call) dryRun() (bool, error) {
	q := c.query()
	q.only("dryRun")
	var query, said bool
	q.flag("dryRun", &query)
	if err := q.end(); err != nil {
		return false, err
	}
	b, err := c.read()
	if err != nil {
		return false, err
	}
	for b.next() {
		if b.member() == "dryRun" {
			b.bool(&said)
		} else {
			b.unknown("dryRun")
		}
	}
	return query || said, b.end()
}

// drainView is how far a drain is.
type drainView struct {
	BatchID   string `json:"batchId"`
	Total     int    `json:"total"`
	Remaining int    `json:"remaining"`
	Moving    int    `json:"moving"`
	Moved     int    `json:"moved"`
	Failed    int    `json:"failed"`
}

func viewDrain(d *service.DrainProgress) *drainView {
	if d == nil {
		return nil
	}
	v := drainView(*d)
	return &v
}

// bulkView says what became of one session.
type bulkView struct {
	SessionID string     `json:"sessionId"`
	OK        bool       `json:"ok"`
	Error     *bulkError `json:"error,omitzero"`
}

type bulkError struct {
	Code    domain.Code `json:"code"`
	Message string      `json:"message"`
}

func (a *api) bulkSessions(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	in, err := decodeBulk(b)
	if err != nil {
		return nil, err
	}
	results, err := a.Operations.Bulk(ctx, in)
	if err != nil {
		return nil, err
	}
	v := struct {
		Action  service.BulkAction `json:"action"`
		Total   int                `json:"total"`
		OK      int                `json:"ok"`
		Failed  int                `json:"failed"`
		Results []bulkView         `json:"results"`
	}{Action: in.Action, Total: len(results), Results: make([]bulkView, len(results))}
	for i, r := range results {
		v.Results[i] = bulkView{SessionID: r.SessionID, OK: r.Err == nil}
		if r.Err == nil {
			v.OK++
			continue
		}
		v.Failed++
		f := explain(r.Err)
		v.Results[i].Error = &bulkError{f.code, f.message}
		if f.status >= 500 {
			c.Log().ErrorContext(ctx, "bulk action", "request", c.id, "session", r.SessionID, "error", r.Err)
		}
	}
	c.message = fmt.Sprintf("%s accepted, %d refused", counted(v.OK, "session"), v.Failed)
	return v, nil
}

func decodeBulk(b *body) (service.BulkRequest, error) {
	var in service.BulkRequest
	var action, target, why *string
	var ids []string
	listed, filtered := false, false
	for b.next() {
		switch b.member() {
		case "action":
			b.optional(&action)
		case "sessionIds":
			listed = b.strings(&ids)
		case "filter":
			if filtered = b.object(); filtered {
				in.Filter = b.sessionFilter()
			}
		case "targetWorkerId":
			b.optional(&target)
		case "reason":
			b.optional(&why)
		default:
			b.unknown("action, sessionIds, filter, targetWorkerId or reason")
		}
	}
	if raw := b.need("action", action, "Action"); raw != "" {
		word, err := oneOf(service.BulkRestart, service.BulkDisconnect, service.BulkMigrate, service.BulkDelete)(raw)
		b.check("action", err)
		in.Action = word
	}
	switch {
	case listed && filtered:
		b.once("sessionIds", "Give sessionIds or a filter, not both")
	case filtered && in.Filter == (ports.SessionFilter{}):
		b.once("filter", "Filter must say something: status, workerId, userId or search")
	case !filtered && len(ids) == 0:
		b.once("sessionIds", "sessionIds or a filter is required")
	case len(ids) > service.BulkLimit:
		b.once("sessionIds", "At most %d sessions at once; use several requests", service.BulkLimit)
	}
	for i, id := range ids {
		if ids[i] = domain.NormalizeSessionRef(clean(id, maxID)); strings.TrimSpace(id) == "" {
			b.once(fmt.Sprintf("sessionIds[%d]", i), "Session ID is required")
		}
	}
	in.SessionIDs, in.TargetWorkerID, in.Reason = ids, b.target(target), b.reason(why)
	if target != nil && in.Action != "" && in.Action != service.BulkMigrate {
		b.once("targetWorkerId", "targetWorkerId goes with the action migrate only")
	}
	return in, b.end()
}

// sessionFilter reads the object that was entered. A criterion that says nothing,
// or is overlooked, would have the action done to the sessions of others, too.
func (b *body) sessionFilter() ports.SessionFilter {
	var f ports.SessionFilter
	var status string
	for b.next() {
		switch b.member() {
		case "status":
			b.criterion(&status)
		case "workerId":
			b.criterion(&f.WorkerID)
			f.WorkerID = domain.NormalizeWorkerRef(f.WorkerID)
		case "userId":
			b.criterion(&f.UserID)
		case "search":
			b.criterion(&f.Search)
		default:
			b.unknown("status, workerId, userId or search")
		}
	}
	if status != "" {
		word, err := domain.ParseStatus(status)
		b.check("filter.status", err)
		f.Status = word
	}
	return f
}

// criterion reads a text to look for, which must be there.
func (b *body) criterion(to *string) {
	var s string
	if b.kind() == jsontext.KindNull {
		b.skip()
	} else if !b.string(&s) {
		return
	}
	if s = strings.TrimSpace(s); s == "" || !searchable(s) {
		b.mistyped(fmt.Sprintf("plain text of 1 to %d bytes; leave out what does not matter", maxID))
		return
	}
	*to = s
}

func (a *api) allSessions(ctx context.Context, c *call) (any, error) {
	q := c.query()
	var f ports.SessionFilter
	parse(q, "status", &f.Status, domain.ParseStatus)
	parse(q, "workerId", &f.WorkerID, workerRef)
	q.text("userId", &f.UserID)
	q.text("search", &f.Search)
	p := q.page()
	if err := q.end(); err != nil {
		return nil, err
	}
	list, total, err := a.Operations.ListSessions(ctx, f, p.Page)
	if err != nil {
		return nil, err
	}
	return sessionList(list, p, total, true), nil
}

func (a *api) removeSession(ctx context.Context, c *call) (any, error) {
	id := c.sessionRef()
	if err := a.Operations.DeleteSession(ctx, id); err != nil {
		return nil, err
	}
	return deletedSession{id, true}, nil
}
