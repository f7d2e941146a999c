package domain

import "time"

// ForeignSession is a session that a worker runs, or has run, although this store never gave the session
// to the worker. It may belong to another control plane. Only an administrator wipes it.
type ForeignSession struct {
	SessionID   string
	IsRunning   bool      // the latest list that this replica received has the session
	Status      Status    // by that list; empty: this replica received no list with the session
	PhoneNumber string    // empty: not stated
	FirstSeenAt time.Time // zero: not recorded
	LastSeenAt  time.Time // zero: this replica received no list with the session
}

// Cleanup records that a worker was given a session, and the stop or wipe that is still due there. A
// worker that has changed its state group has a row for each group. The row exists from the first
// assignment until the worker has confirmed the wipe of the credentials, and for a while after it. A
// replica performs the command when the worker can be reached.
type Cleanup struct {
	WorkerID   string
	SessionID  string
	UserID     string  // the owner of the session; empty: unknown
	Command    Command // what is due: CommandNone, CommandDisconnect, a wipe, or one of the commands of cleanups alone
	Generation int64   // the latest generation that the command ends
	DueAt      time.Time
	Attempts   int
	ClaimedBy  string // the replica that performs the cleanup until DueAt; empty if there is none
	Endpoint   string // of the worker when it was removed; empty: the worker is known
	StateGroup string // of the worker when it was given the session; empty: it shared credentials with none
	Destroyed  bool   // an administrator states that the worker's disk is gone
	CreatedAt  time.Time
	Rev        int64
}

// wipedFor is how long a worker is recorded after it has confirmed a wipe. A list that the worker sent
// before the wipe, or a start that arrives late, does not make the session foreign meanwhile.
const wipedFor = time.Hour

// BlocksID reports whether the cleanup keeps the session's id from being used again, because the worker
// may still hold credentials under it.
func (c *Cleanup) BlocksID() bool { return c.IsForeign() || c.Command.Wipes() && !c.Destroyed }

// IsForeign reports whether the worker has run a foreign session. Only an administrator ends such a row.
func (c *Cleanup) IsForeign() bool { return c.Command == CommandForeign }

// IsWiped reports whether the worker has confirmed the wipe. The row only remembers that it was given
// the session, until DueAt.
func (c *Cleanup) IsWiped() bool { return c.Command == CommandWiped }

// HoldsCredentials reports whether the worker may have credentials of an account that was linked here.
func (c *Cleanup) HoldsCredentials() bool { return !c.IsForeign() && !c.IsWiped() }

// IsPending reports whether the worker has still to be called. A foreign session is only ever stopped.
func (c *Cleanup) IsPending() bool {
	if c.IsForeign() {
		return !c.DueAt.IsZero()
	}
	return c.Command != CommandNone && !c.IsWiped()
}

// Clear removes the command. The cleanup then only records a holder.
func (c *Cleanup) Clear() {
	c.setCommand(CommandNone, time.Time{})
	c.Destroyed = false
}

// WaitForStop replaces a wipe by a stop, which is due when the worker returns. It is for a worker that is
// down and whose credentials of the session are gone.
func (c *Cleanup) WaitForStop() { c.setCommand(CommandDisconnect, time.Time{}) }

// MarkWiped records that the worker has no credentials of the session any more.
func (c *Cleanup) MarkWiped(now time.Time) {
	c.setCommand(CommandWiped, now.Add(wipedFor))
	c.Endpoint, c.Destroyed = "", false
}

// setCommand sets the command and its due time. It ends the claim and the count of attempts.
func (c *Cleanup) setCommand(command Command, due time.Time) {
	c.Command, c.DueAt, c.Attempts, c.ClaimedBy = command, due, 0, ""
}

// IsOnDisk reports whether the cleanup is about the disk that a worker of the state group uses. A row
// without a group is about the disk of its own worker, whatever group the worker has now.
func (c *Cleanup) IsOnDisk(workerID, group string) bool {
	if c.StateGroup == "" {
		return c.WorkerID == workerID
	}
	return c.StateGroup == group
}

// BlocksPlacement reports whether the cleanup keeps the session from starting on a worker of a state group.
// The start would find credentials that have to be wiped, or the credentials of a stranger.
func (c *Cleanup) BlocksPlacement(workerID, group string) bool {
	if c.WorkerID == workerID && c.IsOnDisk(workerID, group) {
		return c.Command.Wipes() || c.IsForeign()
	}
	return group != "" && group == c.StateGroup && c.Command.Wipes() && !c.Destroyed
}
