package outbox

import (
	"context"
	"errors"
	"strconv"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// A Reader reads the event log from a recorded position on. Its user writes the results and
// calls Advance in one transaction. Every event therefore counts exactly once, after any crash,
// also while two replicas read.
type Reader struct {
	setting string // holds the position
}

// Read returns the events after the position.
func (r *Reader) Read(ctx context.Context, tx *ports.Tx, limit int) ([]domain.Event, error) {
	return r.ReadOf(ctx, tx, ports.EventFilter{}, limit)
}

// ReadOf returns the matching events after the position.
func (r *Reader) ReadOf(ctx context.Context, tx *ports.Tx, f ports.EventFilter, limit int) ([]domain.Event, error) {
	at, _, err := r.position(ctx, tx)
	if err != nil {
		return nil, err
	}
	return tx.Outbox.After(ctx, f, at, limit)
}

// ReadFrom returns the events after the position and after seq.
func (r *Reader) ReadFrom(ctx context.Context, tx *ports.Tx, seq int64, limit int) ([]domain.Event, error) {
	at, _, err := r.position(ctx, tx)
	if err != nil {
		return nil, err
	}
	return tx.Outbox.After(ctx, ports.EventFilter{}, max(at, seq), limit)
}

// Skip moves the position forward to seq: the caller needs no event up to seq. It never moves the position
// back.
func (r *Reader) Skip(ctx context.Context, tx *ports.Tx, seq int64) error {
	at, text, err := r.position(ctx, tx)
	if err != nil || at >= seq {
		return err
	}
	return tx.Settings.CompareAndSwap(ctx, r.setting, text, strconv.FormatInt(seq, 10))
}

// Advance moves the position to the last of the events. It returns [ports.ErrConflict] if the
// position has passed the first of them: another replica has read the events.
func (r *Reader) Advance(ctx context.Context, tx *ports.Tx, events []domain.Event) error {
	if len(events) == 0 {
		return nil
	}
	at, text, err := r.position(ctx, tx)
	if err != nil {
		return err
	}
	if at >= events[0].Seq {
		return ports.ErrConflict
	}
	last := events[len(events)-1].Seq
	return tx.Settings.CompareAndSwap(ctx, r.setting, text, strconv.FormatInt(last, 10))
}

// position returns the sequence number of the last event that was read, and its text in the
// settings. Both are zero before the first.
func (r *Reader) position(ctx context.Context, tx *ports.Tx) (seq int64, text string, err error) {
	text, err = tx.Settings.Get(ctx, r.setting)
	if err != nil && !errors.Is(err, ports.ErrNotFound) {
		return 0, "", err
	}
	seq, _ = strconv.ParseInt(text, 10, 64)
	return seq, text, nil
}
