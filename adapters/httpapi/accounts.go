package httpapi

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// userView is a user as the API shows it.
type userView struct {
	ID          string      `json:"id"`
	Name        string      `json:"name"`
	Email       string      `json:"email"`
	Role        domain.Role `json:"role"`
	Tier        domain.Tier `json:"tier"`
	IsActive    bool        `json:"isActive"`
	LastLoginAt stamp       `json:"lastLoginAt"`
	CreatedAt   stamp       `json:"createdAt"`
	UpdatedAt   stamp       `json:"updatedAt"`
}

func viewUser(u *domain.User) userView {
	return userView{
		ID: u.ID, Name: u.Name, Email: u.Email, Role: u.Role, Tier: u.Tier, IsActive: u.Active,
		LastLoginAt: stamp(u.LastLoginAt), CreatedAt: stamp(u.CreatedAt), UpdatedAt: stamp(u.UpdatedAt),
	}
}

type userStats struct {
	ActiveSessions int `json:"activeSessions"`
	TotalSessions  int `json:"totalSessions"`
}

// profileView is a user with what it has.
type profileView struct {
	userView
	Stats userStats `json:"stats"`
}

func viewProfile(u *service.UserSummary) profileView {
	return profileView{viewUser(u.User), userStats{ActiveSessions: u.ActiveSessions, TotalSessions: u.UserUsage.Sessions}}
}

type signedInView struct {
	User         userView `json:"user"`
	Token        string   `json:"token"`
	RefreshToken string   `json:"refreshToken"`
	ExpiresIn    int64    `json:"expiresIn"` // seconds
}

func viewSignedIn(s *service.AuthTokens, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return signedInView{viewUser(s.User), s.Token, s.RefreshToken, int64(s.ExpiresIn / time.Second)}, nil
}

// credentials are the members of the bodies about accounts. Those that a body
// does not have are nil.
type credentials struct {
	name, email, password, currentPassword, newPassword, token, refreshToken *string
}

func (b *body) credentials() credentials {
	var in credentials
	fields := map[string]**string{
		"name": &in.name, "email": &in.email, "password": &in.password,
		"currentPassword": &in.currentPassword, "newPassword": &in.newPassword,
		"token": &in.token, "refreshToken": &in.refreshToken,
	}
	for b.next() {
		if to, ok := fields[b.member()]; ok {
			var s string
			if b.string(&s) {
				*to = &s
			}
		}
	}
	return in
}

func passwordRule(s string) (string, error) { return s, domain.CheckPassword(s) }

func (a *api) register(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	in := b.credentials()
	name := b.checked("name", in.name, "Name", domain.CheckUserName)
	email := b.checked("email", in.email, "Email", domain.NormalizeEmail)
	password := b.checked("password", in.password, "Password", passwordRule)
	if err := b.end(); err != nil {
		return nil, err
	}
	return viewSignedIn(a.Accounts.Register(ctx, name, email, password))
}

func (a *api) login(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	in := b.credentials()
	email := b.need("email", in.email, "Email")
	password := b.need("password", in.password, "Password")
	if err := b.end(); err != nil {
		return nil, err
	}
	return viewSignedIn(a.Accounts.Login(ctx, email, password, c.remoteIP()))
}

func (a *api) refresh(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	in := b.credentials()
	token := b.need("refreshToken", in.refreshToken, "Refresh token")
	if err := b.end(); err != nil {
		return nil, err
	}
	return viewSignedIn(a.Accounts.Refresh(ctx, token))
}

func (a *api) logout(ctx context.Context, c *call) (any, error) {
	return nil, a.Accounts.Logout(ctx, c.caller)
}

func (a *api) me(ctx context.Context, c *call) (any, error) {
	u, err := a.Accounts.Get(ctx, c.caller.UserID)
	if err != nil {
		return nil, err
	}
	return struct {
		User userView `json:"user"`
	}{viewUser(u.User)}, nil
}

func (a *api) changePassword(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	in := b.credentials()
	current := b.need("currentPassword", in.currentPassword, "Current password")
	next := b.checked("newPassword", in.newPassword, "New password", passwordRule)
	if err := b.end(); err != nil {
		return nil, err
	}
	return nil, a.Accounts.ChangePassword(ctx, c.caller, current, next)
}

