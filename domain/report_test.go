package domain_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestParseReportedStatus_WordsOfWorkers_AreTranslated(t *testing.T) {
	for word, want := range map[string]domain.Status{
		"initializing": domain.Init, "qr_ready": domain.QRRequired, "qr_required": domain.QRRequired,
		"connected": domain.Connected, "reconnecting": domain.Reconnecting, "restarting": domain.Reconnecting,
		"disconnected": domain.Disconnected, "failed": domain.Errored, "logged_out": domain.Disconnected,
		"connecting": domain.Init, "qr_expired": domain.Disconnected, "QR-Expired": domain.Disconnected, "logged out": domain.Disconnected,
		"open": domain.Connected, "close": domain.Disconnected, "starting": domain.Init, "RECONNECTING": domain.Reconnecting,
		"CONNECTED": domain.Connected, " QR_REQUIRED ": domain.QRRequired, "ERROR": domain.Errored, "INIT": domain.Init,
	} {
		got, loggedOut, ok := domain.ParseReportedStatus(word)
		require.True(t, ok, word)
		require.Equal(t, want, got, word)
		require.Equal(t, strings.HasPrefix(word, "logged"), loggedOut, word)
	}
	for _, word := range []string{"", "dancing", "CONNECTED!", "\x00"} {
		_, _, ok := domain.ParseReportedStatus(word)
		require.False(t, ok, word)
	}
}

func TestSessionApply_QRWithoutAnExpiry_LivesAsTheTimingSays(t *testing.T) {
	for _, from := range []domain.Status{domain.Init, domain.QRRequired} {
		s := &domain.Session{ID: "s1", WorkerID: "w1", Intent: domain.Up, Status: from, Generation: 1}
		s.Apply(domain.Report{SessionID: "s1", WorkerID: "w1", Generation: 1, Status: domain.QRRequired, QR: domain.QR{Code: "2@abc"}},
			domain.Timing{QRLife: 5 * time.Minute}, noon)
		require.Equal(t, domain.QR{Code: "2@abc", ExpiresAt: noon.Add(5 * time.Minute)}, s.QR)
	}
}
