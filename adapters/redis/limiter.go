package redis

import (
	"context"
	_ "embed"
	"encoding/binary"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Limiter implements [ports.Limiter], exactly for all processes together. While
// Redis is away each process counts for itself; see the package's documentation.
//
// Calls of AllowN that arrive while another is on its way to Redis wait for it and go
// together, as one call of a script.
type Limiter struct {
	f        *Coordination
	prefix   string
	fallback *localLimiter // while Redis is away

	mu            sync.Mutex
	waiting       []*limitRequest
	batchInFlight bool // a batch is under way
	closed        bool
}

var _ ports.Limiter = (*Limiter)(nil)

// maxBatch is how many requests are in one call; a longer one would hold up Redis.
const maxBatch = 256

//go:embed allow.lua
var allowSource string

//go:embed backfill.lua
var backfillSource string

//go:embed replay.lua
var replaySource string

var allowScript, backfillScript = redis.NewScript(allowSource), redis.NewScript(backfillSource)

func newLimiter(f *Coordination) *Limiter {
	return &Limiter{f: f, prefix: f.prefix + "limit:", fallback: newLocalLimiter()}
}

// limitRequest is a call of AllowN on its way.
type limitRequest struct {
	key                  string
	at, length, limit, n int64 // times in ms
	flags, used, start   int64
	err                  error
	done                 chan struct{} // gets one when the rest is there
}

// The flags of an answer.
const (
	flagAllowed = 1 << iota
	flagBackfilled
)

var asks = sync.Pool{New: func() any { return &limitRequest{done: make(chan struct{}, 1)} }}

// AllowN implements [ports.Limiter]. Only a use that is allowed begins a window;
// looking, giving back and being refused do not. A time counts to the millisecond.
func (l *Limiter) AllowN(
	ctx context.Context, key string, at time.Time, length time.Duration, limit, n int,
) (domain.Usage, error) {
	if err := ctx.Err(); err != nil {
		return domain.Usage{}, err
	}
	if !l.f.up() {
		return l.fallback.allowN(key, at, length, limit, n), nil
	}
	a := asks.Get().(*limitRequest)
	a.key, a.at, a.length, a.limit, a.n = l.prefix+key, at.UnixMilli(), millis(length), int64(limit), int64(n)
	if l.becomeLeader(a) {
		l.send([]*limitRequest{a})
		l.finishBatch()
	}
	select {
	case <-a.done:
	case <-ctx.Done():
		return domain.Usage{}, ctx.Err()
	}
	defer asks.Put(a)
	if a.err != nil {
		return l.fallback.allowN(key, at, length, limit, n), nil
	}
	return domain.Usage{
		Allowed: a.flags&flagAllowed != 0, Backfilled: a.flags&flagBackfilled != 0,
		Limit: limit, Used: int(a.used), Remaining: max(limit-int(a.used), 0),
		ResetAt: time.UnixMilli(a.start + a.length).UTC(),
	}, nil
}

// millis is a length as Redis counts it, which wants one that is positive.
func millis(length time.Duration) int64 { return max(length.Milliseconds(), 1) }

// becomeLeader reports whether the caller sends the request itself, because no batch is under
// way; otherwise it goes with others when that is back.
func (l *Limiter) becomeLeader(a *limitRequest) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.batchInFlight {
		l.batchInFlight = true
		return true
	}
	l.waiting = append(l.waiting, a)
	return false
}

// finishBatch is called when a batch is back, and has those sent who wait.
func (l *Limiter) finishBatch() {
	l.mu.Lock()
	defer l.mu.Unlock()
	batch := l.waiting
	l.waiting = nil
	if len(batch) > maxBatch {
		batch, l.waiting = batch[:maxBatch:maxBatch], batch[maxBatch:]
	}
	switch {
	case len(batch) == 0:
		l.batchInFlight = false
	case l.closed:
		deliver(append(batch, l.waiting...), errClosed)
		l.waiting, l.batchInFlight = nil, false
	default:
		l.f.running.Go(func() {
			l.send(batch)
			l.finishBatch()
		})
	}
}

