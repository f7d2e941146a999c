package domain

import "time"

// Tier is what a user pays for. It sets the user's [Limits].
type Tier string

// The tiers of the reference service. An embedder may define others.
const (
	TierBasic Tier = "BASIC"
	TierPro   Tier = "PRO"
	TierMax   Tier = "MAX"
)

// Limits is what one tier allows.
type Limits struct {
	Sessions        int `json:"maxSessions"`     // session cards, and live sessions
	MessagesPerHour int `json:"messagesPerHour"` // outgoing messages
	APICallsPerHour int `json:"apiCallsPerHour"` // calls made with an API key
	// Pool, if not empty, binds the tier to the workers that carry the label
	// pool=Pool.
	Pool string `json:"-"`
	// Rank orders sessions that wait for a worker: the higher first.
	Rank int `json:"-"`
}

// Tiers gives the limits of every tier that exists. It is data: an embedder
// passes its own instead of [DefaultTiers].
type Tiers map[Tier]Limits

// DefaultTiers returns the limits of the reference service.
func DefaultTiers() Tiers {
	return Tiers{
		TierBasic: {Sessions: 1, MessagesPerHour: 100, APICallsPerHour: 1_000, Rank: 0},
		TierPro:   {Sessions: 5, MessagesPerHour: 1_000, APICallsPerHour: 10_000, Rank: 1},
		TierMax:   {Sessions: 20, MessagesPerHour: 10_000, APICallsPerHour: 100_000, Rank: 2},
	}
}

// Of returns the limits of t, or nothing at all for a tier that does not
// exist: an unknown tier allows nothing.
func (ts Tiers) Of(t Tier) Limits { return ts[t] }

// Role is what a user may do.
type Role string

// The roles.
const (
	RoleUser          Role = "USER"
	RoleAdministrator Role = "ADMINISTRATOR"
)

// User owns sessions.
type User struct {
	ID           string
	Name         string
	Email        string // normalised, unique
	PasswordHash string // never leaves the account use cases
	Role         Role
	Tier         Tier
	Active       bool
	// CredentialsAt changes with every change of password, role or activity:
	// access tokens issued for an older value are refused.
	CredentialsAt time.Time
	LastLoginAt   time.Time // zero: never
	CreatedAt     time.Time
	UpdatedAt     time.Time
	Rev           int64 // row version, see ports.Store
}

// UserUsage counts what a user has at the moment. The store keeps it together
// with the rows that it counts.
type UserUsage struct {
	Sessions       int // session cards
	ActiveSessions int // sessions that are wanted up, which includes every live one
}

// RefreshTokenFamily is one login of a user: the family of refresh tokens that descend
// from it. Only the newest token of a family is good; using an older one
// revokes the family.
type RefreshTokenFamily struct {
	ID        string // also the session claim of access tokens
	UserID    string
	TokenHash [32]byte // of the newest refresh token
	CreatedAt time.Time
	ExpiresAt time.Time
	RevokedAt time.Time // zero: good
	Rev       int64
}

// IsUsable reports whether tokens of the family are accepted at the given time.
func (f *RefreshTokenFamily) IsUsable(now time.Time) bool {
	return f.RevokedAt.IsZero() && now.Before(f.ExpiresAt)
}

// PasswordReset is a one-use permission to set a new password.
type PasswordReset struct {
	TokenHash [32]byte
	UserID    string
	ExpiresAt time.Time
}

// APIKey lets a program send through one session. Only its hash is stored.
type APIKey struct {
	ID         string
	SessionID  string
	UserID     string
	Name       string
	Hint       string // the first characters, for lists
	Hash       [32]byte
	LastUsedAt time.Time // zero: never; kept to the minute
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	RevokedAt  time.Time // zero: good
	Rev        int64
}

// Check reports why the key is refused at the given time, or nil. One that is
// revoked is refused whatever the clock shows.
func (k *APIKey) Check(now time.Time) error {
	if !k.RevokedAt.IsZero() {
		return Errorf(Unauthenticated, CodeAPIKeyInvalid, "API key is not valid; use the key shown when the session was created or rotate it")
	}
	if !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) {
		return Errorf(Unauthenticated, CodeAPIKeyExpired, "API key has expired; rotate it and use the new one")
	}
	return nil
}

// Window counts uses within an hour, or any other length, that begins with the
// first use rather than on the hour. The zero value is ready to use.
type Window struct {
	Start      time.Time
	Used       int
	Backfilled bool // uses from before the window was known have been added
}

// Usage says where a caller stands after asking for room in a window.
type Usage struct {
	Allowed    bool
	Limit      int
	Remaining  int
	Used       int
	ResetAt    time.Time // when the present window ends
	Backfilled bool      // uses from before the window was known have been added
}

// AllowN counts n uses at the given time if limit allows them all, and nothing
// otherwise. An n of 0 only looks, and a negative n gives uses back, as when
// what was counted did not happen; neither begins a window. Time that runs
// backwards stays in the present window.
func (w *Window) AllowN(now time.Time, length time.Duration, limit, n int) Usage {
	if w.Start.IsZero() || !now.Before(w.Start.Add(length)) {
		if n <= 0 {
			return Usage{Allowed: true, Limit: limit, Remaining: max(limit, 0), ResetAt: now.Add(length), Backfilled: w.Backfilled}
		}
		w.Start, w.Used = now, 0
	}
	u := Usage{Limit: limit, ResetAt: w.Start.Add(length), Backfilled: w.Backfilled}
	if u.Allowed = n <= 0 || w.Used+n <= limit; u.Allowed {
		w.Used = max(w.Used+n, 0)
	}
	u.Used, u.Remaining = w.Used, max(limit-w.Used, 0)
	return u
}

// Backfill adds uses that were made before the window was known, the first of them
// at a time; it does so once. If there were none, and there is no window yet, that
// is when the first would have been.
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
