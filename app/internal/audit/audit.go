package audit

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/retry"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// failureTimeout is the time limit of the transaction that records a failure.
const failureTimeout = 5 * time.Second

// defaultLimit and maxLimit bound the entries of one page.
const (
	defaultLimit = 20
	maxLimit     = 100
)

// Trail writes and reads the audit trail. It has no state and is safe for concurrent use.
type Trail struct {
	Store ports.Store
	IDs   ports.IDs
	Now   func() time.Time
	Log   *slog.Logger
}

var _ service.Audit = Trail{}

// Details are pairs of a name and a value. Pairs without a value are left out.
type Details []string

// toMap returns the details as a map, or nil without details.
func (d Details) toMap() map[string]string {
	var m map[string]string
	for i := 0; i+1 < len(d); i += 2 {
		if d[i+1] == "" {
			continue
		}
		if m == nil {
			m = make(map[string]string, len(d)/2)
		}
		m[d[i]] = d[i+1]
	}
	return m
}

// Object returns an object as entries name it. An empty id stands for an unknown object.
func Object(kind, id string) string {
	if id == "" {
		return kind
	}
	return kind + ":" + id
}

// entry returns an entry of the caller in ctx.
func (t Trail) entry(ctx context.Context, action domain.AuditAction, object string, outcome domain.AuditOutcome, details Details) domain.AuditEntry {
	c := service.CallerOf(ctx)
	return domain.AuditEntry{
		ID: t.IDs.NewID(), At: t.Now(), Actor: c.Actor, Action: action, Object: object, Address: c.Address,
		Outcome: outcome, Details: details.toMap(), Count: 1,
	}
}

// Record adds an action of the caller in ctx. The action succeeds with the transaction.
func (t Trail) Record(ctx context.Context, tx *ports.Tx, action domain.AuditAction, object string, details ...string) error {
	return tx.Audit.Append(ctx, t.entry(ctx, action, object, domain.AuditSucceeded, details).Bounded())
}

// RecordAs is Record for an actor that the context does not know yet: a person who signs in.
func (t Trail) RecordAs(ctx context.Context, tx *ports.Tx, actor domain.Actor, action domain.AuditAction, object string, details ...string) error {
	c := service.CallerOf(ctx)
	c.Actor = actor
	return t.Record(service.WithCaller(ctx, c), tx, action, object, details...)
}

// RecordAlone adds an action that succeeded and changed no row, in a transaction of its
// own.
func (t Trail) RecordAlone(ctx context.Context, action domain.AuditAction, object string, details ...string) {
	t.append(ctx, t.entry(ctx, action, object, domain.AuditSucceeded, details))
}

// RecordRefusal adds an action that ends with err in a transaction that commits.
func (t Trail) RecordRefusal(ctx context.Context, tx *ports.Tx, err error, action domain.AuditAction, object string) error {
	return tx.Audit.Append(ctx, t.failure(ctx, err, action, object, nil).Bounded())
}

// RecordFailure adds an action that ended with err, in a transaction of its own. It does
// nothing if err is nil.
func (t Trail) RecordFailure(ctx context.Context, err error, action domain.AuditAction, object string, details ...string) {
	if err != nil {
		t.append(ctx, t.failure(ctx, err, action, object, details))
	}
}

// failure returns the entry of an action that ended with err. Equal failures of one
// minute are one entry.
func (t Trail) failure(ctx context.Context, err error, action domain.AuditAction, object string, details Details) domain.AuditEntry {
	e := t.entry(ctx, action, object, domain.AuditFailed, append(details, "code", code(err)))
	e.ID = domain.CountedAuditID(e.At, string(action), object, string(e.Actor.Kind), e.Actor.ID, e.Address, e.Details["code"])
	return e
}

// RecordFailedSignIn adds a failed sign-in. Entries are counted by email, address and
// minute. An empty userID stands for an email without a user.
func (t Trail) RecordFailedSignIn(ctx context.Context, err error, userID, email string) {
	e := t.entry(ctx, domain.AuditUserSignInFailed, Object("user", userID), domain.AuditFailed, Details{"code", code(err)})
	e.Actor = domain.Actor{Kind: domain.ActorAnonymous, Email: email}
	e.ID = domain.CountedAuditID(e.At, string(e.Action), email, e.Address, e.Details["code"])
	t.append(ctx, e)
}

// code returns the code of an error for an entry.
func code(err error) string {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return "CANCELLED"
	}
	return string(domain.CodeOf(err))
}

// append adds an entry in a transaction of its own. It detaches from the caller's
// cancellation.
func (t Trail) append(ctx context.Context, e domain.AuditEntry) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), failureTimeout)
	defer cancel()
	err := retry.Updater{Store: t.Store}.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		return tx.Audit.Append(ctx, e.Bounded())
	})
	if err != nil {
		t.Log.ErrorContext(ctx, "audit entry lost", "action", e.Action, "object", e.Object, "actor", e.Actor.ID,
			"outcome", e.Outcome, "error", err)
	}
}

// List returns the matching entries, newest first, and where the next page begins.
func (t Trail) List(ctx context.Context, f ports.AuditFilter) (list []domain.AuditEntry, next domain.Cursor, err error) {
	if f.Limit <= 0 {
		f.Limit = defaultLimit
	}
	f.Limit = min(f.Limit, maxLimit)
	page := f.Limit
	f.Limit++ // one more shows whether there is another page
	err = t.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		list, err = tx.Audit.List(ctx, f)
		return err
	})
	if err != nil {
		return nil, next, apperr.PublicIn(ctx, err)
	}
	if len(list) > page {
		list = list[:page]
		next = domain.Cursor{At: list[page-1].At, ID: list[page-1].ID}
	}
	return list, next, nil
}

// DeleteBefore removes the entries from before a time.
func (t Trail) DeleteBefore(ctx context.Context, before time.Time) error {
	return retry.Updater{Store: t.Store}.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		return tx.Audit.DeleteBefore(ctx, before)
	})
}
