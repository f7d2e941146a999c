package domain_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

// runOnce connects a session, shows a QR code and ends the run with the report.
func runOnce(t *testing.T, s *domain.Session, now time.Time, end domain.Report) {
	t.Helper()
	require.NoError(t, s.Connect("", now))
	s.Assign("w1", now)
	timing := domain.DefaultTiming()
	s.Apply(domain.Report{Status: domain.QRRequired, QR: domain.QR{Code: "2@", ExpiresAt: now.Add(time.Minute)}}, timing, now)
	require.True(t, s.AwaitsScan())
	end.Reason = "told" // a disconnect without a reason would cause a restart
	s.Apply(end, timing, now)
	if end.Status != domain.Connected {
		s.EndDebounce(timing, now)
		require.False(t, s.AwaitsScan())
	}
}

func TestScanCooldown_NobodyScans_Grows(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	l := domain.DefaultUnscannedLimits()
	s := domain.NewSession("s", "u", "S", "", now)
	for _, want := range []time.Duration{0, 30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute} {
		runOnce(t, s, now, domain.Report{Status: domain.Disconnected})
		require.Equal(t, want, s.ScanCooldown(l, now))
		require.Equal(t, max(want-10*time.Second, 0), s.ScanCooldown(l, now.Add(10*time.Second)))
		require.Zero(t, s.ScanCooldown(l, now.Add(want)))
	}
	for range 30 {
		runOnce(t, s, now, domain.Report{Status: domain.Disconnected})
	}
	require.Equal(t, time.Hour, s.ScanCooldown(l, now))
	require.Zero(t, s.ScanCooldown(domain.UnscannedLimits{}, now), "no limit")

	runOnce(t, s, now, domain.Report{Status: domain.Connected, PhoneNumber: "628111"})
	require.Zero(t, s.UnscannedRuns, "a scan ends it")
	require.Zero(t, s.ScanCooldown(l, now))
}

// Whoever takes a session down by hand, before its QR code is scanned, waits too.
func TestScanCooldown_DisconnectedByHand_Counts(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := domain.NewSession("s", "u", "S", "", now)
	for range 2 {
		require.NoError(t, s.Connect("", now))
		s.Assign("w1", now)
		s.Apply(domain.Report{Status: domain.QRRequired, QR: domain.QR{Code: "2@"}}, domain.DefaultTiming(), now)
		s.Disconnect(now)
		s.StopConfirmed(now)
	}
	require.Equal(t, 30*time.Second, s.ScanCooldown(domain.DefaultUnscannedLimits(), now))
}

func TestReclaim_QRExpiredAWhileAgo_SessionGoesDown(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	l := domain.DefaultUnscannedLimits()
	s := domain.NewSession("s", "u", "S", "", now)
	require.NoError(t, s.Connect("", now))
	s.Assign("w1", now)
	s.Apply(domain.Report{Status: domain.QRRequired, QR: domain.QR{Code: "2@", ExpiresAt: now}}, domain.DefaultTiming(), now)
	require.False(t, s.IsReclaimable(l, now.Add(time.Minute)))
	require.True(t, s.IsReclaimable(l, now.Add(time.Minute+time.Microsecond)))
	require.False(t, s.IsReclaimable(domain.UnscannedLimits{}, now.Add(time.Hour)), "never")

	linked := s.Clone()
	linked.CredentialsWorkerID = "w1"
	require.False(t, linked.IsReclaimable(l, now.Add(time.Hour)), "it was linked before")

	events := s.Reclaim(now.Add(time.Hour))
	require.Equal(t, domain.EventSessionDisconnected, events[0].Type)
	require.Equal(t, []any{domain.Down, domain.Disconnected, domain.CommandDisconnect, 1}, []any{s.Intent, s.Status, s.Command, s.UnscannedRuns})
	require.Contains(t, s.LastError, "connect again")
	require.Contains(t, events[0].Reason, "connect again")
}

