package service

import (
	"context"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Caller names who calls a service, and from where. Services write it into the audit trail.
type Caller struct {
	Actor     domain.Actor
	Address   string // as text; empty: not known, or no network is involved
	UserAgent string // as sent; empty: not known
}

// CallerKey is the key of a [Caller] in a context. An inbound adapter with a context type of its own may
// return the Caller for this key, in place of calling [WithCaller].
type CallerKey struct{}

// WithCaller returns a context that carries a caller.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, CallerKey{}, c)
}

// CallerOf returns the caller that a context carries. A context without a caller stands for the program
// itself ([domain.ActorSystem]).
func CallerOf(ctx context.Context) Caller {
	if c, ok := ctx.Value(CallerKey{}).(Caller); ok {
		return c
	}
	return Caller{Actor: domain.Actor{Kind: domain.ActorSystem}}
}

// Audit reads the audit trail.
type Audit interface {
	// List returns the matching entries, newest first, and the cursor for the next page. The cursor is
	// zero on the last page.
	List(ctx context.Context, f ports.AuditFilter) ([]domain.AuditEntry, domain.Cursor, error)
}
