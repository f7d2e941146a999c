package simworker

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"sync"
)

// CallTokens is a control plane that hands out call tokens. A worker whose control
// plane implements it announces the capability ownToken, and refuses calls with any
// other token.
type CallTokens interface {
	// CheckCall judges the Authorization header of a call.
	CheckCall(header string) CallVerdict
	// AwaitCall is CheckCall for a call that may have overtaken the answer to a
	// registration. It refuses the call only after the registration under way, or ctx,
	// has ended.
	AwaitCall(ctx context.Context, header string) CallVerdict
}

// CallVerdict is the judgement of a call by its token.
type CallVerdict uint8

// The verdicts.
const (
	CallUnjudged CallVerdict = iota // no registration has handed out a call token, and none is under way
	CallAccepted                    // the call shows the call token of the latest registration
	CallRefused
)

// LatestCallToken implements [CallTokens] for one worker. It holds the call token of the
// latest registration. The zero value has no token. It is safe for concurrent use.
type LatestCallToken struct {
	mu          sync.Mutex
	token       string
	registering chan struct{} // closed when the registration under way ends; nil: none is
}

// BeginRegistration records that a registration is under way. The caller calls end with
// the call token of the answer. With an empty one the former token stays.
func (t *LatestCallToken) BeginRegistration() (end func(token string)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	done := make(chan struct{})
	t.registering = done
	return func(token string) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if token != "" {
			t.token = token
		}
		if t.registering == done {
			t.registering = nil
		}
		close(done)
	}
}

// CheckCall implements [CallTokens].
func (t *LatestCallToken) CheckCall(header string) CallVerdict {
	verdict, _ := t.check(header)
	return verdict
}

// AwaitCall implements [CallTokens].
func (t *LatestCallToken) AwaitCall(ctx context.Context, header string) CallVerdict {
	for {
		verdict, registering := t.check(header)
		if verdict != CallRefused || registering == nil {
			return verdict
		}
		select {
		case <-registering:
		case <-ctx.Done():
			return CallRefused
		}
	}
}

// check judges a header, and returns the registration under way, if any.
func (t *LatestCallToken) check(header string) (verdict CallVerdict, registering <-chan struct{}) {
	t.mu.Lock()
	token, registering := t.token, t.registering
	t.mu.Unlock()
	want, said := sha256.Sum256([]byte("Bearer "+token)), sha256.Sum256([]byte(header))
	switch {
	case token == "" && registering == nil:
		return CallUnjudged, nil
	case token != "" && subtle.ConstantTimeCompare(want[:], said[:]) == 1:
		return CallAccepted, registering
	}
	return CallRefused, registering
}
