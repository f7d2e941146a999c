package fleet_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// The credentials are on the disk where the session was linked. The home may use another disk by now.
func TestHomeOf_HomeHasAnotherGroupByNow_GroupOfTheLinkCounts(t *testing.T) {
	for name, c := range map[string]struct{ linked, now, want string }{
		"same group":              {"disk-1", "disk-1", "disk-1"},
		"another group":           {"disk-1", "disk-2", "disk-1"},
		"no group any more":       {"disk-1", "", "disk-1"},
		"linked before the group": {"", "disk-2", "disk-2"},
	} {
		t.Run(name, func(t *testing.T) {
			core := coretest.New(t)
			user := core.AddUser(domain.TierPro)
			core.AddWorker("w1", 5)
			core.SetStateGroup("w1", c.linked)
			core.AddConnected(user, "s1", "w1")
			core.SetStateGroup("w1", c.now)
			var home domain.Home
			core.Read(func(ctx context.Context, tx *ports.Tx) (err error) {
				home, err = fleet.HomeOf(ctx, tx, core.Session("s1"), core.Timing, core.Now())
				return err
			})
			require.Equal(t, c.want, home.Group)
			require.Equal(t, "w1", home.WorkerID)
		})
	}
}
