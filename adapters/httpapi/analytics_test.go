package httpapi

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAnalytics_Period_ChoosesTheSteps(t *testing.T) {
	for period, want := range map[string][]any{
		"": {time.Hour, 24}, "1h": {5 * time.Minute, 12}, "24h": {time.Hour, 24}, "7d": {6 * time.Hour, 28}, "30d": {24 * time.Hour, 30},
	} {
		got, s := ask(t, "GET", "/api/v1/admin/analytics?period="+period, adminToken, "")
		require.Equal(t, http.StatusOK, got.Code, got.Body)
		assert.Equal(t, want, s.last, period)
		assert.Len(t, got.Data["series"], want[1].(int))
	}
}

func TestAnalytics_Metric_IsShownAlone(t *testing.T) {
	all := map[string]any{
		"users": map[string]any{"total": 12.0, "active": 11.0}, "sessions": map[string]any{"total": 40.0, "connected": 37.0},
		"messages": map[string]any{"total": 18.0, "sent": 7.0, "received": 9.0, "failed": 3.0},
		"workers":  map[string]any{"total": 4.0, "online": 3.0, "capacity": 150.0, "used": 41.0},
	}
	last := func(query string) map[string]any {
		got, _ := ask(t, "GET", "/api/v1/admin/analytics"+query, adminToken, "")
		require.Equal(t, http.StatusOK, got.Code, got.Body)
		series := got.Data["series"].([]any)
		first := series[0].(map[string]any)
		assert.NotContains(t, first, "users", "no sample was taken then")
		step := series[len(series)-1].(map[string]any)
		assert.Equal(t, "2026-03-01T12:00:00.000Z", step["at"])
		delete(step, "at")
		return step
	}
	assert.Equal(t, all, last(""))
	for metric, want := range all {
		assert.Equal(t, map[string]any{metric: want}, last("?metric="+metric))
	}
}

func TestAnalytics_WrongParameters_AreRefused(t *testing.T) {
	got, s := ask(t, "GET", "/api/v1/admin/analytics?period=2h&metric=money", adminToken, "")
	assert.Equal(t, http.StatusBadRequest, got.Code)
	assert.Equal(t, []string{"period", "metric"}, got.fields())
	assert.Zero(t, s.calls)
	got, _ = ask(t, "GET", "/api/v1/admin/analytics", userToken, "")
	assert.Equal(t, http.StatusForbidden, got.Code)
}
