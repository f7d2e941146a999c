package sqlstore

import (
	"context"
	"math"

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
	puts
	get, byEmail, usage, reserve *Statement
}

func (b *Queries) userStatements() userStatements {
	users := pick("users", usersTable.columns()...)
	sum := func(column string) set {
		return set{column, "CASE WHEN " + column + " + ? < 0 THEN 0 ELSE " + column + " + ? END"}
	}
	return userStatements{
		puts:    b.puts(usersTable),
		get:     b.read(users.where(same("id"))),
		byEmail: b.read(users.where(same("email"))),
		usage:   b.read(pick("users", "sessions", "live").where(same("id"))),
		reserve: b.write(b.update("users", []set{sum("sessions"), sum("live")},
			"id = ? AND sessions + ? <= ? AND live + ? <= ?")),
	}
}

type users Tx

func (t *users) Get(ctx context.Context, id string) (*domain.User, error) {
	return one(ctx, (*Tx)(t), t.body.users.get, scanUser, id)
}

func (t *users) ByEmail(ctx context.Context, email string) (*domain.User, error) {
	return one(ctx, (*Tx)(t), t.body.users.byEmail, scanUser, email)
}

// List sorts by the bytes of names, and what is equal by age.
func (t *users) List(ctx context.Context, f ports.UserFilter, p ports.Page) ([]*domain.User, int, error) {
	var conditions []sq.Sqlizer
	if f.Search != "" {
		d := &t.body.dialect
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
	return listed(ctx, (*Tx)(t), pick("users", usersTable.columns()...).all(conditions).order(order...),
		pick("users", "COUNT(*)").all(conditions), p, scanUser)
}

func (t *users) Put(ctx context.Context, u *domain.User) error {
	return (*Tx)(t).put(ctx, &t.body.users.puts, &u.Rev, u.ID, u.Email,
		u.Name, u.PasswordHash, string(u.Role), string(u.Tier), u.Active,
		when(u.CredentialsAt), micros(u.LastLoginAt), micros(u.CreatedAt), when(u.UpdatedAt))
}

func (t *users) Usage(ctx context.Context, id string) (domain.UserUsage, error) {
	return one(ctx, (*Tx)(t), t.body.users.usage, func(r row) domain.UserUsage {
		return domain.UserUsage{Sessions: r.int(0), ActiveSessions: r.int(1)}
	}, id)
}

// Reserve lets nothing fall below zero.
func (t *users) Reserve(ctx context.Context, id string, add, limit domain.UserUsage) error {
	within := func(add, limit int) int64 {
		if add > 0 {
			return int64(limit)
		}
		return math.MaxInt64
	}
	n, err := (*Tx)(t).exec(ctx, t.body.users.reserve, add.Sessions, add.Sessions, add.ActiveSessions, add.ActiveSessions,
		id, add.Sessions, within(add.Sessions, limit.Sessions), add.ActiveSessions, within(add.ActiveSessions, limit.ActiveSessions))
	if err != nil || n > 0 {
		return err
	}
	if _, err := t.Usage(ctx, id); err != nil {
		return err
	}
	return ports.ErrFull
}
