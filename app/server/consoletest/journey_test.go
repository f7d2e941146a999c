package consoletest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/console/chromiumtest"
	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/domain"
)

// The way of a new customer, from an empty store to a connected session, in one visit.
func TestConsole_NewCustomer_ConnectsAPhoneWithoutAReload(t *testing.T) {
	f := newFleet(t)
	f.worker(simworker.Config{ID: "worker-1", ScanAfter: 3 * time.Second})
	p := chromiumtest.Open(t, f.URL())

	p.Go("/")
	p.Click("Create an account")
	p.Fill("Name", "Ada Lovelace")
	p.Fill("Email", "ada@example.com")
	p.Fill("Password", password)
	p.Click("Create the account")

	p.SeeText("No session yet")
	chromiumtest.Read[bool](p, "window.sameDocument = true")
	p.Click("Create your first session")
	p.Fill("Name", "Support line")
	p.Fill("Id", "support")
	p.Fill("Description", "Front desk")
	p.Click("Create")
	key := p.Text("[data-secret=api-key]")
	require.Regexp(t, "^wg_[0-9A-Za-z]{32,}$", key)
	p.Click("Later")

	p.See(`[data-session="support"] [data-status="DISCONNECTED"]`)
	p.Click("Support line")
	p.Click("Connect")
	p.See(`.qr img[src^="data:image/png"]`)
	p.SeeText("Linked devices")
	p.See(`[role=timer]`)

	p.See(`[data-state="CONNECTED"]`)
	p.SeeText("Connected as")
	require.True(t, chromiumtest.Read[bool](p, "window.sameDocument === true"), "no reload")

	p.Click("Sessions")
	p.See(`[data-session="support"] [data-status="CONNECTED"]`)
	p.SeeText("Your session is connected")
}

func TestConsole_Reload_StaysSignedIn(t *testing.T) {
	f := newFleet(t)
	f.user("ada@example.com", domain.TierPro)
	p := chromiumtest.Open(t, f.URL())
	signIn(p, "ada@example.com")
	for range 3 {
		p.Reload()
		p.SeeText("No session yet")
	}
	require.Equal(t, "", chromiumtest.Read[string](p, "document.cookie"), "scripts do not see the cookie")
	stored := chromiumtest.Read[string](p, "JSON.stringify(localStorage)")
	require.NotContains(t, stored, "ey", "no token is stored")

	p.Click("Sign out")
	p.See(".gate")
	p.Reload()
	p.SeeText("Sign in")
}
