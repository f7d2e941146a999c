package main_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newWithoutPhones starts a worker with its own directory, on which nobody scans.
func newWithoutPhones(s *server, id string) *simulated {
	s.t.Helper()
	w := &simulated{s: s, id: id, legacy: "false", dir: s.t.TempDir(), addr: address() + ":0"}
	w.start("never")
	return w
}

// A drain of workers that share no credentials says what it costs. With force it goes on. The session keeps
// its number and its home, and needs no scan once the home is back.
func TestDrain_WorkersShareNoCredentials_NeedsForceAndKeepsNumberAndHome(t *testing.T) {
	t.Parallel()
	s := serve(t, "--heartbeat-interval", "1s", "--probe-interval", "200ms")
	admin, owner := s.admin(), s.register()
	home := newSimulated(s, "home", "false")
	owner.linkLine(home)
	other := newWithoutPhones(s, "other")
	line := owner.line()
	phone := line.view().str("data.phoneNumber")
	require.NotEmpty(t, phone)

	refused := admin.refused(http.StatusConflict, "INVALID_STATE", "POST", "/workers/home/drain", nil)
	assert.Equal(t, "1 linked session(s) would need a new QR scan, because no other worker has their credentials; use force=true to move them all the same",
		refused.str("error.message"))
	assert.Equal(t, "ONLINE", admin.get("/workers/home").str("data.status"), "a refused drain begins nothing")
	assert.Equal(t, []string{"CONNECTED", "home"}, []string{line.status(), line.view().str("data.workerId")})

	assert.Equal(t, "MAINTENANCE", admin.post("/workers/home/drain?force=true", nil).str("data.status"))
	moved := line.await("QR_REQUIRED")
	assert.Equal(t, []string{other.id, phone}, []string{moved.str("data.workerId"), moved.str("data.phoneNumber")}, moved)
	moves := admin.get("/admin/migrations?sessionId=line")
	assert.Equal(t, []string{"1", "DRAIN", "NEEDS_SCAN", "home", "other"}, []string{
		fmt.Sprint(moves.at("data.pagination.total")), moves.str("data.migrations.0.kind"), moves.str("data.migrations.0.status"),
		moves.str("data.migrations.0.fromWorker"), moves.str("data.migrations.0.toWorker"),
	}, moves)

	admin.post("/workers/home/activate", nil)
	waitFor(t, "the session is back at home", func() (bool, any) {
		v := line.view()
		return v.str("data.status") == "CONNECTED", v
	})
	back := line.view()
	assert.Equal(t, []string{home.id, phone}, []string{back.str("data.workerId"), back.str("data.phoneNumber")}, "nobody scanned")
}

// A rebalance of workers that share no credentials moves nothing without force, and says what force would cost.
func TestRebalance_WorkersShareNoCredentials_NeedsForceAndKeepsNumbers(t *testing.T) {
	t.Parallel()
	s := serve(t, "--heartbeat-interval", "1s", "--probe-interval", "200ms")
	admin, owner := s.admin(), s.registerTier("PRO")
	newSimulated(s, "home", "false")
	phones := make(map[string]string)
	for i := range 4 {
		line := owner.create(fmt.Sprint("Line ", i))
		line.post(line.path("/connect"), nil)
		phones[line.id] = line.await("CONNECTED").str("data.phoneNumber")
		require.NotEmpty(t, phones[line.id])
	}
	newWithoutPhones(s, "other")

	plan := admin.post("/admin/rebalance?dryRun=true", nil)
	assert.Equal(t, []string{"0", "0", "2"}, []string{fmt.Sprint(len(plan.list("data.moves"))), fmt.Sprint(plan.at("data.scans")), fmt.Sprint(plan.at("data.scansWithForce"))}, plan)
	assert.Empty(t, admin.post("/admin/rebalance", nil).list("data.moves"))
	assert.EqualValues(t, 0, admin.get("/admin/migrations").at("data.pagination.total"))

	forced := admin.post("/admin/rebalance?force=true", nil)
	assert.Equal(t, []string{"2", "2"}, []string{fmt.Sprint(len(forced.list("data.moves"))), fmt.Sprint(forced.at("data.scans"))}, forced)
	for i := range forced.list("data.moves") {
		line := &testSession{client: owner.client, id: forced.str(fmt.Sprintf("data.moves.%d.sessionId", i))}
		moved := line.await("QR_REQUIRED")
		assert.Equal(t, []string{"other", phones[line.id]}, []string{moved.str("data.workerId"), moved.str("data.phoneNumber")}, moved)
		assert.Equal(t, "NEEDS_SCAN", admin.get("/admin/migrations?sessionId="+line.id).str("data.migrations.0.status"))
	}
}