func (a *api) forgotPassword(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	in := b.credentials()
	email := b.checked("email", in.email, "Email", domain.NormalizeEmail)
	if err := b.end(); err != nil {
		return nil, err
	}
	return nil, a.Accounts.ForgotPassword(ctx, email)
}

func (a *api) resetPassword(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	in := b.credentials()
	token := b.need("token", in.token, "Token")
	next := b.checked("newPassword", in.newPassword, "New password", passwordRule)
	if err := b.end(); err != nil {
		return nil, err
	}
	return nil, a.Accounts.ResetPassword(ctx, token, next)
}

func (a *api) deactivate(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	in := b.credentials()
	password := b.need("password", in.password, "Password")
	if err := b.end(); err != nil {
		return nil, err
	}
	return nil, a.Accounts.Deactivate(ctx, c.caller, password)
}

func (a *api) profile(ctx context.Context, c *call) (any, error) {
	u, err := a.Accounts.Get(ctx, c.caller.UserID)
	if err != nil {
		return nil, err
	}
	return viewProfile(u), nil
}

func (a *api) updateProfile(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	in := b.credentials()
	var p service.Profile
	if in.name != nil {
		name, err := domain.CheckUserName(*in.name)
		b.check("name", err)
		p.Name = &name
	}
	if in.email != nil {
		email, err := domain.NormalizeEmail(*in.email)
		b.check("email", err)
		p.Email = &email
	}
	if in.newPassword != nil {
		p.NewPassword = b.checked("newPassword", in.newPassword, "New password", passwordRule)
		p.CurrentPassword = b.need("currentPassword", in.currentPassword, "Current password")
	}
	if err := b.end(); err != nil {
		return nil, err
	}
	u, err := a.Accounts.UpdateProfile(ctx, c.caller, p)
	if err != nil {
		return nil, err
	}
	return viewUser(u), nil
}

// keyView is an API key in a list. The key itself is not there.
type keyView struct {
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	Prefix    string         `json:"prefix"`
	IsActive  bool           `json:"isActive"`
	LastUsed  stamp          `json:"lastUsed"`
	CreatedAt stamp          `json:"createdAt"`
	ExpiresAt stamp          `json:"expiresAt"`
	Session   keySessionView `json:"session"`
}

type keySessionView struct {
	ID     string        `json:"id"`
	Name   string        `json:"name"`
	Status domain.Status `json:"status"`
}

func (a *api) apiKeys(ctx context.Context, c *call) (any, error) {
	keys, err := a.APIKeys.List(ctx, c.caller.UserID)
	if err != nil {
		return nil, err
	}
	views := make([]keyView, len(keys))
	for i, k := range keys {
		ends := k.ExpiresAt // a key that was rotated ends with its grace
		if !k.RevokedAt.IsZero() && (ends.IsZero() || k.RevokedAt.Before(ends)) {
			ends = k.RevokedAt
		}
		views[i] = keyView{
			ID: k.ID, Name: k.Name, Prefix: k.Hint, IsActive: k.Check(c.start) == nil,
			LastUsed: stamp(k.LastUsedAt), CreatedAt: stamp(k.CreatedAt), ExpiresAt: stamp(ends),
			Session: keySessionView{ID: k.SessionID},
		}
		if s := k.Session; s != nil {
			views[i].Session = keySessionView{s.ID, s.Name, s.Status}
		}
	}
	return views, nil
}

func (a *api) revokeKey(ctx context.Context, c *call) (any, error) {
	id := c.param("id")
	if err := a.APIKeys.Revoke(ctx, c.caller.UserID, id); err != nil {
		return nil, err
	}
	return struct {
		ID      string `json:"id"`
		Revoked bool   `json:"revoked"`
	}{id, true}, nil
}

type tierView struct {
	Tier   domain.Tier   `json:"tier"`
	Limits domain.Limits `json:"limits"`
	Usage  tierUsage     `json:"usage"`
}

type tierUsage struct {
	Sessions         int `json:"sessions"`
	MessagesThisHour int `json:"messagesThisHour"`
	APICallsThisHour int `json:"apiCallsThisHour"`
}

func (a *api) tier(ctx context.Context, c *call) (any, error) {
	t, err := a.APIKeys.Tier(ctx, c.caller.UserID)
	if err != nil {
		return nil, err
	}
	return tierView{t.Tier, t.Limits, tierUsage{t.Sessions, t.Messages, t.APICalls}}, nil
}
