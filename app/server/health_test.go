package server

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/httpapi"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/ports"
)

// probe is a backend whose store has a state.
type probe struct {
	err   error
	hang  chan struct{} // the store answers once it is closed; nil: at once
	asked int
}

func (p *probe) parts(context.Context) []backend.Part {
	p.asked++
	if p.hang != nil {
		<-p.hang
	}
	return []backend.Part{{Name: "store", Err: p.err}}
}

func onHealth(t *testing.T, test func(t *testing.T, p *probe, h *health)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := new(probe)
		test(t, p, newHealth(p.parts, slog.New(slog.DiscardHandler)))
	})
}

func TestHealth_ManyCallers_ShareCheckOfASecond(t *testing.T) {
	onHealth(t, func(t *testing.T, p *probe, h *health) {
		answers := make(chan []httpapi.Check, 50)
		for range 50 {
			go func() { answers <- h.check(t.Context()) }()
		}
		for range 50 {
			require.True(t, (<-answers)[0].OK)
		}
		require.Equal(t, 1, p.asked)
		time.Sleep(healthMaxAge)
		h.check(t.Context())
		require.Equal(t, 2, p.asked)
	})
}

func TestHealth_StoreFails_TellsReasonUntilItRecovers(t *testing.T) {
	for want, err := range map[string]error{
		"the disk is full":                  &ports.UnavailableError{Reason: "the disk is full", Cause: errors.New("/secret/path")},
		"the store does not answer in time": context.DeadlineExceeded,
		"the store does not answer":         errors.New("/secret/path"),
	} {
		onHealth(t, func(t *testing.T, p *probe, h *health) {
			p.err = err
			require.Equal(t, []httpapi.Check{{Name: "store", Message: want}}, h.check(t.Context()))
			p.err = nil
			time.Sleep(healthMaxAge)
			require.True(t, h.check(t.Context())[0].OK)
		})
	}
}

func TestHealth_StoreHangs_IsDownUntilItAnswers(t *testing.T) {
	onHealth(t, func(t *testing.T, p *probe, h *health) {
		p.hang = make(chan struct{})
		began := time.Now()
		for range 3 {
			require.Equal(t, "the store does not answer in time", h.check(t.Context())[0].Message)
		}
		synctest.Wait()
		require.Equal(t, 1, p.asked, "one check runs at a time")
		require.LessOrEqual(t, time.Since(began), 8*time.Second)
		close(p.hang)
		synctest.Wait()
		require.True(t, h.check(t.Context())[0].OK)
	})
}
