// Package env holds the ports and settings that the parts of the core share.
package env

import (
	"context"
	"encoding/binary"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/audit"
	"github.com/switchyard-wa/switchyard/app/internal/retry"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Env is the environment of the core. Nothing but the tiers changes after New of
// the orchestrator. It is safe for concurrent use.
type Env struct {
	Store   ports.Store
	Workers ports.WorkerGateway
	IDs     ports.IDs
	Random  ports.Random
	Now     func() time.Time
	Timing  domain.Timing
	// Unscanned bounds sessions that wait for their first scan.
	Unscanned domain.UnscannedLimits
	Log       *slog.Logger

	// Spawn runs background work, in a goroutine or in place.
	Spawn func(func())
	// Sleep waits. It returns an error if ctx ends, or if a harness owns the clock and
	// nothing may wait.
	Sleep func(ctx context.Context, d time.Duration) error

	// Self is this replica. Its ID is empty if no other replica works on the store.
	Self domain.Replica

	tiers atomic.Pointer[domain.Tiers]
}

// IsShared reports whether other replicas may work on the store.
func (e *Env) IsShared() bool { return e.Self.ID != "" }

// SetTiers replaces the limits of all tiers.
func (e *Env) SetTiers(t domain.Tiers) { e.tiers.Store(&t) }

// Tiers returns the limits of all tiers.
func (e *Env) Tiers() domain.Tiers { return *e.tiers.Load() }

// Limits returns the limits of a tier.
func (e *Env) Limits(t domain.Tier) domain.Limits { return e.tiers.Load().Of(t) }

// Trail returns the audit trail.
func (e *Env) Trail() audit.Trail {
	return audit.Trail{Store: e.Store, IDs: e.IDs, Now: e.Now, Log: e.Log}
}

// Update runs fn in an Update of the store and repeats it after a conflict.
func (e *Env) Update(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	return retry.Updater{Store: e.Store, Random: e.Random, Sleep: e.Sleep}.Update(ctx, fn)
}

// Jitter returns a random number from 0 to 1.
func (e *Env) Jitter() (float64, error) {
	var b [4]byte
	_, err := e.Random.Read(b[:])
	return float64(binary.LittleEndian.Uint32(b[:])) / math.MaxUint32, err
}

// LogFailure logs err as an event with attributes, unless err is nil or ctx ended.
func (e *Env) LogFailure(ctx context.Context, event string, err error, attrs ...any) {
	if err != nil && ctx.Err() == nil {
		e.Log.ErrorContext(ctx, event, append(attrs, "error", err)...)
	}
}
