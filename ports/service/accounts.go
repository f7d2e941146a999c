package service

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Profile lists what a user may change of the own account. Nil fields stay.
type Profile struct {
	Name            *string
	Email           *string
	CurrentPassword string
	NewPassword     string // empty: stays
}

// UserChange lists what an administrator may change of a user. Nil fields stay.
type UserChange struct {
	Name   *string
	Tier   *domain.Tier
	Role   *domain.Role
	Active *bool
}

// AuthTokens answers a successful sign-in.
type AuthTokens struct {
	User         *domain.User
	Token        string // access token
	RefreshToken string
	ExpiresIn    time.Duration // of the access token
}

// SignIn is one place where a user is signed in.
type SignIn struct {
	ID         string
	CreatedAt  time.Time
	LastUsedAt time.Time // of the sign-in or its latest refresh
	ExpiresAt  time.Time
	Address    string // at LastUsedAt; may be empty
	UserAgent  string // at LastUsedAt; may be empty
	IsCurrent  bool   // the caller's own
}

// Principal names an authenticated caller.
type Principal struct {
	UserID   string
	Email    string
	Role     domain.Role
	FamilyID string
}

// UserSummary is a user with the number of its sessions.
type UserSummary struct {
	*domain.User
	domain.UserUsage
}

// Accounts signs people in and manages their accounts. A change of password,
// role or activity revokes the user's access tokens.
type Accounts interface {
	// Register creates a user and signs it in. A taken email is a Conflict. A closed
	// registration is Forbidden.
	Register(ctx context.Context, name, email, password string) (*AuthTokens, error)
	// Login takes the same time whether or not the email exists. Too many failures are Exceeded:
	// for one email and network, and for one email from all networks that are not known to
	// be its user's. The network comes from [CallerOf].
	Login(ctx context.Context, email, password string) (*AuthTokens, error)
	// Refresh returns new tokens for the newest refresh token of a sign-in. An older
	// refresh token also ends the sign-in. Any other text is refused and ends nothing.
	Refresh(ctx context.Context, refreshToken string) (*AuthTokens, error)
	// RefreshInBrowser is Refresh for a token that the pages of a browser share. Within ten
	// seconds after a token was replaced, it returns the newest refresh token once more.
	RefreshInBrowser(ctx context.Context, refreshToken string) (*AuthTokens, error)
	// SignIns lists where the principal is signed in, latest use first.
	SignIns(ctx context.Context, p Principal) ([]SignIn, error)
	// EndSignIn ends a sign-in of the principal, at once on this replica and within a second
	// on others. A sign-in of another user is NotFound.
	EndSignIn(ctx context.Context, p Principal, id string) error
	// Logout ends the principal's sign-in. Repeating it is no error.
	Logout(ctx context.Context, p Principal) error
	// Authenticate checks an access token, revocation included.
	Authenticate(ctx context.Context, token string) (Principal, error)
	Get(ctx context.Context, userID string) (*UserSummary, error)
	// UpdateProfile changes all given fields or none. A new password or email needs the
	// current password. A new password ends every sign-in, a new email every other one.
	// The old email address is told.
	UpdateProfile(ctx context.Context, p Principal, ch Profile) (*domain.User, error)
	// ChangePassword ends every sign-in of the principal, the present one included.
	ChangePassword(ctx context.Context, p Principal, current, next string) error
	// ForgotPassword mails a reset token in the background. The answer does not
	// reveal whether the email has an account.
	ForgotPassword(ctx context.Context, email string) error
	// ResetPassword sets a password by a reset token, which works once, and ends
	// every sign-in of the user.
	ResetPassword(ctx context.Context, token, next string) error
	// Deactivate closes the principal's account and takes its sessions down.
	Deactivate(ctx context.Context, p Principal, password string) error

	// CreateUser is for administrators. It does not sign the user in. An empty tier means
	// the first tier, an empty role means USER.
	CreateUser(ctx context.Context, name, email, password string, tier domain.Tier, role domain.Role) (*domain.User, error)
	// List is for administrators. It also returns how many users match in all.
	List(ctx context.Context, f ports.UserFilter, p ports.Page) ([]*UserSummary, int, error)
	// Update is for administrators.
	Update(ctx context.Context, userID string, ch UserChange) (*UserSummary, error)
}

// Users keeps the users of a program that manages accounts itself, without
// [Accounts].
type Users interface {
	// Add stores a user. ID, Email and Tier are required; the rest is filled in. For
	// a known user only the tier changes. An email of another user is a Conflict.
	Add(ctx context.Context, u domain.User) error
	// ApplyChange applies a changed tier or activity of a stored user, at once on
	// this replica and within a second on others. If more sessions are up than the
	// tier allows, the youngest go down.
	ApplyChange(ctx context.Context, userID string) error
}
