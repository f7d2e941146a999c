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
	// AcceptCall reports whether the Authorization header shows the call token of the
	// latest registration. handedOut is false while no registration handed out one.
	// A call that arrives during a registration waits for its end, unless quick is set.
	AcceptCall(ctx context.Context, header string, quick bool) (accepted, handedOut bool)
}

// CallTokenHolder implements [CallTokens] for one worker. The zero value has no token.
// It is safe for concurrent use.
type CallTokenHolder struct {
	mu          sync.Mutex
	token       string
	registering chan struct{} // closed when the registration under way ends; nil: none is
}

// BeginRegistration records that a registration is under way. The returned function ends
// it with the call token of the answer. Without one the former token stays.
func (t *CallTokenHolder) BeginRegistration() (end func(token *string)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	done := make(chan struct{})
	t.registering = done
	return func(token *string) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if *token != "" {
			t.token = *token
		}
		if t.registering == done {
			t.registering = nil
		}
		close(done)
	}
}

// present returns the token, and the registration under way.
func (t *CallTokenHolder) present() (token string, registering <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.token, t.registering
}

// AcceptCall implements [CallTokens].
func (t *CallTokenHolder) AcceptCall(ctx context.Context, header string, quick bool) (accepted, handedOut bool) {
	for {
		token, registering := t.present()
		want, said := sha256.Sum256([]byte("Bearer "+token)), sha256.Sum256([]byte(header))
		switch {
		case token != "" && subtle.ConstantTimeCompare(want[:], said[:]) == 1:
			return true, true
		case registering == nil || quick:
			return false, token != "" || registering != nil
		}
		select {
		case <-registering:
		case <-ctx.Done():
			return false, true
		}
	}
}
