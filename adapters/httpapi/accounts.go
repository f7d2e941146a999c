package httpapi

import (
	"context"

	"github.com/danielgtaylor/huma/v2"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func accountRoutes() []route {
	return []route{
		operation(route{
			id: "deactivateUser", method: post, path: "/users/deactivate", tag: tagAccount, credential: user, limit: perUser, cost: hashing, message: "Account deactivated",
			summary:     "Close the account (same as /auth/deactivate)",
			description: deactivateDescription, errors: deactivateErrors,
		}, (*api).deactivate),
		operation(route{
			id: "getProfile", method: get, path: "/users/profile", tag: tagAccount, credential: user, limit: perUser, message: "Profile",
			summary:     "The account with the number of its sessions",
			description: "Returns the user that is signed in, with how many sessions it has and how many of them are running.",
			errors:      []domain.Code{domain.CodeUserNotFound},
		}, (*api).profile),
		operation(route{
			id: "updateProfile", method: put, path: "/users/profile", tag: tagAccount, credential: user, limit: perUser, cost: hashing, message: "Profile updated", optional: true,
			summary: "Change name, email or password",
			description: "Changes the given fields, all of them or none. A new password and a new email need the current password. A new password ends " +
				"every sign-in, this one included: sign in again. A new email ends every other one. The old address is told by mail. Fails if the email belongs to another account, if the current password is wrong, or after " +
				"five tries of an email within an hour.",
			errors: []domain.Code{domain.CodeUserNotFound, domain.CodeEmailRegistered, domain.CodeInvalidCredentials, domain.CodeInvalidState},
		}, (*api).updateProfile),
		operation(route{
			id: "listSignIns", method: get, path: "/users/sign-ins", tag: tagAccount, credential: user, limit: perUser, message: "Sign-ins",
			summary: "Where the user is signed in",
			description: "Lists the sign-ins that have not ended, latest use first, with the address and program of their latest sign-in or refresh. " +
				"A user has at most 50; another one ends the one that was used longest ago.",
		}, (*api).signIns),
		operation(route{
			id: "endSignIn", method: del, path: "/users/sign-ins/{id}", tag: tagAccount, credential: user, limit: perUser, message: "Sign-in ended",
			summary:     "End a sign-in",
			description: "Its access token and refresh token are refused from then on, on every replica within a second. Fails if the user has no such sign-in.",
			errors:      []domain.Code{domain.CodeNotFound, domain.CodeInvalidState},
		}, (*api).endSignIn),
		operation(route{
			id: "listApiKeys", method: get, path: "/users/api-keys", tag: tagAccount, credential: user, limit: perUser, message: "API keys",
			summary:     "API keys of all own sessions",
			description: "Lists the API keys, newest first. A key itself is shown once, when it is made; the list has its first characters.",
		}, (*api).apiKeys),
		operation(route{
			id: "revokeApiKey", method: del, path: "/users/api-keys/{id}", tag: tagAccount, credential: user, limit: perUser, message: "API key revoked",
			summary:     "Revoke an API key",
			description: "The key is refused from then on, on every replica within a second. Fails if the user has no such key.",
			errors:      []domain.Code{domain.CodeAPIKeyNotFound, domain.CodeInvalidState},
		}, (*api).revokeKey),
		operation(route{
			id: "getUsage", method: get, path: "/users/usage", tag: tagAccount, credential: user, limit: perUser, cost: longRead, message: "Usage",
			summary: "How many messages were sent and received",
			description: "Counts messages of the period: in all, by hour or day, by type and by session. The last step is the present, unfinished one. " +
				"With sessionId it counts one session; an unknown one counts nothing.",
			errors: []domain.Code{domain.CodeSessionNotFound},
		}, (*api).usage),
		operation(route{
			id: "getTier", method: get, path: "/users/tier", tag: tagAccount, credential: user, limit: perUser, message: "Tier",
			summary:     "The limits of the tier and how much of them is used",
			description: "Returns what the user's tier allows, the number of sessions, and the messages and API calls of the present hour.",
			errors:      []domain.Code{domain.CodeUserNotFound},
		}, (*api).tier),
		operation(route{
			id: "listOwnSessions", method: get, path: "/users/sessions", tag: tagAccount, credential: user, limit: perUser, message: "Sessions",
			summary:     "The own sessions (same as /sessions)",
			description: listSessionsDescription,
		}, (*api).sessions),
	}
}

// UserView is a user as the API shows it.
type UserView struct {
	ID          string      `json:"id" example:"01JX3B5ZKQ7M"`
	Name        string      `json:"name" example:"Ada Lovelace"`
	Email       string      `json:"email" example:"ada@example.com"`
	Role        domain.Role `json:"role" doc:"USER or ADMINISTRATOR" example:"USER"`
	Tier        domain.Tier `json:"tier" doc:"BASIC, PRO or MAX, unless the server has other tiers" example:"PRO"`
	IsActive    bool        `json:"isActive" example:"true"`
	LastLoginAt view.Time   `json:"lastLoginAt"`
	CreatedAt   view.Time   `json:"createdAt"`
	UpdatedAt   view.Time   `json:"updatedAt"`
}

func viewUser(u *domain.User) UserView {
	return UserView{
		ID: u.ID, Name: u.Name, Email: u.Email, Role: u.Role, Tier: u.Tier, IsActive: u.Active,
		LastLoginAt: view.Time(u.LastLoginAt), CreatedAt: view.Time(u.CreatedAt), UpdatedAt: view.Time(u.UpdatedAt),
	}
}

type userStats struct {
	ActiveSessions int `json:"activeSessions" doc:"Sessions that are wanted up" example:"2"`
	TotalSessions  int `json:"totalSessions" example:"3"`
}

// profileView is a user with the number of its sessions.
type profileView struct {
	UserView
	Stats userStats `json:"stats"`
}

func viewProfile(u *service.UserSummary, err error) (profileView, error) {
	if err != nil {
		return profileView{}, err
	}
	return profileView{viewUser(u.User), userStats{ActiveSessions: u.ActiveSessions, TotalSessions: u.UserUsage.Sessions}}, nil
}

func (a *api) profile(ctx context.Context, c *requestContext, _ *noInput) (profileView, error) {
	return viewProfile(a.Accounts.Get(ctx, c.principal.UserID))
}

type updateProfileBody struct {
	Name            *string `json:"name,omitempty" doc:"2 to 100 characters" example:"Ada Lovelace"`
	Email           *string `json:"email,omitempty" doc:"Needs currentPassword, unless it is the present one" example:"ada@example.com"`
	NewPassword     *string `json:"newPassword,omitempty" doc:"8 to 72 bytes with a letter and a digit; neither a common password nor the name or email" example:"correct horse 2"`
	CurrentPassword *string `json:"currentPassword,omitempty" doc:"Required with newPassword, and with another email" example:"correct horse 1"`
}

type updateProfileInput struct {
	Body   updateProfileBody
	change service.Profile
}

// Resolve applies the rules of the domain.
func (in *updateProfileInput) Resolve(huma.Context) []error {
	var p problems
	b := &in.Body
	in.change.Name = optional(&p, "name", b.Name, domain.CheckUserName)
	in.change.Email = optional(&p, "email", b.Email, domain.NormalizeEmail)
	if b.CurrentPassword != nil {
		in.change.CurrentPassword = *b.CurrentPassword
	}
	if b.NewPassword != nil {
		if *b.NewPassword == "" {
			p.addMissing("newPassword", "New password")
		}
		in.change.NewPassword = p.text("newPassword", *b.NewPassword, passwordRule)
		if b.CurrentPassword == nil || *b.CurrentPassword == "" {
			p.addMissing("currentPassword", "Current password")
		}
	}
	return p
}

func (a *api) updateProfile(ctx context.Context, c *requestContext, in *updateProfileInput) (UserView, error) {
	u, err := a.Accounts.UpdateProfile(ctx, c.principal, in.change)
	if err != nil {
		return UserView{}, err
	}
	return viewUser(u), nil
}

// signInView is a place where a user is signed in.
type signInView struct {
	ID         string      `json:"id" example:"01JX3B5ZKQ7M"`
	CreatedAt  view.Time   `json:"createdAt"`
	LastUsedAt view.Time   `json:"lastUsedAt" doc:"Of the sign-in or its latest refresh"`
	ExpiresAt  view.Time   `json:"expiresAt" doc:"When it ends without another refresh"`
	Address    view.String `json:"address" doc:"Where its latest use came from" example:"203.0.113.7"`
	UserAgent  view.String `json:"userAgent" doc:"The program of its latest use" example:"Mozilla/5.0"`
	Current    bool        `json:"current" doc:"The sign-in of this request" example:"true"`
}

func (a *api) signIns(ctx context.Context, c *requestContext, _ *noInput) ([]signInView, error) {
	list, err := a.Accounts.SignIns(ctx, c.principal)
	if err != nil {
		return nil, err
	}
	views := make([]signInView, len(list))
	for i, s := range list {
		views[i] = signInView{
			ID: s.ID, CreatedAt: view.Time(s.CreatedAt), LastUsedAt: view.Time(s.LastUsedAt), ExpiresAt: view.Time(s.ExpiresAt),
			Address: view.String(s.Address), UserAgent: view.String(s.UserAgent), Current: s.IsCurrent,
		}
	}
	return views, nil
}

type endSignInInput struct {
	ID string `path:"id" doc:"Id of the sign-in" example:"01JX3B5ZKQ7M"`
}

type endedView struct {
	ID    string `json:"id" example:"01JX3B5ZKQ7M"`
	Ended bool   `json:"ended" example:"true"`
}

func (a *api) endSignIn(ctx context.Context, c *requestContext, in *endSignInInput) (endedView, error) {
	id := clean(in.ID, maxID)
	if err := a.Accounts.EndSignIn(ctx, c.principal, id); err != nil {
		return endedView{}, err
	}
	return endedView{id, true}, nil
}

// keyView is an API key in a list. The key itself is not there.
type keyView struct {
	ID        string         `json:"id" example:"01JX3B5ZKQ7M"`
	Name      string         `json:"name" example:"default"`
	Prefix    string         `json:"prefix" doc:"The first characters of the key" example:"wg_0123"`
	IsActive  bool           `json:"isActive" example:"true"`
	LastUsed  view.Time      `json:"lastUsed"`
	CreatedAt view.Time      `json:"createdAt"`
	ExpiresAt view.Time      `json:"expiresAt" doc:"When the key stops working; of a rotated key the end of its grace"`
	Session   keySessionView `json:"session"`
}

type keySessionView struct {
	ID        string        `json:"id" example:"support"`
	SessionID string        `json:"sessionId" doc:"The id again" example:"support"`
	Name      string        `json:"name" example:"Support"`
	Status    domain.Status `json:"status" doc:"A session's status" example:"CONNECTED"`
}

func (a *api) apiKeys(ctx context.Context, c *requestContext, _ *noInput) ([]keyView, error) {
	keys, err := a.APIKeys.List(ctx, c.principal.UserID)
	if err != nil {
		return nil, err
	}
	views := make([]keyView, len(keys))
	for i, k := range keys {
		ends := k.ExpiresAt // a rotated key ends with its grace
		if !k.RevokedAt.IsZero() && (ends.IsZero() || k.RevokedAt.Before(ends)) {
			ends = k.RevokedAt
		}
		views[i] = keyView{
			ID: k.ID, Name: k.Name, Prefix: k.Hint, IsActive: k.Check(c.start) == nil,
			LastUsed: view.Time(k.LastUsedAt), CreatedAt: view.Time(k.CreatedAt), ExpiresAt: view.Time(ends),
			Session: keySessionView{ID: k.SessionID, SessionID: k.SessionID},
		}
		if s := k.Session; s != nil {
			views[i].Session = keySessionView{s.ID, s.ID, s.Name, s.Status}
		}
	}
	return views, nil
}

type revokeKeyInput struct {
	ID string `path:"id" doc:"Id of the key" example:"01JX3B5ZKQ7M"`
}

type revokedView struct {
	ID      string `json:"id" example:"01JX3B5ZKQ7M"`
	Revoked bool   `json:"revoked" example:"true"`
}

func (a *api) revokeKey(ctx context.Context, c *requestContext, in *revokeKeyInput) (revokedView, error) {
	id := clean(in.ID, maxID)
	if err := a.APIKeys.Revoke(ctx, c.principal.UserID, id); err != nil {
		return revokedView{}, err
	}
	return revokedView{id, true}, nil
}

type tierView struct {
	Tier   domain.Tier   `json:"tier" example:"PRO"`
	Limits domain.Limits `json:"limits" doc:"What the tier allows; 0 is none at all"`
	Usage  tierUsage     `json:"usage"`
}

type tierUsage struct {
	Sessions         int `json:"sessions" example:"3"`
	MessagesThisHour int `json:"messagesThisHour" example:"17"`
	APICallsThisHour int `json:"apiCallsThisHour" example:"40"`
}

func (a *api) tier(ctx context.Context, c *requestContext, _ *noInput) (tierView, error) {
	t, err := a.APIKeys.Tier(ctx, c.principal.UserID)
	if err != nil {
		return tierView{}, err
	}
	return tierView{t.Tier, t.Limits, tierUsage{t.Sessions, t.Messages, t.APICalls}}, nil
}
