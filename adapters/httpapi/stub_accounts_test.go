package httpapi

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// stubAccounts is the stub of the accounts.
type stubAccounts struct{ *stub }

func (s stubAccounts) signedIn() *service.AuthTokens {
	return &service.AuthTokens{User: someUser(), Token: "access", RefreshToken: "refresh", ExpiresIn: time.Hour}
}

func (s stubAccounts) Register(_ context.Context, name, email, password string) (*service.AuthTokens, error) {
	return s.signedIn(), s.note([]string{name, email, password})
}

func (s stubAccounts) Login(ctx context.Context, email, password string) (*service.AuthTokens, error) {
	return s.signedIn(), s.note([]string{email, password, service.CallerOf(ctx).Address})
}

func (s stubAccounts) Refresh(_ context.Context, token string) (*service.AuthTokens, error) {
	return s.signedIn(), s.note(token)
}

func (s stubAccounts) RefreshInBrowser(_ context.Context, token string) (*service.AuthTokens, error) {
	return s.signedIn(), s.note("browser: " + token)
}

func (s stubAccounts) Logout(_ context.Context, c service.Principal) error { return s.note(c) }

func (s stubAccounts) Authenticate(_ context.Context, token string) (service.Principal, error) {
	switch token {
	case userToken:
		return service.Principal{UserID: "u1", Role: domain.RoleUser, FamilyID: "f1"}, nil
	case adminToken:
		return service.Principal{UserID: "a1", Email: "root@example.com", Role: domain.RoleAdministrator, FamilyID: "f2"}, nil
	}
	return service.Principal{}, domain.Errorf(domain.Unauthenticated, domain.CodeAuthTokenInvalid, "Access token is not valid; sign in again")
}

func (s stubAccounts) Get(_ context.Context, id string) (*service.UserSummary, error) {
	return someSummary(), s.note(id)
}

func (s stubAccounts) UpdateProfile(_ context.Context, _ service.Principal, p service.Profile) (*domain.User, error) {
	return someUser(), s.note(p)
}

func (s stubAccounts) ChangePassword(_ context.Context, _ service.Principal, current, next string) error {
	return s.note([]string{current, next})
}

func (s stubAccounts) ForgotPassword(_ context.Context, email string) error { return s.note(email) }

func (s stubAccounts) ResetPassword(_ context.Context, token, next string) error {
	return s.note([]string{token, next})
}

func (s stubAccounts) Deactivate(_ context.Context, _ service.Principal, password string) error {
	return s.note(password)
}

func (s stubAccounts) SignIns(_ context.Context, c service.Principal) ([]service.SignIn, error) {
	return []service.SignIn{
		{ID: "f1", CreatedAt: noon, LastUsedAt: noon, ExpiresAt: noon.Add(time.Hour), Address: "203.0.113.7", UserAgent: "Firefox", IsCurrent: true},
		{ID: "f0", CreatedAt: noon, LastUsedAt: noon, ExpiresAt: noon.Add(time.Hour)},
	}, s.note(c)
}

func (s stubAccounts) EndSignIn(_ context.Context, _ service.Principal, id string) error {
	return s.note(id)
}

func (s stubAccounts) CreateUser(_ context.Context, name, email, password string, tier domain.Tier, role domain.Role) (*domain.User, error) {
	return someUser(), s.note([]any{name, email, password, tier, role})
}

func (s stubAccounts) List(_ context.Context, f ports.UserFilter, p ports.Page) ([]*service.UserSummary, int, error) {
	return []*service.UserSummary{someSummary()}, 41, s.note([]any{f, p})
}

func (s stubAccounts) Update(_ context.Context, _ string, ch service.UserChange) (*service.UserSummary, error) {
	return someSummary(), s.note(ch)
}
