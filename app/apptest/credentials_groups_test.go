package apptest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// disks is a fleet whose workers use two disks. Phones scan when a test says so.
type disks struct {
	*separate
	old, fresh *simworker.State // of user A's link; of whoever comes later
	next       *simworker.State // of the workers that a test adds
}

// newDisks returns the fleet, after user A has linked the session on w1 with the old disk.
func newDisks(t *testing.T) *disks {
	d := &disks{old: simworker.NewState(), fresh: simworker.NewState()}
	d.next = d.old
	h := &separate{t: t, Harness: apptest.With(t, apptest.Options{Worker: func(c *apptest.WorkerConfig) {
		c.State, c.ScanAfter = d.next, simworker.Never
		if c.ID == "worker-w9" {
			c.Endpoint = "http://worker-w1.sim:1"
		}
	}})}
	d.separate = h
	h.a, h.b = h.User(domain.TierPro), h.User(domain.TierPro)
	h.Workers("w1", 10)
	require.NoError(t, h.create(h.a))
	h.link(h.a, "w1")
	return d
}

// add adds a worker on a disk.
func (d *disks) add(name string, disk *simworker.State) {
	d.next = disk
	d.Workers(name, 10)
}

// changeDisk starts a crashed w1 on the fresh disk.
func (d *disks) changeDisk() {
	d.Worker("w1").BootOn(d.fresh)
	d.Advance(time.Minute)
}

// isLinkedOn reports whether a disk has credentials of the session.
func isLinkedOn(disk *simworker.State) bool {
	_, linked := disk.Phone(lineID)
	return linked
}

// requireTakenUntilWiped requires that user B cannot have the id until a worker has wiped the old disk,
// and then has to scan there.
func (d *disks) requireTakenUntilWiped() {
	d.t.Helper()
	d.Advance(2 * time.Hour)
	require.Equal(d.t, domain.CodeSessionExists, domain.CodeOf(d.create(d.b)), "the old disk has credentials still")
	require.True(d.t, isLinkedOn(d.old))
	d.add("w2", d.old)
	d.Advance(time.Minute)
	require.False(d.t, isLinkedOn(d.old))
	require.NoError(d.t, d.create(d.b))
	for _, w := range []string{"w1", "w9"} {
		_, _ = d.Orchestrator.Workers.Drain(d.t.Context(), workerName(w), service.DrainOptions{})
	}
	d.requireQR(d.b, "w2")
}

func (d *disks) deleteSession() {
	d.t.Helper()
	require.NoError(d.t, d.Orchestrator.Sessions.Delete(d.t.Context(), d.a.ID, lineID))
}

func TestCredentials_DeletedThenWorkerReturnsOnAnotherDisk_OldDiskIsStillToBeWiped(t *testing.T) {
	d := newDisks(t)
	d.Crash("w1")
	d.deleteSession()
	d.changeDisk()
	d.requireTakenUntilWiped()
}

func TestCredentials_WorkerReturnsOnAnotherDiskThenDeleted_OldDiskIsStillToBeWiped(t *testing.T) {
	d := newDisks(t)
	d.Crash("w1")
	d.changeDisk()
	d.deleteSession()
	d.requireTakenUntilWiped()
}

func TestCredentials_LinkedOnBothDisksThenDeleted_BothAreWiped(t *testing.T) {
	d := newDisks(t)
	d.Crash("w1")
	d.changeDisk()
	d.scan("w1")
	require.True(t, isLinkedOn(d.old) && isLinkedOn(d.fresh))
	d.deleteSession()
	require.False(t, isLinkedOn(d.fresh))
	d.requireTakenUntilWiped()
}

func TestCredentials_EndpointIsReusedWithAnotherDisk_OldDiskIsStillToBeWiped(t *testing.T) {
	d := newDisks(t)
	d.Crash("w1")
	d.Advance(time.Minute)
	require.NoError(t, d.Orchestrator.Workers.Remove(t.Context(), "worker-w1", service.RemoveOptions{Force: true}))
	d.deleteSession()
	d.add("w9", d.fresh)
	d.requireTakenUntilWiped()
}

func TestCredentials_WorkerChangesItsDiskThenLogout_OldDiskIsWiped(t *testing.T) {
	d := newDisks(t)
	d.Crash("w1")
	d.changeDisk()
	_, err := d.Orchestrator.Sessions.Logout(t.Context(), d.a.ID, lineID)
	require.NoError(t, err)
	d.Advance(time.Minute)
	require.True(t, isLinkedOn(d.old), "nobody can reach it")

	d.add("w2", d.old)
	d.Advance(time.Minute)
	require.False(t, isLinkedOn(d.old))
	_, err = d.Orchestrator.Workers.Drain(t.Context(), "worker-w1", service.DrainOptions{})
	require.NoError(t, err)
	d.requireQR(d.a, "w2")
}

// The way out when the old disk never returns.
func TestCredentials_OldDiskIsDestroyed_IDIsFree(t *testing.T) {
	d := newDisks(t)
	d.Crash("w1")
	d.deleteSession()
	d.changeDisk()
	require.Equal(t, domain.CodeSessionExists, domain.CodeOf(d.create(d.b)))
	d.Crash("w1")
	d.Advance(time.Minute)
	destroyed := service.RemoveOptions{Force: true, Destroyed: true}
	require.NoError(t, d.Orchestrator.Workers.Remove(t.Context(), "worker-w1", destroyed))
	require.NoError(t, d.create(d.b))
}
