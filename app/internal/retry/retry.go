// Package retry repeats store transactions that lost a race.
//
// A store reports a lost race as [ports.ErrConflict]: another transaction changed
// a row between its read and its write. The function runs again on fresh rows.
package retry

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/ports"
)

const (
	// defaultAttempts bounds how often a transaction is tried.
	defaultAttempts = 8
	// maxWait bounds the waiting time between two attempts.
	maxWait = 128 * time.Millisecond
)

// Updater runs transactions on a store. It has no state and is safe for
// concurrent use.
type Updater struct {
	Store  ports.Store
	Random ports.Random // unused if Sleep is nil
	// Sleep waits between attempts. A Sleep that returns an error while ctx is alive
	// does not wait; the next attempt follows at once. Nil: every attempt does.
	Sleep func(ctx context.Context, d time.Duration) error
	// Attempts bounds how often a transaction is tried. 0: eight.
	Attempts int
}

// Update runs fn in an Update, and repeats it after a conflict. The second attempt
// follows at once. Later ones wait for a random time of up to 4, 8, 16 … 128 ms:
// several writers contend for the row.
func (u Updater) Update(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	var err error
	for attempt := range cmp.Or(u.Attempts, defaultAttempts) {
		if attempt > 1 && u.Sleep != nil {
			if err := u.backOff(ctx, min(time.Millisecond<<attempt, maxWait)); err != nil {
				return err
			}
		}
		err = u.Store.Update(ctx, fn)
		if !errors.Is(err, ports.ErrConflict) {
			return err
		}
	}
	return err
}

// backOff waits for a random time below limit.
func (u Updater) backOff(ctx context.Context, limit time.Duration) error {
	var b [8]byte
	if _, err := u.Random.Read(b[:]); err != nil {
		return err
	}
	_ = u.Sleep(ctx, time.Duration(binary.LittleEndian.Uint64(b[:])%uint64(limit)))
	return ctx.Err()
}
