package apptest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
)

func TestQueue_ServerDownUntilTheDeadline_FailsWithThatReason(t *testing.T) {
	for name, isSentBefore := range map[string]bool{"nothing was sent": false, "an earlier message was sent": true} {
		t.Run(name, func(t *testing.T) {
			h := newQueueing(t, domain.TierPro, apptest.Options{})
			late := h.queue("late", h.at(10*time.Minute))
			if isSentBefore {
				h.queue("early", domain.Schedule{})
				h.Advance(time.Minute)
				require.Equal(t, []string{"early"}, h.sent())
			}

			h.Skip(3 * time.Hour)
			h.Restart()
			h.Advance(time.Minute)

			require.Equal(t, "the deadline passed before the message could be sent: the server was down, or too busy to try", h.message(late.ID).Error)
			h.requireNothingWaits()
		})
	}
}

func TestQueue_PaceTooSlowForTheDeadline_FailsWithThatReason(t *testing.T) {
	h := newQueueing(t, domain.TierPro, apptest.Options{SendPace: 1})
	h.queue("first", domain.Schedule{})
	second := h.queue("second", domain.Schedule{Patience: 10 * time.Second})

	h.Advance(time.Minute)

	require.Equal(t, "the deadline passed before the message could be sent: earlier messages of the queue went first", h.message(second.ID).Error)
}
