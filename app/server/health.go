package server

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/httpapi"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/ports"
)

const (
	// healthMaxAge bounds the age of a result. The check of a store waits for its disk, and load balancers ask often.
	healthMaxAge = time.Second
	// healthTimeout bounds a check. The store counts as not answering after it.
	healthTimeout = 2 * time.Second
)

// health checks what the server depends on, for any number of callers. One check runs at a time.
type health struct {
	parts func(context.Context) []backend.Part
	log   *slog.Logger

	mu       sync.Mutex
	results  []httpapi.Check
	resultAt time.Time
	running  chan struct{} // closed when the running check ends; nil: none runs
}

func newHealth(parts func(context.Context) []backend.Part, log *slog.Logger) *health {
	return &health{parts: parts, log: log}
}

// check returns the results of a check that ended at most healthMaxAge ago. If the running check exceeds its timeout,
// the store counts as not answering until the check ends.
func (h *health) check(ctx context.Context) []httpapi.Check {
	h.mu.Lock()
	if h.running == nil && time.Since(h.resultAt) < healthMaxAge {
		defer h.mu.Unlock()
		return h.results
	}
	if h.running == nil {
		h.running = make(chan struct{})
		go h.run(context.WithoutCancel(ctx), h.running)
	}
	running := h.running
	h.mu.Unlock()
	timeout := time.NewTimer(healthTimeout + healthTimeout/4)
	defer timeout.Stop()
	select {
	case <-running:
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.results
	case <-timeout.C:
	case <-ctx.Done():
	}
	return []httpapi.Check{{Name: "store", Message: "the store does not answer in time", Took: healthTimeout}}
}

// run runs one check.
func (h *health) run(ctx context.Context, ended chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	var results []httpapi.Check
	for _, part := range h.parts(ctx) {
		c := httpapi.Check{Name: part.Name, OK: part.Err == nil, Optional: part.Optional, Took: part.Took}
		if part.Err != nil {
			c.Message = reasonOf(part)
			h.logFailure(ctx, part, c)
		}
		results = append(results, c)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.results, h.resultAt, h.running = results, time.Now(), nil
	close(ended)
}

// logFailure logs a failure, unless the latest check of the part failed for the same reason.
func (h *health) logFailure(ctx context.Context, part backend.Part, failed httpapi.Check) {
	h.mu.Lock()
	before := h.results
	h.mu.Unlock()
	isKnown := slices.ContainsFunc(before, func(c httpapi.Check) bool {
		return c.Name == failed.Name && !c.OK && c.Message == failed.Message
	})
	if !isKnown {
		h.log.ErrorContext(ctx, "health check failed", "part", part.Name, "error", part.Err)
	}
}

// reasonOf returns why a part is down, in words that everybody may see.
func reasonOf(part backend.Part) string {
	var u *ports.UnavailableError
	switch {
	case errors.As(part.Err, &u):
		return u.Reason
	case errors.Is(part.Err, context.DeadlineExceeded):
		return "the " + part.Name + " does not answer in time"
	}
	return "the " + part.Name + " does not answer"
}
