package ports

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

// Clock returns the time. It runs backwards only when the system clock does.
type Clock interface {
	Now() time.Time
}

// IDs makes identifiers. They are unique, printable and at most 64 characters long. They sort by their
// time of creation, to the millisecond.
type IDs interface {
	NewID() string
}

// Random fills p with unpredictable bytes. Reader of crypto/rand is an implementation.
type Random interface {
	Read(p []byte) (int, error)
}

// Route is the cached location of a session, for the send path. The store is the truth: a lost route
// costs one look-up and never correctness.
type Route struct {
	SessionID  string
	UserID     string
	WorkerID   string // empty: not assigned
	Generation int64
	Status     domain.Status
	Phone      string // digits of the WhatsApp account
	Rev        int64  // Rev of the session row that the route comes from
}

// Routes maps sessions to workers for all processes that share it. A returned route may be old if
// another process has put or deleted the route.
type Routes interface {
	// Get returns the route, or ErrNotFound.
	Get(ctx context.Context, sessionID string) (Route, error)
	// Put stores the route unless a route of a higher Rev is present.
	Put(ctx context.Context, r Route) error
	// Delete removes the route. A missing route is no error.
	Delete(ctx context.Context, sessionID string) error
}

// Limiter counts uses by key in windows that begin with the first use. [domain.Window] states the
// rules.
type Limiter interface {
	// AllowN counts n uses at a time if the window of the given length has room for all of them within
	// limit. It is atomic: it counts all of n or nothing. An n of 0 only reads. A negative n returns
	// uses.
	//
	// The limiter remembers a key for one length beyond the end of its window. Usage.Backfilled reports
	// whether a Backfill took place since then.
	AllowN(ctx context.Context, key string, at time.Time, length time.Duration, limit, n int) (domain.Usage, error)
	// Backfill adds uses from before the limiter knew the key. first is the time of the earliest of
	// them: the window began no later. Only the first Backfill of a remembered key counts, even if it
	// adds no uses. A Backfill without uses begins the window of an unknown key at first.
	Backfill(ctx context.Context, key string, first time.Time, length time.Duration, used int) error
}

// Invalidation names changed rows for processes that cache them.
type Invalidation struct {
	Sessions []string // ids
	Workers  []string // ids
	Users    []string // ids of users whose account, logins or API keys changed
	Events   bool     // events were recorded
	All      bool     // everything may have changed: earlier invalidations may be lost
}

// Invalidator informs the other processes that share a store about changed rows. An invalidation may
// be lost or repeated. The core never relies on it alone.
type Invalidator interface {
	// Publish sends an invalidation to every other process. It returns at once and reports no error. It
	// may delay invalidations and join them.
	Publish(i Invalidation)
	// Subscribe calls fn with the invalidations of other processes, one at a time, until cancel is
	// called. fn must return quickly. After a gap in which invalidations may be lost, fn receives one
	// with All.
	Subscribe(fn func(Invalidation)) (cancel func())
}

// NoInvalidator is the [Invalidator] of a process that shares its store with no other process.
type NoInvalidator struct{}

// Publish does nothing.
func (NoInvalidator) Publish(Invalidation) {}

// Subscribe never calls fn.
func (NoInvalidator) Subscribe(func(Invalidation)) (cancel func()) { return func() {} }

// Backend is a Store together with the other ports that depend on the chosen data source. The core also
// accepts a plain Store and the other ports one by one.
type Backend interface {
	Store
	Routes() Routes
	Limiter() Limiter
	Invalidator() Invalidator
	Clock() Clock
	IDs() IDs
	Random() Random
	// Shared reports whether other processes may work on the same store.
	Shared() bool
}

// Passwords hashes passwords so that guessing is slow. Both methods may wait for their turn. If too many
// calls wait, a method returns an error of [domain.Overloaded]. If ctx ends during the wait, it returns
// the context's error.
type Passwords interface {
	// Hash returns a new salted hash, different for each call.
	Hash(ctx context.Context, password string) (string, error)
	// Matches reports whether the password matches the hash. It takes the same time for a right and a
	// wrong password. An empty hash matches nothing, after the same time.
	Matches(ctx context.Context, hash, password string) (bool, error)
}

type knownCallerKey struct{}

// WithKnownCaller returns a context for the work of a known caller on the password of an account. The caller is
// signed in, holds a mailed token, or calls from a network from which the account was used lately. The account
// is an id or an email, never empty.
func WithKnownCaller(ctx context.Context, account string) context.Context {
	return context.WithValue(ctx, knownCallerKey{}, account)
}

// KnownCaller returns the account of [WithKnownCaller], or "" for a stranger. [Passwords] that bound their work
// keep room for known callers, and for each account beside the others.
func KnownCaller(ctx context.Context) (account string) {
	account, _ = ctx.Value(knownCallerKey{}).(string)
	return account
}

// Claims is the content of an access token.
type Claims struct {
	UserID        string
	FamilyID      string
	Role          domain.Role
	CredentialsAt time.Time // see domain.User; in microseconds
	IssuedAt      time.Time // zero: the token does not say
	ExpiresAt     time.Time
}

// Tokens signs and verifies access tokens.
type Tokens interface {
	// Sign returns a token that every process with the same secret accepts until Claims.ExpiresAt.
	Sign(c Claims) (string, error)
	// Verify returns the claims of a token that was signed with the same secret and has not expired at
	// the given time. Otherwise it returns a domain error with the code AUTH_TOKEN_INVALID or
	// AUTH_TOKEN_EXPIRED.
	Verify(token string, now time.Time) (Claims, error)
}
