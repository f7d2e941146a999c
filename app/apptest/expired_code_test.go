package apptest_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/httpapi"
	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// signedIn is the accounts of a server on which every request is one user's.
type signedIn struct {
	service.Accounts
	userID string
}

func (s signedIn) Authenticate(context.Context, string) (service.Principal, error) {
	return service.Principal{UserID: s.userID, Role: domain.RoleUser}, nil
}

// A scanner is a user of a fleet in which nobody scans, on the side of HTTP.
type scanner struct {
	*apptest.Harness
	t    *testing.T
	api  http.Handler
	line string
}

// newScanner returns a user with a session that has not been connected yet.
func newScanner(t *testing.T) *scanner {
	h := apptest.With(t, apptest.Options{
		Timing: domain.Timing{QRLife: 20 * time.Second}, Worker: func(c *apptest.WorkerConfig) { c.ScanAfter = -1 },
	}).Workers("w1", 50)
	u := h.User(domain.TierPro)
	return &scanner{
		Harness: h, t: t, line: h.CreateSession(u, "line").Session.ID,
		api: httpapi.New(httpapi.Config{Services: h.Orchestrator.Services, Accounts: signedIn{userID: u.ID}, Clock: wireClock{h}}),
	}
}

// answered is the answer to a request.
type answered struct {
	Code    int
	Message string
	Data    struct{ Status, QRString, PairingCode, WorkerID string }
}

func (s *scanner) call(method, route, body string) (a answered) {
	s.t.Helper()
	r := httptest.NewRequest(method, "/api/v1/sessions/"+s.line+route, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer token")
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.api.ServeHTTP(w, r)
	require.NoError(s.t, json.Unmarshal(w.Body.Bytes(), &a), w.Body)
	a.Code = w.Code
	return a
}

// letCodeExpire cuts the worker off until its code has expired. The worker is online for as long.
func (s *scanner) letCodeExpire(d time.Duration) {
	s.t.Helper()
	s.CutOff("w1")
	s.Advance(d)
	s.Reconnect("w1")
	require.Equal(s.t, domain.QRRequired, s.Session(s.line).Status)
}

const connectAgain = "The code has expired and was not renewed; connect the session again to get a new one"

// A code that its worker does not renew: every route says what to do, and a connect starts anew.
func TestQR_ExpiredAndNotRenewed_RoutesSayWhatToDoAndConnectStartsAnew(t *testing.T) {
	s := newScanner(t)
	require.Equal(t, http.StatusOK, s.call("POST", "/connect", "{}").Code)
	s.Advance(5 * time.Second)
	first := s.call("GET", "/qr", "")
	require.Equal(t, "Scan the QR code with the phone", first.Message)
	require.NotEmpty(t, first.Data.QRString)
	require.Equal(t, http.StatusConflict, s.call("POST", "/connect", "{}").Code, "the code can be scanned")

	s.letCodeExpire(30 * time.Second)

	expired := s.call("GET", "/qr", "")
	require.Equal(t, []any{http.StatusOK, connectAgain, "QR_REQUIRED", ""}, []any{expired.Code, expired.Message, expired.Data.Status, expired.Data.QRString})
	picture := s.call("GET", "/qr?format=png", "")
	require.Equal(t, []any{http.StatusNotFound, connectAgain}, []any{picture.Code, picture.Message})
	status := s.call("GET", "/status", "")
	require.Equal(t, []any{http.StatusOK, connectAgain, "QR_REQUIRED"}, []any{status.Code, status.Message, status.Data.Status})

	again := s.call("POST", "/connect", "{}")
	require.Equal(t, []any{http.StatusOK, "worker-w1"}, []any{again.Code, again.Data.WorkerID}, again.Message)
	s.Advance(5 * time.Second)
	next := s.call("GET", "/qr", "")
	require.Equal(t, "Scan the QR code with the phone", next.Message)
	require.NotEmpty(t, next.Data.QRString)
	require.NotEqual(t, first.Data.QRString, next.Data.QRString)
}

// The number of a connect after the code expired reaches the worker, and so does the wish for a QR again.
func TestConnect_CodeExpiredAndNumberGiven_WorkerShowsAPairingCode(t *testing.T) {
	s := newScanner(t)
	require.Equal(t, http.StatusOK, s.call("POST", "/connect", "{}").Code)
	s.Advance(5 * time.Second)
	require.Empty(t, s.call("GET", "/qr", "").Data.PairingCode)

	s.letCodeExpire(30 * time.Second)
	require.Equal(t, http.StatusOK, s.call("POST", "/connect", `{"pairing":{"phoneNumber":"+6281234567890"}}`).Code)
	s.Advance(5 * time.Second)
	pairing := s.call("GET", "/qr", "")
	require.NotEmpty(t, pairing.Data.PairingCode)
	require.Equal(t, "Type the pairing code into the phone", pairing.Message)

	s.letCodeExpire(30 * time.Second)
	require.Equal(t, http.StatusOK, s.call("POST", "/connect", "{}").Code)
	s.Advance(5 * time.Second)
	require.Equal(t, []string{"Scan the QR code with the phone", ""}, []string{s.call("GET", "/qr", "").Message, s.call("GET", "/qr", "").Data.PairingCode})
}

// The QR comes in the answer to the start, or in a report: both follow the core's timing.
func TestQR_LifeOfTheTiming_HoldsForSimulatedWorkers(t *testing.T) {
	h := apptest.With(t, apptest.Options{
		Timing: domain.Timing{QRLife: 5 * time.Minute}, Worker: func(c *apptest.WorkerConfig) { c.ScanAfter = -1 },
	}).Workers("w1", 50)
	u := h.User(domain.TierPro)
	line := h.CreateSession(u, "line").Session.ID
	_, err := h.Orchestrator.Sessions.Connect(t.Context(), u.ID, line, service.ConnectOptions{})
	require.NoError(t, err)
	h.Advance(time.Second)
	shown := h.Session(line).QR
	require.NotEmpty(t, shown.Code)
	require.WithinDuration(t, h.Now().Add(5*time.Minute), shown.ExpiresAt, 2*time.Second)
}
