package domain

import "time"

// Command is the call that the assigned worker has still to receive or to confirm.
//
// The store records a command before a replica calls the worker. After a crash in between, the
// reconciler finds and finishes the command.
type Command string

// The commands.
const (
	CommandNone       Command = ""
	CommandStart      Command = "START"
	CommandRestart    Command = "RESTART"
	CommandDisconnect Command = "DISCONNECT" // stop, keep credentials
	CommandLogout     Command = "LOGOUT"     // stop, wipe credentials
	CommandMove       Command = "MOVE"       // stop on this worker, then start on another
	CommandDelete     Command = "DELETE"     // wipe everything; only in a Cleanup
	CommandForeign    Command = "FOREIGN"    // the worker ran a foreign session; only in a Cleanup
	CommandWiped      Command = "WIPED"      // nothing to call: the worker confirmed a wipe; only in a Cleanup
)

// Wipes reports whether the worker has no credentials of the session after the command.
func (c Command) Wipes() bool { return c == CommandLogout || c == CommandDelete }

// Stops reports whether the session does not run on the worker after the command.
func (c Command) Stops() bool {
	return c == CommandDisconnect || c == CommandLogout || c == CommandMove || c == CommandDelete
}

// MoreDestructive returns the command of a cleanup that keeps less data on the worker.
func (c Command) MoreDestructive(other Command) Command {
	for _, most := range []Command{CommandDelete, CommandLogout, CommandDisconnect, CommandForeign, CommandNone} {
		if c == most || other == most {
			return most
		}
	}
	return c
}

// AsStop returns the stop that ends an assignment: Logout stays, every other command is Disconnect.
func (c Command) AsStop() Command {
	if c == CommandLogout {
		return CommandLogout
	}
	return CommandDisconnect
}

// CommandAccepted records that the worker accepted the command. Only a report that the session runs
// confirms a start. Without one the start is sent again after StartTimeout.
func (s *Session) CommandAccepted(t Timing, now time.Time) {
	if s.Command == CommandRestart {
		s.Command = CommandStart
	}
	s.Attempts++
	s.DueAt = s.DebounceUntil
	if s.DueAt.IsZero() {
		s.DueAt = now.Add(t.StartTimeout)
	}
}

// CommandOutcomeUnknown records that the outcome of a call about the present command is unknown. The
// call is repeated after a backoff.
func (s *Session) CommandOutcomeUnknown(t Timing, now time.Time) {
	s.Attempts++
	s.DueAt = now.Add(t.Backoff(s.Attempts))
}

// CommandThrottled records that the worker limits our calls and executed nothing. The call is repeated
// after the requested wait and does not count as an attempt.
func (s *Session) CommandThrottled(wait time.Duration, t Timing, now time.Time) {
	s.DueAt = now.Add(min(max(wait, 2*t.RestartBackoff), t.MaxBackoff))
}
