package sqlstore

import (
	"context"
	"errors"
	"time"

	sq "github.com/Masterminds/squirrel"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var sessionsTable = table{
	name: "sessions", key: []string{"id"}, fixed: []string{"user_id", "created_at"},
	rest: []string{
		"name", "description", "display_name", "phone_number",
		"intent", "status", "status_at", "was_connected", "last_error",
		"worker_id", "generation", "assigned_at", "home_id", "moved_from", "move_event",
		"pending_order", "confirms", "tries", "misses", "restarts",
		"settle_at", "logged_out", "avoid_id", "avoid_until",
		"qr_code", "qr_image", "qr_expires_at", "pairing_phone", "pairing_code",
		"due_at", "reported_at", "heard_at", "last_seen_at", "updated_at",
		"claimed_by", "claimed_until", "move_id", "move_to", "scan_restarted",
		"unscanned", "connected_from",
		"home_group", "home_policy", "home_wait_until",
	},
}

func scanSession(r row) *domain.Session {
	return &domain.Session{
		ID: r.text(0), UserID: r.text(1), CreatedAt: r.time(2),
		Name: r.text(3), Description: r.text(4), DisplayName: r.text(5), PhoneNumber: r.text(6),
		Intent: domain.Intent(r.text(7)), Status: domain.Status(r.text(8)), StatusAt: r.time(9),
		WasConnected: r.bool(10), LastError: r.text(11),
		WorkerID: r.text(12), Generation: r.int64(13), AssignedAt: r.time(14), CredentialsWorkerID: r.text(15),
		PreviousWorkerID: r.text(16), PlacementEvent: domain.EventType(r.text(17)),
		Command: domain.Command(r.text(18)), Confirmed: r.bool(19), Attempts: r.int(20), FailedStarts: r.int(21), Restarts: r.int(22),
		DebounceUntil: r.time(23), LoggedOut: r.bool(24), ExcludedWorkerID: r.text(25), ExcludedUntil: r.time(26),
		QR:           domain.QR{Code: r.text(27), Image: r.bytes(28), ExpiresAt: r.time(29)},
		PairingPhone: r.text(30), PairingCode: r.text(31),
		DueAt: r.time(32), LastReportWorkerTime: r.time(33), LastReportAppliedAt: r.time(34), LastSeenAt: r.time(35), UpdatedAt: r.time(36),
		ClaimedBy: r.text(37), ClaimedUntil: r.time(38), MigrationID: r.text(39), MigrationTargetID: r.text(40),
		ScanRestarted: r.bool(41), UnscannedRuns: r.int(42), ConnectedFrom: r.text(43),
		CredentialsGroup: r.text(44), HomePolicy: domain.HomePolicy(r.text(45)), HomeWaitUntil: r.time(46),
		Rev: r.int64(47),
	}
}

// awaitsScan is the condition of the partial index sessions_awaiting_scan.
const awaitsScan = "intent = 'UP' AND home_id = '' AND status IN ('INIT', 'QR_REQUIRED')"

type sessionStatements struct {
	putStatements
	get, generation, remove, bury, lastGeneration, assigned, eachAssigned, due, nextDue, claimedBy, countByStatus *Statement
}

func (b *Queries) sessionStatements() sessionStatements {
	sessions := selectFrom("sessions", sessionsTable.columns()...)
	return sessionStatements{
		putStatements: b.putStatements(sessionsTable),
		get:           b.read(sessions.where(equal("id"))),
		generation:    b.read(selectFrom("sessions", "generation").where(equal("id", "rev"))),
		remove:        b.write(b.deleteFrom("sessions", equal("id", "rev"))),
		bury: b.write(insertInto("tombstones", "session_id", "generation").Suffix("ON CONFLICT (session_id) DO UPDATE " +
			"SET generation = excluded.generation WHERE excluded.generation > tombstones.generation")),
		lastGeneration: b.read(selectFrom("tombstones", "generation").where(equal("session_id"))),
		assigned:       b.read(sessions.where("worker_id = ? AND worker_id <> ''").order("id")),
		// The condition is not worker_id <> '': SQLite would use the index on that, and reading the table in the order of
		// its key is faster.
		eachAssigned:  b.scan(sessions.where("id > ? AND worker_id > ''").order("id").limit()),
		due:           b.read(sessions.where("due_at <= ? AND due_at IS NOT NULL").order("due_at", "id").limit()),
		nextDue:       b.read(selectFrom("sessions", "due_at").where("due_at IS NOT NULL").order("due_at").limit()),
		claimedBy:     b.read(sessions.where("claimed_by = ? AND claimed_by <> ''").order("id")),
		countByStatus: b.scan(selectFrom("sessions", "status", "COUNT(*)").group("status")),
	}
}

type sessions Tx

func (t *sessions) Get(ctx context.Context, id string) (*domain.Session, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.sessions.get, scanSession, id)
}

