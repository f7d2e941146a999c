package sqlstore

import (
	"context"
	"math"
	"time"

	sq "github.com/Masterminds/squirrel"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var usersTable = table{
	name: "users", key: []string{"id"}, fixed: []string{"email"},
	rest: []string{
		"name", "password_hash", "role", "tier", "active", "credentials_at", "last_login_at", "created_at", "updated_at",
	},
}

func scanUser(r row) *domain.User {
	return &domain.User{
		ID: r.text(0), Email: r.text(1),
		Name: r.text(2), PasswordHash: r.text(3), Role: domain.Role(r.text(4)), Tier: domain.Tier(r.text(5)), Active: r.bool(6),
		CredentialsAt: r.time(7), LastLoginAt: r.time(8), CreatedAt: r.time(9), UpdatedAt: r.time(10),
		Rev: r.int64(11),
	}
}

type userStatements struct {
	putStatements
	get, byEmail, usage, reserve, runs, countRun, resetRuns *Statement
}

func (b *Queries) userStatements() userStatements {
	users := selectFrom("users", usersTable.columns()...)
	sum := func(column string) set {
		return set{column, "CASE WHEN " + column + " + ? < 0 THEN 0 ELSE " + column + " + ? END"}
	}
	return userStatements{
		putStatements: b.putStatements(usersTable),
		get:           b.read(users.where(equal("id"))),
		byEmail:       b.read(users.where(equal("email"))),
		usage:         b.read(selectFrom("users", "sessions", "live").where(equal("id"))),
		reserve: b.write(b.update("users", []set{sum("sessions"), sum("live")},
			"id = ? AND sessions + ? <= ? AND live + ? <= ?")),
		runs: b.read(selectFrom("users", "unscanned_runs", "unscanned_at").where(equal("id"))),
		countRun: b.write(b.update("users", []set{
			{"unscanned_runs", "CASE WHEN unscanned_runs < ? THEN unscanned_runs + 1 ELSE unscanned_runs END"}, {"unscanned_at", "?"},
		}, "id = ? AND (unscanned_at IS NULL OR unscanned_at <= ?)")),
		resetRuns: b.write(b.update("users", []set{{"unscanned_runs", "0"}, {"unscanned_at", "NULL"}}, "id = ? AND unscanned_runs > 0")),
	}
}

type users Tx

func (t *users) Get(ctx context.Context, id string) (*domain.User, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.users.get, scanUser, id)
}

func (t *users) ByEmail(ctx context.Context, email string) (*domain.User, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.users.byEmail, scanUser, email)
}

// List sorts by the bytes of names. It sorts equal names by age.
func (t *users) List(ctx context.Context, f ports.UserFilter, p ports.Page) ([]*domain.User, int, error) {
	var conditions []sq.Sqlizer
	if f.Search != "" {
		d := &t.queries.dialect
		conditions = append(conditions, sq.Or{d.contains("name", f.Search), d.contains("email", f.Search)})
	}
	if f.Tier != "" {
		conditions = append(conditions, sq.Expr("tier = ?", string(f.Tier)))
	}
	if f.Role != "" {
		conditions = append(conditions, sq.Expr("role = ?", string(f.Role)))
	}
	if f.Active != nil {
		conditions = append(conditions, sq.Expr("active = ?", *f.Active))
	}
	direction := " DESC"
	if f.Asc {
		direction = " ASC"
	}
	order := []string{"created_at" + direction, "id" + direction}
	switch f.Sort {
	case "name", "email":
		order = append([]string{f.Sort + direction}, order...)
	case "lastLoginAt":
		order = append([]string{"last_login_at" + direction}, order...)
	}
	return queryPage(ctx, (*Tx)(t), selectFrom("users", usersTable.columns()...).all(conditions).order(order...),
		selectFrom("users", "COUNT(*)").all(conditions), p, scanUser)
}

// ListRange returns the latest users of a range first.
func (t *users) ListRange(ctx context.Context, r ports.Range) ([]*domain.User, error) {
	s, args, err := t.queries.list(rangeOf("users", usersTable, r))
	if err != nil {
		return nil, err
	}
	return queryAll(ctx, (*Tx)(t), s, scanUser, args...)
}

// rangeOf returns the query of the latest rows of a range.
func rangeOf(from string, t table, r ports.Range) query {
	f := domain.MessageFilter{Since: r.Since, Until: r.Until, After: r.After}
	return selectFrom(from, t.columns()...).all(timeConditions(f)).order("created_at DESC", "id DESC").limit(limitArgument(r.Limit))
}

func (t *users) Put(ctx context.Context, u *domain.User) error {
	return (*Tx)(t).put(ctx, &t.queries.users.putStatements, &u.Rev, u.ID, u.Email,
		u.Name, u.PasswordHash, string(u.Role), string(u.Tier), u.Active,
		nullableMicros(u.CredentialsAt), micros(u.LastLoginAt), micros(u.CreatedAt), nullableMicros(u.UpdatedAt))
}

func (t *users) Usage(ctx context.Context, id string) (domain.UserUsage, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.users.usage, func(r row) domain.UserUsage {
		return domain.UserUsage{Sessions: r.int(0), ActiveSessions: r.int(1)}
	}, id)
}

// Reserve keeps both counts from falling below zero.
func (t *users) Reserve(ctx context.Context, id string, add, limit domain.UserUsage) error {
	bound := func(add, limit int) int64 {
		if add > 0 {
			return int64(limit)
		}
		return math.MaxInt64
	}
	n, err := (*Tx)(t).exec(ctx, t.queries.users.reserve, add.Sessions, add.Sessions, add.ActiveSessions, add.ActiveSessions,
		id, add.Sessions, bound(add.Sessions, limit.Sessions), add.ActiveSessions, bound(add.ActiveSessions, limit.ActiveSessions))
	if err != nil || n > 0 {
		return err
	}
	if _, err := t.Usage(ctx, id); err != nil {
		return err
	}
	return ports.ErrFull
}

func (t *users) UnscannedRuns(ctx context.Context, id string) (domain.UnscannedRuns, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.users.runs, func(r row) domain.UnscannedRuns {
		return domain.UnscannedRuns{Count: r.int(0), EndedAt: r.time(1)}
	}, id)
}

func (t *users) CountUnscannedRun(ctx context.Context, id string, began, ended time.Time) error {
	return (*Tx)(t).run(ctx, t.queries.users.countRun, domain.MaxUnscannedRuns, micros(ended), id, micros(began))
}

func (t *users) ResetUnscannedRuns(ctx context.Context, id string) error {
	return (*Tx)(t).run(ctx, t.queries.users.resetRuns, id)
}
