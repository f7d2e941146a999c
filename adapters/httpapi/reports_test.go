package httpapi

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

// The picture of a session that is not the worker's is not decoded.
func TestReports_PictureOfAnothersSession_IsNotDecoded(t *testing.T) {
	report := func(session string) domain.QR {
		s := &stub{}
		got := serve(t, New(config(s)), request("POST", "/api/v1/webhooks/session-status", fleetToken,
			`{"sessionId":"`+session+`","workerId":"worker-1","status":"QR_REQUIRED","qrCode":"`+paint(t, qrText)+`"}`))
		require.Equal(t, http.StatusOK, got.Code)
		return s.last.(domain.Report).QR
	}
	assert.Equal(t, qrText, report("support").Code)
	assert.Empty(t, report("sales").Code)
	assert.NotEmpty(t, report("sales").Image)
}
