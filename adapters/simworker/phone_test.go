package simworker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

func TestQR_Unscanned_IsReplacedUntilUsedUp(t *testing.T) {
	w := newWorld(t, simworker.Config{ScanAfter: simworker.Never})
	r := w.start("one", 7)
	require.Equal(t, domain.QRRequired, r.Status)
	require.NotEmpty(t, r.QR.Code)
	w.plane.interval = time.Hour
	w.advance(99 * time.Second)
	require.Len(t, w.plane.reports, 5)
	seen := map[string]bool{}
	for i, r := range w.plane.reports {
		require.Equal(t, domain.QRRequired, r.Status)
		require.Equal(t, "w1", r.WorkerID)
		require.Equal(t, int64(7), r.Generation)
		require.Equal(t, began.Add(time.Duration(i)*20*time.Second), r.At)
		seen[r.QR.Code] = true
	}
	require.Len(t, seen, 5)
	w.advance(time.Second)
	last := w.plane.reports[len(w.plane.reports)-1]
	require.Equal(t, domain.Disconnected, last.Status)
	require.False(t, last.LoggedOut)
	require.Empty(t, w.Running())
	require.Equal(t, []string{"start w1 one/7", "stop w1 one/7 QR attempts used up"}, w.journal())
	_, err := w.Status(t.Context(), "one")
	failed(t, err, ports.WorkerSessionNotFound)
}

func TestScan_SharedState_SharesCredentials(t *testing.T) {
	state := simworker.NewState()
	w := newWorld(t, simworker.Config{State: state, ScanAfter: 3 * time.Second})
	w.start("one", 1)
	w.advance(2999 * time.Millisecond)
	require.Len(t, w.plane.reports, 1)
	w.advance(time.Millisecond)
	r := w.plane.reports[1]
	require.Equal(t, domain.Connected, r.Status)
	require.Equal(t, simworker.PhoneOf("one"), r.PhoneNumber)
	require.Equal(t, "Name", r.DisplayName)
	_, err := domain.ParsePhone(r.PhoneNumber)
	require.NoError(t, err)

	other := newWorld(t, simworker.Config{State: state})
	r = other.start("one", 2)
	require.Equal(t, domain.Connected, r.Status, "no QR where the credentials are")
	other.step()
	require.Equal(t, []string{"report one/2 CONNECTED"}, other.plane.calls())
	require.NoError(t, other.Logout(t.Context(), "one", 0))
	require.Equal(t, domain.QRRequired, other.start("one", 3).Status)
}

func TestStart_PairingPhone_ReturnsCode(t *testing.T) {
	w := newWorld(t, simworker.Config{ScanAfter: time.Second})
	r, err := w.Start(t.Context(), ports.Start{SessionID: "one", Generation: 1, PairingPhone: "6281234567890"})
	require.NoError(t, err)
	require.Regexp(t, `^[0-9A-F]{4}-[0-9A-F]{4}$`, r.PairingCode)
	w.advance(time.Second)
	require.Equal(t, "6281234567890", w.plane.reports[1].PhoneNumber)
}

func TestSend_ReceiptAfter_ReportsReceipts(t *testing.T) {
	w := newWorld(t, simworker.Config{ReceiptAfter: 100 * time.Millisecond})
	w.connected("one", 1)
	sent, err := w.send("one", "m1")
	require.NoError(t, err)
	require.Equal(t, began, sent.At)
	w.advance(99 * time.Millisecond)
	require.Empty(t, w.plane.messages)
	w.advance(101 * time.Millisecond)
	require.Equal(t, []domain.MessageReport{
		{SessionID: "one", WhatsAppID: sent.WhatsAppID, Status: domain.MessageDelivered, At: began.Add(100 * time.Millisecond)},
		{SessionID: "one", WhatsAppID: sent.WhatsAppID, Status: domain.MessageRead, At: began.Add(200 * time.Millisecond)},
	}, w.plane.messages)

	w.plane.err = domain.Errorf(domain.NotFound, domain.CodeMessageNotFound, "not yet")
	_, err = w.send("one", "m2")
	require.NoError(t, err)
	w.advance(time.Second)
	w.plane.err = nil
	w.advance(time.Second)
	require.Len(t, w.plane.messages, 4, "they are told again")
}

func TestPhone_Events_AreReported(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.connected("one", 1)
	require.NoError(t, w.LoseLink("one", 4*time.Second))
	_, err := w.send("one", "m1")
	failed(t, err, ports.WorkerRejected)
	w.advance(4 * time.Second)
	require.Equal(t, []string{"report one/1 RECONNECTING", "report one/1 CONNECTED"}, w.plane.calls())

	require.NoError(t, w.Receive(t.Context(), "one", "628999@s.whatsapp.net", "hi"))
	require.Equal(t, []string{`received one 628999@s.whatsapp.net "hi"`}, w.plane.calls())

	require.NoError(t, w.Unlink("one"))
	w.step()
	last := w.plane.reports[len(w.plane.reports)-1]
	require.Equal(t, domain.Disconnected, last.Status)
	require.True(t, last.LoggedOut)
	_, linked := w.state.Phone("one")
	require.False(t, linked)
	failed(t, w.Unlink("one"), ports.WorkerSessionNotFound)

	w.connected("two", 1)
	require.NoError(t, w.Ban("two"))
	w.step()
	last = w.plane.reports[len(w.plane.reports)-1]
	require.Equal(t, domain.Errored, last.Status)
	require.NotEmpty(t, last.Error)
}
