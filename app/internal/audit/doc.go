// Package audit writes and reads the audit trail: who did what to which object, from
// where, when, and how it ended.
//
// Who and from where travel in the context ([service.Caller]). An inbound adapter puts
// them there.
//
//	httpapi, command line ─ctx─► service ─► Update: rows + Trail.Record   one transaction
//	                                └─ error ─► Trail.RecordFailure       its own transaction
//
// # What it promises
//
//   - A service calls [Trail.Record] inside its own transaction. The entry exists if and
//     only if the action took place.
//   - An action that failed changed nothing, so its entry has a transaction of its own. If
//     that fails too, the log says so, and the caller gets the error of the action.
//   - Equal failures of one minute are one entry with a count: the same action, object,
//     caller, address and code; of sign-ins the same email, address and code.
//   - No entry holds a secret. Texts from outside are cut ([domain.AuditEntry.Bounded]).
//   - Entries outlive their objects. [Trail.DeleteBefore] ends them by age alone.
//
// # What is recorded
//
// The list of actions is closed ([domain.AuditActions]). It covers sign-ins, passwords,
// emails, keys, tiers, roles, every action of an administrator or of the command line, and
// workers that the fleet token takes over. Reading is not recorded.
package audit
