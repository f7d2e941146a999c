package service

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// CreateSessionParams describes a session to be created.
type CreateSessionParams struct {
	ID          string // empty: derived from the name
	Name        string
	Description string
}

// CreatedSession is a new session with its API key, which no other call shows.
type CreatedSession struct {
	*domain.Session
	APIKey string
}

// SessionView is a session with its worker, as a user sees them.
type SessionView struct {
	*domain.Session
	Worker *domain.Worker // nil: not assigned
}

// SessionQR is the QR code to scan, or the pairing code to type. QR is zero and
// PairingCode empty while there is none.
type SessionQR struct {
	SessionID   string
	Status      domain.Status
	WorkerID    string
	QR          domain.QR
	PairingCode string
	Reason      string // why the session is DISCONNECTED or in ERROR, fit to show; empty: not known
	IsExpired   bool   // the session waits for a scan, and its worker did not renew the code
}

// ConnectOptions refines a connect. The zero value asks for a QR and does not wait.
type ConnectOptions struct {
	PairingPhone string        // asks for a pairing code
	Wait         time.Duration // for a QR, a pairing code or a connection
}

// Sessions serves the owner of sessions.
//
// Connect, Disconnect, Logout, Restart and Delete record the intent and try to
// carry it out before they return. Once the intent is recorded the background
// work carries it out, also after a crash, whether or not the caller waits.
type Sessions interface {
	// Create stores a session and its API key. It starts nothing. More sessions than
	// the tier allows are a Conflict (SESSION_LIMIT_EXCEEDED).
	Create(ctx context.Context, userID string, p CreateSessionParams) (*CreatedSession, error)
	Get(ctx context.Context, userID, sessionID string) (*SessionView, error)
	// List returns the newest first, and how many match in all.
	List(ctx context.Context, userID string, f ports.SessionFilter, p ports.Page) ([]*SessionView, int, error)
	// Connect places the session on a worker and starts it there. A session whose code
	// has expired starts anew. Without a worker
	// for it nothing is recorded, and the error (NO_AVAILABLE_WORKERS and others)
	// says why.
	Connect(ctx context.Context, userID, sessionID string, opt ConnectOptions) (*SessionQR, error)
	QR(ctx context.Context, userID, sessionID string) (*SessionQR, error)
	// Disconnect keeps the session's credentials. Repeating it is no error.
	Disconnect(ctx context.Context, userID, sessionID string) (*SessionView, error)
	// Logout also unlinks the phone.
	Logout(ctx context.Context, userID, sessionID string) (*SessionView, error)
	// Restart is a Conflict for a session whose intent is not up.
	Restart(ctx context.Context, userID, sessionID string) (*SessionView, error)
	Delete(ctx context.Context, userID, sessionID string) error
}

// Sender sends messages: the holder of an API key, or a user through a session
// of its own.
type Sender struct {
	KeyID     string // empty: a user with an access token
	UserID    string
	SessionID string
}

// APIKeyView is an API key with its session.
type APIKeyView struct {
	*domain.APIKey
	Session *domain.Session
}

// TierView tells what a user's tier allows and how much of it is used. Messages and APICalls are the
// counts by which the limiter decides, the same on every replica: a message that was refused or was
// certainly not sent does not count. They exceed the limits after a tier was lowered. Once a limiter has
// lost its counts, for example by the restart of a process that has them in memory, the messages of the
// history count instead, failed ones too, and API calls count from 0.
type TierView struct {
	Tier     domain.Tier
	Limits   domain.Limits
	Sessions int
	Messages int // in the present window of an hour, which began with its first message
	APICalls int // likewise
}

// APIKeys manages the API keys of sessions, and counts calls against the tier.
type APIKeys interface {
	// Authenticate checks an API key and counts the call. It returns the usage also
	// when the limit is used up (API_LIMIT_EXCEEDED).
	Authenticate(ctx context.Context, key string) (Sender, domain.Usage, error)
	// List returns the valid keys, newest first.
	List(ctx context.Context, userID string) ([]*APIKeyView, error)
	// Rotate returns a new key. The old keys end after the grace.
	Rotate(ctx context.Context, userID, sessionID string, grace time.Duration) (string, error)
	// Revoke ends a key at once, on other replicas within a second. A key of another user is
	// not found.
	Revoke(ctx context.Context, userID, keyID string) error
	// Tier returns the limits of the user's tier and how much of them is used. Messages and
	// API calls are those of the current hour.
	Tier(ctx context.Context, userID string) (*TierView, error)
}
