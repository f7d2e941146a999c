package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// copyStore copies the files of the store from one directory to another. No server may run on either.
func copyStore(t *testing.T, from, to string) {
	t.Helper()
	old, err := filepath.Glob(filepath.Join(to, "switchyard.db*"))
	require.NoError(t, err)
	for _, path := range old {
		if isStoreFile(path) {
			require.NoError(t, os.Remove(path))
		}
	}
	files, err := filepath.Glob(filepath.Join(from, "switchyard.db*"))
	require.NoError(t, err)
	for _, path := range files {
		if !isStoreFile(path) {
			continue
		}
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(to, filepath.Base(path)), content, 0o600))
	}
}

// isStoreFile reports whether a file is the database or its log, and not the lock or the secrets.
func isStoreFile(path string) bool {
	name := filepath.Base(path)
	return name == "switchyard.db" || strings.HasSuffix(name, "-wal")
}

// moveTo moves a session to a worker, and waits until it is connected there.
func (c *testSession) moveTo(admin client, to *node) {
	c.s.t.Helper()
	admin.post("/admin/sessions/"+c.id+"/migrate", obj{"targetWorkerId": to.canonical})
	waitFor(c.s.t, "the session is on "+to.id, func() (bool, any) {
		v := c.view()
		return v.str("data.status") == "CONNECTED" && v.str("data.workerId") == to.canonical, v
	})
}

func (c *testSession) generation() int { return int(number(c.view().doc, "data.generation")) }

// awaitSend waits until a text goes out, and fails if the session is ever anything but connected.
func (c *testSession) awaitSend(message string) {
	c.s.t.Helper()
	waitFor(c.s.t, "the session sends", func() (bool, any) {
		assert.Equal(c.s.t, "CONNECTED", c.status())
		a, err := c.byKey().call("POST", "/sendText", obj{"to": someone, "message": message})
		require.NoError(c.s.t, err)
		return a.status == http.StatusOK, a
	})
}

// The server is killed, its store goes back to an older copy, and the server starts again. The workers
// run higher generations than the store knows.
func TestRestore_OlderCopyOfTheStore_SessionsStayConnectedAndMove(t *testing.T) {
	t.Parallel()
	s := serve(t, "--heartbeat-interval", "1s", "--probe-interval", "300ms")
	disk := newDisk()
	a, b := newNode(s, "Node_A", modern, sharing(disk, "disk-1")), newNode(s, "Node_B", modern, sharing(disk, "disk-1"))
	user, admin := s.registerTier("PRO"), s.admin()
	var lines []*testSession
	var homes []*node
	for i := range 3 {
		c := user.create(fmt.Sprint("Line ", i))
		homes = append(homes, c.link(a, b))
		lines = append(lines, c)
	}
	stays, moves, deleted := lines[0], lines[1], lines[2]
	other := map[*node]*node{a: b, b: a}
	backup := t.TempDir()
	s.crash()
	copyStore(t, s.dir, backup)
	s.startAgain()

	for i, c := range lines {
		c.awaitSend("before")
		for range 2 {
			c.moveTo(admin, other[homes[i]])
			c.moveTo(admin, homes[i])
		}
	}
	moves.moveTo(admin, other[homes[1]]) // the copy has it on its former worker
	newest := map[*testSession]int{stays: stays.generation(), moves: moves.generation(), deleted: deleted.generation()}
	asked := len(homes[0].asked(stays.id))
	s.crash()
	copyStore(t, backup, s.dir)
	s.startAgain()

	stays.awaitSend("after")
	waitFor(t, "the generation is adopted", func() (bool, any) {
		g := stays.generation()
		return g == newest[stays], g
	})
	homes[0].awaitHeartbeats(3)
	assert.Equal(t, "CONNECTED", stays.status())
	assert.Equal(t, []string{"send"}, homes[0].asked(stays.id)[asked:], "neither stopped nor started")
	assert.Equal(t, newest[stays], stays.generation())

	waitFor(t, "the session that had moved is connected on one worker", func() (bool, any) {
		v := moves.view()
		onA, onB := a.has(moves.id), b.has(moves.id)
		isOnOne := (onA == "CONNECTED") != (onB == "CONNECTED")
		return v.str("data.status") == "CONNECTED" && isOnOne && moves.on(a, b).has(moves.id) == "CONNECTED", []any{v, onA, onB}
	})
	moves.awaitSend("after")

	stays.moveTo(admin, other[homes[0]])
	assert.Greater(t, stays.generation(), newest[stays])
	stays.moveTo(admin, homes[0])
	stays.awaitSend("moved")

	deleted.want(http.StatusOK, "DELETE", deleted.path(""), nil)
	waitFor(t, "the worker has wiped what it ran", func() (bool, any) {
		return !homes[2].liveSession(deleted.id) && disk.phone(deleted.id) == "", homes[2].asked(deleted.id)
	})
	for _, n := range []*node{a, b} {
		assert.NotContains(t, n.asked(stays.id), "STOP_SESSION")
	}
}

// awaitHeartbeats waits until the control plane has accepted more heartbeats of the node.
func (n *node) awaitHeartbeats(count int) {
	n.t.Helper()
	last := time.Now()
	waitFor(n.t, "the control plane accepts heartbeats", func() (bool, any) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.accepted.After(last) {
			last = n.accepted
			count--
		}
		return count <= 0, count
	})
}

// liveSession reports whether a session runs on the node.
func (n *node) liveSession(id string) bool { return n.has(id) != "" && n.has(id) != "DISCONNECTED" }
