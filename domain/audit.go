package domain

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
)

// AuditAction names an action in the audit trail: the kind of its object, a dot, what happened.
type AuditAction string

// The actions of the audit trail.
const (
	AuditUserRegistered      AuditAction = "user.registered"
	AuditUserCreated         AuditAction = "user.created"
	AuditUserUpdated         AuditAction = "user.updated"
	AuditUserSignedIn        AuditAction = "user.signed-in"
	AuditUserSignInFailed    AuditAction = "user.sign-in-failed"
	AuditUserSignedOut       AuditAction = "user.signed-out"
	AuditUserSignInEnded     AuditAction = "user.sign-in-ended" // from another sign-in, or because there were too many
	AuditUserRefreshReused   AuditAction = "user.refresh-reused"
	AuditUserPasswordChanged AuditAction = "user.password-changed"
	AuditUserResetRequested  AuditAction = "user.reset-requested"
	AuditUserPasswordReset   AuditAction = "user.password-reset"
	AuditUserEmailChanged    AuditAction = "user.email-changed"
	AuditUserTierChanged     AuditAction = "user.tier-changed"
	AuditUserRoleChanged     AuditAction = "user.role-changed"
	AuditUserActivated       AuditAction = "user.activated"
	AuditUserDeactivated     AuditAction = "user.deactivated"
	AuditUserDeleted         AuditAction = "user.deleted"

	AuditKeyCreated AuditAction = "api-key.created"
	AuditKeyRotated AuditAction = "api-key.rotated"
	AuditKeyDeleted AuditAction = "api-key.deleted"

	AuditWebhookCreated     AuditAction = "webhook.created"
	AuditWebhookUpdated     AuditAction = "webhook.updated"
	AuditWebhookDeleted     AuditAction = "webhook.deleted"
	AuditWebhookRotated     AuditAction = "webhook.secret-rotated"
	AuditWebhookSwitchedOff AuditAction = "webhook.switched-off" // by the system

	AuditSessionDeleted AuditAction = "session.deleted"
	// The following actions on sessions are recorded for administrators only.
	AuditSessionDisconnected AuditAction = "session.disconnected"
	AuditSessionRestarted    AuditAction = "session.restarted"
	AuditSessionMigrated     AuditAction = "session.migrated"
	AuditMigrationCancelled  AuditAction = "migration.cancelled"

	AuditWorkerAdded     AuditAction = "worker.added"
	AuditWorkerTakenOver AuditAction = "worker.taken-over" // the fleet token registered a worker that had a token of its own
	AuditWorkerUpdated   AuditAction = "worker.updated"
	AuditWorkerRemoved   AuditAction = "worker.removed"
	AuditWorkerDestroyed AuditAction = "worker.destroyed"
	AuditWorkerDrained   AuditAction = "worker.drained"
	AuditWorkerActivated AuditAction = "worker.activated"
	AuditWorkerTested    AuditAction = "worker.tested"
	AuditForeignStopped  AuditAction = "worker.foreign-session-stopped"

	AuditFleetRebalanced    AuditAction = "fleet.rebalanced"
	AuditFleetBulk          AuditAction = "fleet.bulk" // a bulk action that began with no session
	AuditFleetProbed        AuditAction = "fleet.probed"
	AuditFleetProbesStarted AuditAction = "fleet.probes-started"
	AuditFleetProbesStopped AuditAction = "fleet.probes-stopped"

	AuditTokenShown AuditAction = "token.shown"

	AuditReportExported AuditAction = "report.exported"
)

// auditActions holds all actions above.
var auditActions = []AuditAction{
	AuditUserRegistered, AuditUserCreated, AuditUserUpdated, AuditUserSignedIn, AuditUserSignInFailed,
	AuditUserSignedOut, AuditUserSignInEnded, AuditUserRefreshReused, AuditUserPasswordChanged,
	AuditUserResetRequested, AuditUserPasswordReset, AuditUserEmailChanged, AuditUserTierChanged,
	AuditUserRoleChanged, AuditUserActivated, AuditUserDeactivated, AuditUserDeleted,
	AuditKeyCreated, AuditKeyRotated, AuditKeyDeleted,
	AuditWebhookCreated, AuditWebhookUpdated, AuditWebhookDeleted, AuditWebhookRotated, AuditWebhookSwitchedOff,
	AuditSessionDeleted, AuditSessionDisconnected, AuditSessionRestarted, AuditSessionMigrated, AuditMigrationCancelled,
	AuditWorkerAdded, AuditWorkerTakenOver, AuditWorkerUpdated, AuditWorkerRemoved, AuditWorkerDestroyed, AuditWorkerDrained, AuditWorkerActivated,
	AuditWorkerTested, AuditForeignStopped,
	AuditFleetRebalanced, AuditFleetBulk, AuditFleetProbed, AuditFleetProbesStarted, AuditFleetProbesStopped,
	AuditTokenShown, AuditReportExported,
}

