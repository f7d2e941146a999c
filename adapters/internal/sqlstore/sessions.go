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
		"claimed_by", "claimed_until", "move_id", "move_to",
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
		Rev: r.int64(41),
	}
}

type sessionStatements struct {
	puts
	get, remove, assigned, eachAssigned, due, nextDue, claimedBy, countByStatus *Statement
}

func (b *Queries) sessionStatements() sessionStatements {
	sessions := pick("sessions", sessionsTable.columns()...)
	return sessionStatements{
		puts:     b.puts(sessionsTable),
		get:      b.read(sessions.where(same("id"))),
		remove:   b.write(b.remove("sessions", same("id", "rev"))),
		assigned: b.read(sessions.where("worker_id = ? AND worker_id <> ''").order("id")),
		// Not worker_id <> '': that is what an index is made for, and reading
		// the table in its order is faster.
		eachAssigned:  b.scan(sessions.where("id > ? AND worker_id > ''").order("id").first()),
		due:           b.read(sessions.where("due_at <= ? AND due_at IS NOT NULL").order("due_at", "id").first()),
		nextDue:       b.read(pick("sessions", "due_at").where("due_at IS NOT NULL").order("due_at").first()),
		claimedBy:     b.read(sessions.where("claimed_by = ? AND claimed_by <> ''").order("id")),
		countByStatus: b.scan(pick("sessions", "status", "COUNT(*)").group("status")),
	}
}

type sessions Tx

func (t *sessions) Get(ctx context.Context, id string) (*domain.Session, error) {
	return one(ctx, (*Tx)(t), t.body.sessions.get, scanSession, id)
}

func (t *sessions) Put(ctx context.Context, s *domain.Session) error {
	return (*Tx)(t).put(ctx, &t.body.sessions.puts, &s.Rev, s.ID, s.UserID, micros(s.CreatedAt),
		s.Name, s.Description, s.DisplayName, s.PhoneNumber,
		string(s.Intent), string(s.Status), when(s.StatusAt), s.WasConnected, s.LastError,
		s.WorkerID, s.Generation, when(s.AssignedAt), s.CredentialsWorkerID, s.PreviousWorkerID, string(s.PlacementEvent),
		string(s.Command), s.Confirmed, s.Attempts, s.FailedStarts, s.Restarts,
		when(s.DebounceUntil), s.LoggedOut, s.ExcludedWorkerID, when(s.ExcludedUntil),
		s.QR.Code, bytes(s.QR.Image), when(s.QR.ExpiresAt), s.PairingPhone, s.PairingCode,
		when(s.DueAt), when(s.LastReportWorkerTime), when(s.LastReportAppliedAt), when(s.LastSeenAt), when(s.UpdatedAt),
		s.ClaimedBy, when(s.ClaimedUntil), s.MigrationID, s.MigrationTargetID)
}

// Delete leaves keys and messages to the schema.
func (t *sessions) Delete(ctx context.Context, id string, rev int64) error {
	err := (*Tx)(t).changed(ctx, ports.ErrConflict, t.body.sessions.remove, id, rev)
	if errors.Is(err, ports.ErrConflict) {
		if _, missing := t.Get(ctx, id); missing != nil {
			return missing
		}
	}
	return err
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
	if f.Search != "" {
		d := &t.body.dialect
		conditions = append(conditions, sq.Or{d.contains("name", f.Search), d.contains("phone_number", f.Search)})
	}
	rows := pick("sessions", sessionsTable.columns()...).all(conditions).order("created_at DESC", "id DESC")
	return listed(ctx, (*Tx)(t), rows, pick("sessions", "COUNT(*)").all(conditions), p, scanSession)
}

func (t *sessions) ListByWorker(ctx context.Context, workerID string) ([]*domain.Session, error) {
	return many(ctx, (*Tx)(t), t.body.sessions.assigned, scanSession, workerID)
}

// EachAssigned reads some hundreds at a time, in order of their ids, so that
// fn may use the transaction.
func (t *sessions) EachAssigned(ctx context.Context, fn func(*domain.Session) error) error {
	const some = 500
	for last := ""; ; {
		list, err := many(ctx, (*Tx)(t), t.body.sessions.eachAssigned, scanSession, last, some)
		if err != nil {
			return err
		}
		for i, s := range list {
			last, list[i] = s.ID, nil
			if err := fn(s); err != nil {
				return err
			}
		}
		if len(list) < some {
			return nil
		}
	}
}

func (t *sessions) Due(ctx context.Context, at time.Time, limit int) ([]*domain.Session, error) {
	return many(ctx, (*Tx)(t), t.body.sessions.due, scanSession, micros(at), upTo(limit))
}

func (t *sessions) NextDue(ctx context.Context) (time.Time, error) {
	return earliest(ctx, (*Tx)(t), t.body.sessions.nextDue)
}

// earliest reads a time, or gives the zero time if there is no row.
func earliest(ctx context.Context, t *Tx, s *Statement) (time.Time, error) {
	at, err := one(ctx, t, s, func(r row) time.Time { return r.time(0) }, 1)
	if errors.Is(err, ports.ErrNotFound) {
		err = nil
	}
	return at, err
}

func (t *sessions) ClaimedBy(ctx context.Context, replicaID string) ([]*domain.Session, error) {
	return many(ctx, (*Tx)(t), t.body.sessions.claimedBy, scanSession, replicaID)
}

func (t *sessions) CountByStatus(ctx context.Context) (map[domain.Status]int, error) {
	counts := make(map[domain.Status]int)
	err := (*Tx)(t).each(ctx, t.body.sessions.countByStatus, nil, func(r row) {
		counts[domain.Status(r.text(0))] = r.int(1)
	})
	if err != nil {
		return nil, err
	}
	return counts, nil
}
