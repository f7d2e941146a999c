package httpapi

import (
	"context"
	"strings"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func (a *api) users(ctx context.Context, c *call) (any, error) {
	q := c.query()
	var f ports.UserFilter
	q.text("search", &f.Search)
	parse(q, "tier", &f.Tier, parseTier)
	parse(q, "role", &f.Role, oneOf(domain.RoleUser, domain.RoleAdministrator))
	if q.get("isActive") != "" {
		f.Active = new(bool)
		q.flag("isActive", f.Active)
	}
	var order string
	parse(q, "sort", &f.Sort, oneOf("createdAt", "name", "email", "lastLoginAt"))
	parse(q, "order", &order, oneOf("asc", "desc"))
	f.Asc = order == "asc"
	p := q.page()
	if err := q.end(); err != nil {
		return nil, err
	}
	list, total, err := a.Accounts.List(ctx, f, p.Page)
	if err != nil {
		return nil, err
	}
	views := make([]profileView, len(list))
	for i, u := range list {
		views[i] = viewProfile(u)
	}
	return struct {
		Users      []profileView `json:"users"`
		Pagination pagination    `json:"pagination"`
	}{views, p.of(total)}, nil
}

// parseTier accepts a word in any case; which tiers there are is configuration.
func parseTier(s string) (domain.Tier, error) {
	t := strings.ToUpper(strings.TrimSpace(s))
	if t == "" || t != clean(t, maxWord) {
		return "", domain.Errorf(domain.Invalid, domain.CodeValidation, "Tier must be a tier such as BASIC, PRO or MAX")
	}
	return domain.Tier(t), nil
}

func (a *api) user(ctx context.Context, c *call) (any, error) {
	u, err := a.Accounts.Get(ctx, c.param("id"))
	if err != nil {
		return nil, err
	}
	return viewProfile(u), nil
}

func (a *api) updateUser(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	ch, err := decodeUserChange(b)
	if err != nil {
		return nil, err
	}
	u, err := a.Accounts.Update(ctx, c.param("id"), ch)
	if err != nil {
		return nil, err
	}
	return viewProfile(u), nil
}

func decodeUserChange(b *body) (service.UserChange, error) {
	var ch service.UserChange
	var name, tier, role *string
	for b.next() {
		switch b.member() {
		case "name":
			b.optional(&name)
		case "tier":
			b.optional(&tier)
		case "role":
			b.optional(&role)
		case "isActive":
			var active bool
			if b.bool(&active) {
				ch.Active = &active
			}
		default:
			b.unknown("name, tier, role or isActive")
		}
	}
	if name != nil {
		v, err := domain.CheckUserName(*name)
		b.check("name", err)
		ch.Name = &v
	}
	if tier != nil {
		v, err := parseTier(*tier)
		b.check("tier", err)
		ch.Tier = &v
	}
	if role != nil {
		v, err := oneOf(domain.RoleUser, domain.RoleAdministrator)(*role)
		b.check("role", err)
		ch.Role = &v
	}
	return ch, b.end()
}