func (t *sessions) Put(ctx context.Context, s *domain.Session) error {
	return (*Tx)(t).put(ctx, &t.queries.sessions.putStatements, &s.Rev, s.ID, s.UserID, micros(s.CreatedAt),
		s.Name, s.Description, s.DisplayName, s.PhoneNumber,
		string(s.Intent), string(s.Status), nullableMicros(s.StatusAt), s.WasConnected, s.LastError,
		s.WorkerID, s.Generation, nullableMicros(s.AssignedAt), s.CredentialsWorkerID, s.PreviousWorkerID, string(s.PlacementEvent),
		string(s.Command), s.Confirmed, s.Attempts, s.FailedStarts, s.Restarts,
		nullableMicros(s.DebounceUntil), s.LoggedOut, s.ExcludedWorkerID, nullableMicros(s.ExcludedUntil),
		s.QR.Code, nullableBytes(s.QR.Image), nullableMicros(s.QR.ExpiresAt), s.PairingPhone, s.PairingCode,
		nullableMicros(s.DueAt), nullableMicros(s.LastReportWorkerTime), nullableMicros(s.LastReportAppliedAt), nullableMicros(s.LastSeenAt), nullableMicros(s.UpdatedAt),
		s.ClaimedBy, nullableMicros(s.ClaimedUntil), s.MigrationID, s.MigrationTargetID, s.ScanRestarted,
		s.UnscannedRuns, s.ConnectedFrom,
		s.CredentialsGroup, string(s.HomePolicy), nullableMicros(s.HomeWaitUntil))
}

// Delete deletes the session and records its generation as a tombstone. Foreign keys of the schema delete its API keys and
// messages.
func (t *sessions) Delete(ctx context.Context, id string, rev int64) error {
	if err := (*Tx)(t).checkAllowed(ctx, true); err != nil {
		return err
	}
	generation, err := queryOne(ctx, (*Tx)(t), t.queries.sessions.generation, scanGeneration, id, rev)
	if err == nil {
		err = (*Tx)(t).runRequired(ctx, ports.ErrNotFound, t.queries.sessions.remove, id, rev)
	}
	switch {
	case errors.Is(err, ports.ErrNotFound):
		if _, missing := t.Get(ctx, id); missing != nil {
			return missing
		}
		return ports.ErrConflict
	case err != nil || generation == 0:
		return err
	}
	return (*Tx)(t).run(ctx, t.queries.sessions.bury, id, generation)
}

func scanGeneration(r row) int64 { return r.int64(0) }

func (t *sessions) LastGeneration(ctx context.Context, id string) (generation int64, known bool, err error) {
	generation, err = queryOne(ctx, (*Tx)(t), t.queries.sessions.lastGeneration, scanGeneration, id)
	if errors.Is(err, ports.ErrNotFound) {
		return 0, false, nil
	}
	return generation, err == nil, err
}