// A worker may report no number: the home says whether a session is linked. A session that logged out has to
// be scanned as a new one has.
func TestAwaitsScan_LinkedWithoutNumberOrLoggedOut_HomeDecides(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	timing := domain.DefaultTiming()
	s := domain.NewSession("s", "u", "S", "", now)
	runOnce(t, s, now, domain.Report{Status: domain.Connected})
	require.Equal(t, []any{"", "w1"}, []any{s.PhoneNumber, s.CredentialsWorkerID})
	require.NoError(t, s.Restart(now))
	require.False(t, s.AwaitsScan(), "it starts with its credentials")
	s.Apply(domain.Report{Status: domain.Connected}, timing, now)

	s.Logout(now)
	s.StopConfirmed(now)
	for range 2 {
		runOnce(t, s, now, domain.Report{Status: domain.Disconnected})
	}
	require.Equal(t, 30*time.Second, s.ScanCooldown(domain.DefaultUnscannedLimits(), now))
}

func TestCompareScans_ChangeOfSession_Result(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	timing := domain.DefaultTiming()
	showsQR := domain.NewSession("s", "u", "S", "", now)
	require.NoError(t, showsQR.Connect("", now))
	showsQR.Assign("w1", now)
	starting := showsQR.Clone()
	showsQR.Apply(domain.Report{Status: domain.QRRequired, QR: domain.QR{Code: "2@", ExpiresAt: now.Add(time.Minute)}}, timing, now)
	connected := showsQR.Clone()
	connected.Apply(domain.Report{Status: domain.Connected}, timing, now)
	away := showsQR.Clone()
	away.CredentialsWorkerID = "w2"
	for name, c := range map[string]struct {
		before *domain.Session
		change func(s *domain.Session)
		want   domain.ScanResult
	}{
		"user disconnects":                   {showsQR, func(s *domain.Session) { s.Disconnect(now) }, domain.ScanMissing},
		"user asks for another code":         {showsQR, func(s *domain.Session) { _ = s.Restart(now) }, domain.ScanMissing},
		"code expired and the user connects": {showsQR, func(s *domain.Session) { _ = s.Connect("", now.Add(time.Hour)) }, domain.ScanMissing},
		"worker gives up": {showsQR, func(s *domain.Session) {
			s.Apply(domain.Report{Status: domain.Disconnected, Reason: "told"}, timing, now)
		}, domain.ScanMissing},
		"worker fails":                      {showsQR, func(s *domain.Session) { s.Apply(domain.Report{Status: domain.Errored}, timing, now) }, domain.ScanMissing},
		"slot is reclaimed":                 {showsQR, func(s *domain.Session) { s.Reclaim(now) }, domain.ScanMissing},
		"next code":                         {showsQR, func(s *domain.Session) { s.QR.Code = "3@" }, domain.ScanUnchanged},
		"perhaps scanned":                   {showsQR, func(s *domain.Session) { s.Apply(domain.Report{Status: domain.Disconnected}, timing, now) }, domain.ScanUnchanged},
		"worker is lost":                    {showsQR, func(s *domain.Session) { s.UnassignForMove(domain.EventSessionFailedOver, now) }, domain.ScanUnchanged},
		"stopped before a code":             {starting, func(s *domain.Session) { s.Disconnect(now) }, domain.ScanUnchanged},
		"linked session is stopped":         {away, func(s *domain.Session) { s.Disconnect(now) }, domain.ScanUnchanged},
		"scanned":                           {showsQR, func(s *domain.Session) { s.Apply(domain.Report{Status: domain.Connected}, timing, now) }, domain.ScanDone},
		"scanned, then restarted":           {starting, func(s *domain.Session) { s.Apply(domain.Report{Status: domain.Connected}, timing, now) }, domain.ScanDone},
		"linked session is scanned again":   {away, func(s *domain.Session) { s.Apply(domain.Report{Status: domain.Connected}, timing, now) }, domain.ScanDone},
		"connection is lost and comes back": {connected, func(s *domain.Session) { s.DisplayName = "Ada" }, domain.ScanUnchanged},
	} {
		t.Run(name, func(t *testing.T) {
			after := c.before.Clone()
			c.change(after)
			require.Equal(t, c.want, domain.CompareScans(c.before, after))
		})
	}
	require.Equal(t, domain.ScanMissing, domain.CompareScans(showsQR, nil), "deleted")
	require.Equal(t, domain.ScanUnchanged, domain.CompareScans(starting, nil))
	require.Equal(t, domain.ScanUnchanged, domain.CompareScans(connected, nil))
}