// send asks Redis, and tells who wait for the answers.
func (l *Limiter) send(batch []*limitRequest) {
	deliver(batch, l.f.do(context.Background(), func(ctx context.Context) error { return l.call(ctx, batch) }))
}

func deliver(batch []*limitRequest, err error) {
	for _, a := range batch {
		a.err = err
		a.done <- struct{}{}
	}
}

// call asks Redis, once for all or, if it is a cluster, for each key where it is.
func (l *Limiter) call(ctx context.Context, batch []*limitRequest) error {
	if !l.f.cluster {
		return answer(batch, allowScript.Run(ctx, l.f.rdb, keysOf(batch), encode(batch)))
	}
	p := l.f.rdb.Pipeline()
	answers := make([]*redis.Cmd, len(batch))
	for i := range batch {
		answers[i] = allowScript.EvalSha(ctx, p, keysOf(batch[i:i+1]), encode(batch[i:i+1]))
	}
	_, _ = p.Exec(ctx) // each has its error
	for i := range batch {
		one := batch[i : i+1]
		if redis.HasErrorPrefix(answers[i].Err(), "NOSCRIPT") {
			answers[i] = allowScript.Eval(ctx, l.f.rdb, keysOf(one), encode(one))
		}
		if err := answer(one, answers[i]); err != nil {
			return err
		}
	}
	return nil
}

func keysOf(batch []*limitRequest) []string {
	keys := make([]string, len(batch))
	for i, a := range batch {
		keys[i] = a.key
	}
	return keys
}

// encode writes what allow.lua reads.
func encode(batch []*limitRequest) []byte {
	b := make([]byte, 0, len(batch)*4*8)
	for _, a := range batch {
		for _, v := range [...]int64{a.at, a.length, a.limit, a.n} {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(float64(v)))
		}
	}
	return b
}

var errAnswer = errors.New("redis: a script's answer is not what it should be; is it Redis that answers?")

// answer reads what allow.lua wrote.
func answer(batch []*limitRequest, cmd *redis.Cmd) error {
	text, err := cmd.Text()
	if err != nil {
		return err
	}
	b := []byte(text)
	if len(b) != len(batch)*3*8 {
		return errAnswer
	}
	for _, a := range batch {
		for _, v := range [...]*int64{&a.flags, &a.used, &a.start} {
			*v = int64(math.Float64frombits(binary.LittleEndian.Uint64(b)))
			b = b[8:]
		}
	}
	return nil
}

// Backfill implements [ports.Limiter].
func (l *Limiter) Backfill(ctx context.Context, key string, first time.Time, length time.Duration, used int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := l.f.do(ctx, func(ctx context.Context) error {
		return backfillScript.Run(ctx, l.f.rdb, []string{l.prefix + key}, first.UnixMilli(), millis(length), used).Err()
	})
	if err != nil {
		l.fallback.backfill(key, first, length, used)
	}
	return nil
}

// replayLocalCounts tells Redis what was counted while it was away. It forgets keys that were
// backfilled meanwhile: what they are backfilled with next includes it.
func (l *Limiter) replayLocalCounts() {
	for l.f.up() {
		some := l.fallback.remove(maxBatch)
		if len(some) == 0 {
			return
		}
		_ = l.f.do(context.Background(), func(ctx context.Context) error {
			p := l.f.rdb.Pipeline()
			for key, w := range some {
				if key = l.prefix + key; w.Backfilled {
					p.Del(ctx, key)
				} else {
					p.Eval(ctx, replaySource, []string{key}, w.Start.UnixMilli(), millis(w.length), w.Used)
				}
			}
			_, err := p.Exec(ctx)
			return err
		})
	}
}

// close has whoever waits, and comes later, count alone.
func (l *Limiter) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}
