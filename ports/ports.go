package ports

import (
	"context"
	"fmt"
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

// Routes maps sessions to their workers.
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
	// Take asks for n uses at a time, in a window of the given length with room
	// for limit. It is atomic: all of n or nothing. n of 0 only looks; a
	// negative n gives back.
	Take(ctx context.Context, key string, at time.Time, length time.Duration, limit, n int) (domain.Usage, error)
}

// Bus carries recorded events to whoever listens, in every process that shares
// it. Delivery is at least once and in order of Seq per session, unless the
// bus loses its connection; what must not be missed is read from the store.
type Bus interface {
	Publish(ctx context.Context, events ...domain.Event) error
	// Subscribe calls fn, one event at a time, until cancel is called. A slow
	// fn loses events rather than holding up the publisher.
	Subscribe(fn func(domain.Event)) (cancel func())
}

// Backend is a Store together with everything else that the core needs from its
// surroundings. The core takes a plain Store too, with the rest given apart.
type Backend interface {
	Store
	Routes() Routes
	Limiter() Limiter
	Bus() Bus
	Clock() Clock
	IDs() IDs
	Random() Random
}

// Mail is one message to a person.
type Mail struct {
	To      string
	Subject string
	Text    string
}

// Mailer sends mail.
type Mailer interface {
	Send(ctx context.Context, m Mail) error
}

// Passwords hashes passwords so that guessing is slow.
type Passwords interface {
	Hash(password string) (string, error)
	// Matches takes as long for a wrong password as for the right one; an empty
	// hash matches nothing, in the same time.
	Matches(hash, password string) bool
}

// Claims is what an access token says.
type Claims struct {
	UserID        string
	SignInID      string
	Role          domain.Role
	CredentialsAt time.Time // see domain.User; microseconds
	ExpiresAt     time.Time
}

// Tokens signs and checks access tokens.
type Tokens interface {
	Sign(c Claims) (string, error)
	// Verify returns the claims of a token that this service signed and that
	// has not expired at the given time, or a domain error with the code
	// AUTH_TOKEN_INVALID or AUTH_TOKEN_EXPIRED.
	Verify(token string, now time.Time) (Claims, error)
}

// WorkerRef names a worker to be called.
type WorkerRef struct {
	ID           string
	Endpoint     string
	Capabilities []domain.Capability
}

// Start is the order to start a session.
type Start struct {
	SessionID    string
	UserID       string
	SessionName  string
	Generation   int64
	Recover      bool   // it was linked before and should come back without a QR
	PairingPhone string // asks for a pairing code
}

// Send is one message for a worker to send.
type Send struct {
	SessionID       string
	ClientMessageID string     // ours; a worker with dedupe drops repeats
	To              domain.JID // resolved
	Message         *domain.Outgoing
}

// Sent is a worker's answer to a send.
type Sent struct {
	WhatsAppID string
	Status     domain.MessageStatus // as far as the worker knows; usually SENT
	At         time.Time            // the worker's; zero: it does not say
}

// WorkerGateway calls workers. Calls are bounded in time by the implementation (5 s
// for Health, 30 s otherwise) and by the context. Those that are safe to repeat
// are retried; a Send only if it cannot have reached the worker, or the worker
// has dedupe. Every failure is a *WorkerError.
type WorkerGateway interface {
	Health(ctx context.Context, endpoint string) error
	Start(ctx context.Context, w WorkerRef, s Start) (domain.Report, error)
	Status(ctx context.Context, w WorkerRef, sessionID string) (domain.Report, error)
	List(ctx context.Context, w WorkerRef) ([]domain.Report, error)
	Restart(ctx context.Context, w WorkerRef, sessionID string) error
	Disconnect(ctx context.Context, w WorkerRef, sessionID string) error
	Logout(ctx context.Context, w WorkerRef, sessionID string) error
	Delete(ctx context.Context, w WorkerRef, sessionID string) error
	Send(ctx context.Context, w WorkerRef, s Send) (Sent, error)
	Act(ctx context.Context, w WorkerRef, sessionID string, a domain.Action) error
}

// WorkerFailure classifies what went wrong in a call to a worker.
type WorkerFailure uint8

// The failures.
const (
	WorkerRefused     WorkerFailure = iota + 1 // nothing listens there
	WorkerNameUnknown                          // its host name does not resolve
	WorkerUnreachable                          // no connection for another reason
	WorkerTimedOut                             // it may or may not have done it
	WorkerBroken                               // the connection ended half-way; it may or may not have done it
	WorkerBusy                                 // 429: it limits us; nothing was done
	WorkerRejected                             // another 4xx; nothing was done
	WorkerFailed                               // a 5xx or an answer that makes no sense
	WorkerSuspended                            // not called: it kept failing a moment ago
	WorkerUnknown                              // 404: it does not have the session
)

// WorkerError is the failure of a call to a worker. Message is in plain words
// and free of addresses.
type WorkerError struct {
	Failure WorkerFailure
	Message string
	Status  int           // HTTP status, if it answered
	Retry   time.Duration // how long a busy worker asks us to wait; 0: not said
	Err     error         // for the log
}

// Error gives the message and the cause, for logs.
func (e *WorkerError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("worker: %s: %v", e.Message, e.Err)
	}
	return "worker: " + e.Message
}

// Unwrap gives the cause.
func (e *WorkerError) Unwrap() error { return e.Err }

// NotDone reports whether the worker certainly did not do what it was asked.
func (e *WorkerError) NotDone() bool {
	switch e.Failure {
	case WorkerTimedOut, WorkerBroken, WorkerFailed:
		return false
	}
	return true
}

// Probe says what the failure tells of the worker's process.
func (e *WorkerError) Probe() domain.ProbeResult {
	switch e.Failure {
	case WorkerRefused:
		return domain.ProbeRefused
	case WorkerTimedOut, WorkerUnreachable, WorkerNameUnknown, WorkerBroken, WorkerSuspended:
		return domain.ProbeTimedOut
	}
	return domain.ProbeAnswered
}
