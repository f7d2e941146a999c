package domain

import "time"

// Tier is the plan of a user. It sets the user's [Limits].
type Tier string

// The tiers of the reference service. An embedding program may define others.
const (
	TierBasic Tier = "BASIC"
	TierPro   Tier = "PRO"
	TierMax   Tier = "MAX"
)

// Limits is the set of limits of one tier.
type Limits struct {
	Sessions        int `json:"maxSessions"`     // recorded sessions, and active sessions
	MessagesPerHour int `json:"messagesPerHour"` // outgoing messages
	APICallsPerHour int `json:"apiCallsPerHour"` // calls made with an API key
	// Pool, if not empty, binds the tier to the workers with the label pool=Pool.
	Pool string `json:"-"`
	// Rank orders sessions that wait for a worker, the highest first.
	Rank int `json:"-"`
	// MessageRetention is how long messages are kept. 0: as long as their session.
	MessageRetention time.Duration `json:"-"`
}

// Tiers maps every existing tier to its limits. An embedding program may pass other tiers than
// [DefaultTiers].
type Tiers map[Tier]Limits

// DefaultTiers returns the limits of the reference service.
func DefaultTiers() Tiers {
	const day = 24 * time.Hour
	return Tiers{
		TierBasic: {Sessions: 1, MessagesPerHour: 100, APICallsPerHour: 1_000, Rank: 0, MessageRetention: 30 * day},
		TierPro:   {Sessions: 5, MessagesPerHour: 1_000, APICallsPerHour: 10_000, Rank: 1, MessageRetention: 90 * day},
		TierMax:   {Sessions: 20, MessagesPerHour: 10_000, APICallsPerHour: 100_000, Rank: 2, MessageRetention: 365 * day},
	}
}

// Of returns the limits of t. A tier that does not exist allows nothing.
func (ts Tiers) Of(t Tier) Limits { return ts[t] }

// Role is the set of rights of a user.
type Role string

// The roles.
const (
	RoleUser          Role = "USER"
	RoleAdministrator Role = "ADMINISTRATOR"
)

// User is the owner of sessions.
type User struct {
	ID           string
	Name         string
	Email        string // normalised, unique
	PasswordHash string // only the account service uses it
	Role         Role
	Tier         Tier
	Active       bool
	// CredentialsAt changes with every change of password, role or activity. Access tokens of an older
	// value are refused.
	CredentialsAt time.Time
	LastLoginAt   time.Time // zero: never
	CreatedAt     time.Time
	UpdatedAt     time.Time
	Rev           int64 // row version, see ports.Store
}

// UserUsage counts the sessions of a user. The store updates it together with the counted rows.
type UserUsage struct {
	Sessions       int // recorded sessions
	ActiveSessions int // sessions with the intent up; every active session is among them
}

// RefreshTokenFamily is one login of a user: the refresh tokens that descend from it. Only the newest
// token of a family is valid. The use of an older one revokes the family.
type RefreshTokenFamily struct {
	ID        string // also the session claim of access tokens
	UserID    string
	TokenHash [32]byte // of the newest refresh token
	// ReuseKey recognizes earlier refresh tokens of the family. Zero: they look like any other text.
	ReuseKey   [32]byte
	CreatedAt  time.Time
	LastUsedAt time.Time // of the sign-in or its latest refresh
	ExpiresAt  time.Time
	RevokedAt  time.Time // zero: not revoked
	Address    string    // at LastUsedAt; may be empty
	UserAgent  string    // at LastUsedAt; may be empty
	Rev        int64
}

// IsUsable reports whether the service accepts tokens of the family at the given time.
func (f *RefreshTokenFamily) IsUsable(now time.Time) bool {
	return f.RevokedAt.IsZero() && now.Before(f.ExpiresAt)
}

// PasswordReset is a permission to set a new password once.
type PasswordReset struct {
	TokenHash [32]byte
	UserID    string
	ExpiresAt time.Time
}

// APIKey lets a program send through one session. The store keeps its hash only.
type APIKey struct {
	ID         string
	SessionID  string
	UserID     string
	Name       string
	Hint       string // the first characters, for lists
	Hash       [32]byte
	LastUsedAt time.Time // zero: never; accurate to the minute
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	RevokedAt  time.Time // zero: not revoked
	Rev        int64
}

// Check returns nil if the key is valid at the given time, and otherwise the reason. A revoked key is
// refused whatever the clock shows.
func (k *APIKey) Check(now time.Time) error {
	if !k.RevokedAt.IsZero() {
		return errAPIKey()
	}
	if !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) {
		return Errorf(Unauthenticated, CodeAPIKeyExpired, "API key has expired; rotate it and use the new one")
	}
	return nil
}

// Window counts uses within an hour or another length. A window begins with the first use, not on the
// hour. The zero value is ready to use.
type Window struct {
	Start      time.Time
	Used       int
	Backfilled bool // uses from before the window was known are included
}

// Usage is the state of a window after a request for uses.
type Usage struct {
	Allowed    bool
	Limit      int
	Remaining  int
	Used       int
	ResetAt    time.Time // when the present window ends
	Backfilled bool      // uses from before the window was known are included
}

// AllowN counts n uses at the given time if limit allows all of them, and none otherwise. An n of 0
// only reads. A negative n returns uses whose cause did not happen. Neither begins a window. A clock
// that runs backwards stays in the present window.
func (w *Window) AllowN(now time.Time, length time.Duration, limit, n int) Usage {
	if w.Start.IsZero() || !now.Before(w.Start.Add(length)) {
		if n <= 0 {
			return Usage{Allowed: true, Limit: limit, Remaining: max(limit, 0), ResetAt: now.Add(length), Backfilled: w.Backfilled}
		}
		w.Start, w.Used = now, 0
	}
	u := Usage{Limit: limit, ResetAt: w.Start.Add(length), Backfilled: w.Backfilled}
	u.Allowed = n <= 0 || w.Used+n <= limit
	if u.Allowed {
		w.Used = max(w.Used+n, 0)
	}
	u.Used, u.Remaining = w.Used, max(limit-w.Used, 0)
	return u
}

// Backfill adds uses that were made before the window was known. first is the time of the earliest of
// them. Only the first call has an effect. A call without uses begins a missing window at first.
func (w *Window) Backfill(first time.Time, used int) {
	if w.Backfilled {
		return
	}
	w.Backfilled = true
	if w.Start.IsZero() || used > 0 && first.Before(w.Start) {
		w.Start = first
	}
	w.Used += max(used, 0)
}
