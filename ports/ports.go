package ports

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

// Clock tells the time. It never runs backwards by more than the system clock does.
type Clock interface {
	Now() time.Time
}

// IDs makes identifiers: unique, printable, at most 64 characters, and sorting
// by the time they were made, to the millisecond.
type IDs interface {
	NewID() string
}

// Random fills p with unpredictable bytes. crypto/rand's Reader is one.
type Random interface {
	Read(p []byte) (int, error)
}

// Route says where a session is, for the send path. A route is a cache of what
// the store says: losing one costs a look-up, never correctness.
type Route struct {
	SessionID  string
	UserID     string
	WorkerID   string // empty: not assigned
	Generation int64
	Status     domain.Status
	Phone      string // of the WhatsApp account
	Rev        int64  // of the session row that it was made from
}

// Routes maps sessions to their workers, for all processes that share it. An
// answer may be out of date, if another process has put or deleted the route.
type Routes interface {
	// Get returns the route, or ErrNotFound.
	Get(ctx context.Context, sessionID string) (Route, error)
	// Put keeps the route unless one of a higher Rev is there already.
	Put(ctx context.Context, r Route) error
	// Delete of a missing route is no error.
	Delete(ctx context.Context, sessionID string) error
}

// Limiter counts uses by key in windows that begin with the first use; see
// [domain.Window] for the rule.
type Limiter interface {
	// AllowN asks for n uses at a time, in a window of the given length with room
	// for limit. It is atomic: all of n or nothing. n of 0 only looks; a
	// negative n gives back.
	//
	// A key is remembered for one length more than its window. Whether it was seeded
	// since it is remembered, the usage says.
	AllowN(ctx context.Context, key string, at time.Time, length time.Duration, limit, n int) (domain.Usage, error)
	// Backfill adds uses from before the limiter knew the key, the first of them at a
	// time: the window then began no later than that. Only the first Backfill of a
	// remembered key counts, also if it adds nothing: of a key that was not known,
	// the window then began at that time.
	Backfill(ctx context.Context, key string, first time.Time, length time.Duration, used int) error
}

// Bus carries recorded events to whoever listens, in every process that shares
// it. Delivery is at least once and in order of Seq per session, unless the
// bus loses its connection; what must not be missed is read from the store.
type Bus interface {
	// Publish may be called again with the same events after an error, when nothing or
	// some may have been published.
	Publish(ctx context.Context, events ...domain.Event) error
	// Subscribe calls fn, one event at a time, until cancel is called. A slow
	// fn loses events rather than holding up the publisher.
	Subscribe(fn func(domain.Event)) (cancel func())
}

// Invalidation names what has changed in the store, for processes that keep a part of it
// in memory.
type Invalidation struct {
	Sessions []string // ids
	Workers  []string // ids
	Users    []string // ids of those whose account, sign-ins or API keys changed
	All      bool     // anything may have changed: earlier invalidations may have been lost
}

// Invalidator tells the other processes that share a store what has changed. An invalidation
// may be lost or come twice; it is never the only way to learn of a change.
type Invalidator interface {
	// Publish passes an invalidation on to every other process. It is quick and never fails: it
	// may send invalidations later, and together.
	Publish(h Invalidation)
	// Subscribe calls fn with what others tell, one invalidation at a time, until cancel is
	// called. fn must be quick. After a gap in which invalidations may have been lost, fn
	// gets one with All.
	Subscribe(fn func(Invalidation)) (cancel func())
}

// NoInvalidator is [Invalidator] for a process that shares its store with no other.
type NoInvalidator struct{}

// Publish does nothing.
func (NoInvalidator) Publish(Invalidation) {}

// Subscribe never calls fn.
func (NoInvalidator) Subscribe(func(Invalidation)) (cancel func()) { return func() {} }

// Backend is a Store together with everything else that the core needs from its
// surroundings. The core takes a plain Store too, with the rest given apart.
type Backend interface {
	Store
	Routes() Routes
	Limiter() Limiter
	Bus() Bus
	Invalidator() Invalidator
	Clock() Clock
	IDs() IDs
	Random() Random
	// Shared reports whether other processes may work on the same store.
	Shared() bool
}

// Passwords hashes passwords so that guessing is slow.
type Passwords interface {
	// Hash gives another result each time, for the salt.
	Hash(password string) (string, error)
	// Matches takes as long for a wrong password as for the right one; an empty
	// hash matches nothing, in the same time.
	Matches(hash, password string) bool
}

// Claims is what an access token says.
type Claims struct {
	UserID        string
	FamilyID      string
	Role          domain.Role
	CredentialsAt time.Time // see domain.User; microseconds
	ExpiresAt     time.Time
}

// Tokens signs and checks access tokens.
type Tokens interface {
	// Sign gives a token that is good, for every process with the same secret, until
	// Claims.ExpiresAt.
	Sign(c Claims) (string, error)
	// Verify returns the claims of a token that this service signed and that
	// has not expired at the given time, or a domain error with the code
	// AUTH_TOKEN_INVALID or AUTH_TOKEN_EXPIRED.
	Verify(token string, now time.Time) (Claims, error)
}
