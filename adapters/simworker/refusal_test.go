package simworker_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/domain"
)

func TestRegistration_IDRefused_IsLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	p := &plane{err: domain.Errorf(domain.Invalid, domain.CodeValidation, "Worker id must have 3 to 50 characters")}
	now := began
	w := simworker.New(simworker.Config{
		ID: "a", Endpoint: "http://a.sim:1", Now: func() time.Time { return now },
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError})),
	}, p)
	fleet := new(simworker.Fleet)
	fleet.Add(w)

	for range 3 {
		now = fleet.Tick(t.Context(), now)
	}
	require.Len(t, p.calls(), 3, "it tries again")
	require.ErrorIs(t, w.Refusal(), p.err)
	require.Contains(t, log.String(), `msg="registration refused" worker=a error="`)
	require.Contains(t, log.String(), "3 to 50 characters")
	require.Equal(t, 1, strings.Count(log.String(), "\n"))

	p.set(func() { p.err = errDown })
	now = fleet.Tick(t.Context(), now)
	require.Equal(t, 1, strings.Count(log.String(), "\n"), "a control plane that is down refuses nothing")

	p.set(func() { p.err = nil })
	fleet.Tick(t.Context(), now)
	require.NoError(t, w.Refusal())
	require.True(t, w.Registered())
}
