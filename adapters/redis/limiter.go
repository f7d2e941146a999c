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

// Limiter implements [ports.Limiter], exactly for all processes together. While Redis is unavailable each process counts
// for itself; see the package documentation.
//
// Calls of AllowN share round trips. A call that finds no batch on its way sends itself. Calls that arrive meanwhile wait,
// and form the next batch when the first one is back:
//
//	t0  A finds no batch          A is sent
//	t1  B and C wait
//	t2  Redis answers A           B and C are sent as one batch
//	t3  Redis answers B and C     no call waits; the next one sends itself
type Limiter struct {
	c        *Coordination
	prefix   string
	fallback localLimiter // used while Redis is unavailable

	mu            sync.Mutex
	waiting       []*limitRequest
	batchInFlight bool
	closed        bool
}

var _ ports.Limiter = (*Limiter)(nil)

// maxBatch is how many requests one call of Redis holds. Redis would block other clients during a longer call.
const maxBatch = 256

//go:embed allow.lua
var allowSource string

//go:embed backfill.lua
var backfillSource string

//go:embed replay.lua
var replaySource string

var allowScript, backfillScript = redis.NewScript(allowSource), redis.NewScript(backfillSource)

func newLimiter(c *Coordination) *Limiter { return &Limiter{c: c, prefix: c.prefix + "limit:"} }

// limitRequest is a call of AllowN and, once done has received, its answer. Times are in milliseconds.
type limitRequest struct {
	key                  string
	at, length, limit, n int64

	flags, used, start int64
	err                error
	done               chan struct{}
}

// The flags of an answer.
const (
	flagAllowed = 1 << iota
	flagBackfilled
)

var limitRequests = sync.Pool{New: func() any { return &limitRequest{done: make(chan struct{}, 1)} }}

// AllowN implements [ports.Limiter]. Only an allowed use starts a window: a query, a refund and a refused use do not. Times
// count to the millisecond.
func (l *Limiter) AllowN(
	ctx context.Context, key string, at time.Time, length time.Duration, limit, n int,
) (domain.Usage, error) {
	if err := ctx.Err(); err != nil {
		return domain.Usage{}, err
	}
	if !l.c.isUp() {
		return l.fallback.allowN(key, at, length, limit, n), nil
	}
	r := limitRequests.Get().(*limitRequest)
	r.key, r.at, r.length, r.limit, r.n = l.prefix+key, at.UnixMilli(), millis(length), int64(limit), int64(n)
	if l.becomeLeader(r) {
		l.send([]*limitRequest{r})
		l.finishBatch()
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		return domain.Usage{}, ctx.Err() // a batch still uses the request, so it is not pooled
	}
	defer limitRequests.Put(r)
	if r.err != nil {
		return l.fallback.allowN(key, at, length, limit, n), nil
	}
	return domain.Usage{
		Allowed: r.flags&flagAllowed != 0, Backfilled: r.flags&flagBackfilled != 0,
		Limit: limit, Used: int(r.used), Remaining: max(limit-int(r.used), 0),
		ResetAt: time.UnixMilli(r.start + r.length).UTC(),
	}, nil
}

// millis returns a length in milliseconds, and at least 1: Redis accepts no other expiry.
func millis(length time.Duration) int64 { return max(length.Milliseconds(), 1) }

// becomeLeader reports whether the caller sends its request itself, because no batch is on its way. Otherwise the request
// waits for the next batch.
func (l *Limiter) becomeLeader(r *limitRequest) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.batchInFlight {
		l.batchInFlight = true
		return true
	}
	l.waiting = append(l.waiting, r)
	return false
}

// finishBatch sends the waiting requests as the next batch. It is called when a batch is back.
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
		complete(append(batch, l.waiting...), errClosed)
		l.waiting, l.batchInFlight = nil, false
	default:
		l.c.running.Go(func() {
			l.send(batch)
			l.finishBatch()
		})
	}
}

// send sends a batch to Redis and completes its requests.
func (l *Limiter) send(batch []*limitRequest) {
	complete(batch, l.c.do(context.Background(), func(ctx context.Context) error { return l.call(ctx, batch) }))
}

// complete wakes the callers of a batch.
func complete(batch []*limitRequest, err error) {
	for _, r := range batch {
		r.err = err
		r.done <- struct{}{}
	}
}

// call runs the script for a batch: one call for all requests, or in a cluster one call for each key's server.
func (l *Limiter) call(ctx context.Context, batch []*limitRequest) error {
	if !l.c.cluster {
		return decodeAnswer(batch, allowScript.Run(ctx, l.c.rdb, keysOf(batch), encode(batch)))
	}
	p := l.c.rdb.Pipeline()
	answers := make([]*redis.Cmd, len(batch))
	for i := range batch {
		answers[i] = allowScript.EvalSha(ctx, p, keysOf(batch[i:i+1]), encode(batch[i:i+1]))
	}
	_, _ = p.Exec(ctx) // each answer has its own error
	for i := range batch {
		one := batch[i : i+1]
		if redis.HasErrorPrefix(answers[i].Err(), "NOSCRIPT") {
			answers[i] = allowScript.Eval(ctx, l.c.rdb, keysOf(one), encode(one))
		}
		if err := decodeAnswer(one, answers[i]); err != nil {
			return err
		}
	}
	return nil
}

func keysOf(batch []*limitRequest) []string {
	keys := make([]string, len(batch))
	for i, r := range batch {
		keys[i] = r.key
	}
	return keys
}

// encode returns the argument of allow.lua.
func encode(batch []*limitRequest) []byte {
	b := make([]byte, 0, len(batch)*4*8)
	for _, r := range batch {
		for _, v := range [...]int64{r.at, r.length, r.limit, r.n} {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(float64(v)))
		}
	}
	return b
}

var errAnswer = errors.New("redis: a script's answer is not what it should be; is it Redis that answers?")

// decodeAnswer stores the answer of allow.lua in the requests.
func decodeAnswer(batch []*limitRequest, cmd *redis.Cmd) error {
	text, err := cmd.Text()
	if err != nil {
		return err
	}
	b := []byte(text)
	if len(b) != len(batch)*3*8 {
		return errAnswer
	}
	for _, r := range batch {
		for _, v := range [...]*int64{&r.flags, &r.used, &r.start} {
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
	err := l.c.do(ctx, func(ctx context.Context) error {
		return backfillScript.Run(ctx, l.c.rdb, []string{l.prefix + key}, first.UnixMilli(), millis(length), used).Err()
	})
	if err != nil {
		l.fallback.backfill(key, first, length, used)
	}
	return nil
}

// replayLocalCounts adds to Redis the uses that were counted while it was unavailable. It deletes keys that were
// backfilled meanwhile: their next backfill counts these uses from the history.
func (l *Limiter) replayLocalCounts() {
	for l.c.isUp() {
		windows := l.fallback.remove(maxBatch)
		if len(windows) == 0 {
			return
		}
		_ = l.c.do(context.Background(), func(ctx context.Context) error {
			p := l.c.rdb.Pipeline()
			for key, w := range windows {
				key = l.prefix + key
				if w.Backfilled {
					p.Del(ctx, key)
				} else {
					p.Eval(ctx, replaySource, []string{key}, w.Start.UnixMilli(), millis(w.Length), w.Used)
				}
			}
			_, err := p.Exec(ctx)
			return err
		})
	}
}

// close makes waiting and later calls count within the process.
func (l *Limiter) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}