func (t *sessions) List(ctx context.Context, f ports.SessionFilter, p ports.Page) ([]*domain.Session, int, error) {
	var conditions []sq.Sqlizer
	if f.UserID != "" {
		conditions = append(conditions, sq.Expr("user_id = ?", f.UserID))
	}
	if f.WorkerID != "" {
		conditions = append(conditions, sq.Expr("worker_id = ? AND worker_id <> ''", f.WorkerID))
	}
	if f.Status != "" {
		conditions = append(conditions, sq.Expr("status = ?", string(f.Status)))
	}
	if f.AwaitsScan {
		conditions = append(conditions, sq.Expr(awaitsScan))
	}
	if f.ConnectedFrom != "" {
		conditions = append(conditions, sq.Expr("connected_from = ? AND connected_from <> ''", f.ConnectedFrom))
	}
	if !f.QRExpiredBefore.IsZero() {
		conditions = append(conditions, sq.Expr("qr_expires_at < ?", ceilMicros(f.QRExpiredBefore)))
	}
	if f.Search != "" {
		d := &t.queries.dialect
		conditions = append(conditions, sq.Or{d.contains("name", f.Search), d.contains("phone_number", f.Search)})
	}
	rows := selectFrom("sessions", sessionsTable.columns()...).all(conditions).order("created_at DESC", "id DESC")
	return queryPage(ctx, (*Tx)(t), rows, selectFrom("sessions", "COUNT(*)").all(conditions), p, scanSession)
}

// ListRange returns the latest sessions of a range first.
func (t *sessions) ListRange(ctx context.Context, r ports.Range) ([]*domain.Session, error) {
	s, args, err := t.queries.list(rangeOf("sessions", sessionsTable, r))
	if err != nil {
		return nil, err
	}
	return queryAll(ctx, (*Tx)(t), s, scanSession, args...)
}

func (t *sessions) ListByWorker(ctx context.Context, workerID string) ([]*domain.Session, error) {
	return queryAll(ctx, (*Tx)(t), t.queries.sessions.assigned, scanSession, workerID)
}

// EachAssigned reads some hundreds of sessions at a time, in the order of their ids, so that fn may use the transaction.
func (t *sessions) EachAssigned(ctx context.Context, fn func(*domain.Session) error) error {
	const batchSize = 500
	for last := ""; ; {
		list, err := queryAll(ctx, (*Tx)(t), t.queries.sessions.eachAssigned, scanSession, last, batchSize)
		if err != nil {
			return err
		}
		for i, s := range list {
			last, list[i] = s.ID, nil
			if err := fn(s); err != nil {
				return err
			}
		}
		if len(list) < batchSize {
			return nil
		}
	}
}

func (t *sessions) Due(ctx context.Context, at time.Time, limit int) ([]*domain.Session, error) {
	return queryAll(ctx, (*Tx)(t), t.queries.sessions.due, scanSession, micros(at), limitArgument(limit))
}

func (t *sessions) NextDue(ctx context.Context) (time.Time, error) {
	return earliest(ctx, (*Tx)(t), t.queries.sessions.nextDue)
}

// earliest returns the time of the first row, or the zero time if there is no row.
func earliest(ctx context.Context, t *Tx, s *Statement) (time.Time, error) {
	at, err := queryOne(ctx, t, s, func(r row) time.Time { return r.time(0) }, 1)
	if errors.Is(err, ports.ErrNotFound) {
		err = nil
	}
	return at, err
}

func (t *sessions) ClaimedBy(ctx context.Context, replicaID string) ([]*domain.Session, error) {
	return queryAll(ctx, (*Tx)(t), t.queries.sessions.claimedBy, scanSession, replicaID)
}

func (t *sessions) CountByStatus(ctx context.Context) (map[domain.Status]int, error) {
	counts := make(map[domain.Status]int)
	err := (*Tx)(t).eachRow(ctx, t.queries.sessions.countByStatus, nil, func(r row) {
		counts[domain.Status(r.text(0))] = r.int(1)
	})
	if err != nil {
		return nil, err
	}
	return counts, nil
}