// AuditActions returns every action of the audit trail.
func AuditActions() []AuditAction { return slices.Clone(auditActions) }

// ParseAuditAction returns the action that the text names, in any case. The part before the dot stands for
// all actions that begin with it. Any other text is [Invalid].
func ParseAuditAction(raw string) (AuditAction, error) {
	text := strings.ToLower(strings.TrimSpace(raw))
	for _, a := range auditActions {
		if group, _, _ := strings.Cut(string(a), "."); text == string(a) || text == group {
			return AuditAction(text), nil
		}
	}
	return "", Errorf(Invalid, CodeValidation, "Action must be an action such as user.signed-in, or the part before the dot")
}

// ActorKind is the kind of caller that an audit entry names.
type ActorKind string

// The kinds of callers.
const (
	ActorUser      ActorKind = "user"
	ActorCLI       ActorKind = "cli"       // the command line
	ActorWorker    ActorKind = "worker"    // a process with a worker token
	ActorAnonymous ActorKind = "anonymous" // a caller without a credential
	ActorSystem    ActorKind = "system"    // the program itself, or the program that embeds it
)

// Actor is the caller that an audit entry names.
type Actor struct {
	Kind  ActorKind
	ID    string // of the user or worker; on the command line the user of the operating system
	Email string // of the user; for a failed sign-in the email that was tried
}

// AuditOutcome is the outcome of an audited action.
type AuditOutcome string

// The outcomes.
const (
	AuditSucceeded AuditOutcome = "SUCCEEDED"
	AuditFailed    AuditOutcome = "FAILED" // the detail "code" says why
)

// The bounds of an audit entry, in bytes.
const (
	auditTextMax    = 128      // of ids and addresses
	auditEmailMax   = emailMax // the trail is searched by whole emails
	auditDetailMax  = 256      // of one value
	auditDetailsMax = 16       // values
)

// AuditEntry is one entry of the audit trail: who did what to which object, from where, when, and how
// it ended. It contains no secret.
type AuditEntry struct {
	ID      string // grows with time
	At      time.Time
	Actor   Actor
	Action  AuditAction
	Object  string // kind:id, such as worker:worker-1, or a kind alone
	Address string // of the caller; may be empty
	Outcome AuditOutcome
	Details map[string]string // nil: none
	Count   int               // how many equal events the entry stands for
}

// Bounded returns a copy of the entry for the store. Its texts, some of which come from outside, are
// within their bounds, valid UTF-8 and without control characters. Its Count is at least 1.
func (e AuditEntry) Bounded() AuditEntry {
	e.Actor.ID = boundText(e.Actor.ID, auditTextMax)
	e.Actor.Email = boundText(e.Actor.Email, auditEmailMax)
	e.Object = boundText(e.Object, auditTextMax)
	e.Address = boundText(e.Address, auditTextMax)
	e.Count = max(e.Count, 1)
	var details map[string]string
	for _, name := range slices.Sorted(maps.Keys(e.Details)) {
		if len(details) == auditDetailsMax {
			break
		}
		if details == nil {
			details = make(map[string]string, len(e.Details))
		}
		details[boundText(name, auditTextMax)] = boundText(e.Details[name], auditDetailMax)
	}
	e.Details = details
	return e
}

// boundText returns s without control characters, as [StorableText] of at most most bytes.
func boundText(s string, most int) string {
	withoutControls := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	return StorableText(withoutControls, most)
}

// CountedAuditID returns the id of the entry that counts the equal events of one minute. Events are equal
// if their parts are. The id is a UUID of version 7 whose random bits are a hash of the parts.
func CountedAuditID(now time.Time, parts ...string) string {
	hash := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	id := hash[:16]
	ms := now.Truncate(time.Minute).UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6], id[8] = 0x70|id[6]&0x0f, 0x80|id[8]&0x3f
	text := hex.EncodeToString(id)
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}
