package consoletest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/console/chromiumtest"
	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/server"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// shots is the folder into which the pictures of all pages go; empty: none are made.
var shots = os.Getenv("CONSOLE_SHOTS")

// A view is a page in one state, for axe-core and the pictures.
type view struct {
	name string
	path string
	see  string                   // a selector that is there once the page is drawn
	open func(*chromiumtest.Page) // what is done first; nil: nothing
}

// gates are the pages of people who are not signed in.
var gates = []view{
	{"sign-in", "/sign-in", "form", nil},
	{"register", "/register", "form", nil},
	{"forgot-password", "/forgot-password", "form", nil},
	{"reset-password", "/reset-password", "form", nil},
	{"sign-in-refused", "/sign-in", "form", func(p *chromiumtest.Page) {
		p.Expect("401")
		p.Fill("Email", "ada@example.com")
		p.Fill("Password", "wrong-horse-1")
		p.Click("Sign in")
		p.See("[role=alert]")
	}},
}

// views are the pages of a user with much going on.
var views = []view{
	{"dashboard", "/", ".session-card", nil},
	{"dashboard-create", "/", ".session-card", func(p *chromiumtest.Page) {
		p.Click("New session")
		p.See("dialog[open]")
	}},
	{"session-scan", "/sessions/scanning", ".qr img", nil},
	{"session-connected", "/sessions/support", ".bubble", nil},
	{"session-stopped", "/sessions/new", `[data-state="DISCONNECTED"]`, nil},
	{"session-pair", "/sessions/new", `[data-state="DISCONNECTED"]`, func(p *chromiumtest.Page) {
		p.Click("Pair by number")
		p.See(".pairing")
	}},
	{"session-send", "/sessions/support/send", "form", nil},
	{"session-send-file", "/sessions/support/send", "form", func(p *chromiumtest.Page) {
		p.Click("File")
		p.See(".drop")
	}},
	{"session-send-options", "/sessions/support/send", "[data-scheduled]", func(p *chromiumtest.Page) { p.Click("Options") }},
	{"session-send-poll", "/sessions/support/send", "form", func(p *chromiumtest.Page) { p.Click("Poll") }},
	{"session-webhooks", "/sessions/support/webhooks", "[data-webhook] tbody tr", nil},
	{"session-webhooks-new", "/sessions/support/webhooks", "[data-webhook]", func(p *chromiumtest.Page) {
		p.Click("New webhook")
		p.See("dialog[open]")
	}},
	{"session-keys", "/sessions/support/keys", "tbody tr", nil},
	{"session-events", "/sessions/support/events", ".log li", nil},
	{"session-settings", "/sessions/support/settings", ".danger-zone", nil},
	{"session-delete", "/sessions/support/settings", ".danger-zone", func(p *chromiumtest.Page) {
		p.Click("Delete")
		p.See("dialog[open]")
	}},
	{"usage", "/usage", ".chart", nil},
	{"account", "/account", "tbody tr", nil},
	{"missing", "/account/nothing", ".empty", nil},
}

// busyFleet is a server whose user has sessions in every state, messages and webhooks.
func busyFleet(t *testing.T) *fleet {
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	t.Cleanup(receiver.Close)
	f := newFleet(t, func(c *server.Config) { c.Webhooks.Retry = []time.Duration{time.Millisecond} })
	fast := f.worker(simworker.Config{ID: "worker-fast", ScanAfter: time.Millisecond, Capacity: 4})
	user := f.user("ada@example.com", domain.TierMax)
	for i, name := range []string{"Support line", "Sales Jakarta", "Orders and returns", "Night shift"} {
		f.connect(user, []string{"support", "sales", "orders", "night"}[i], name)
	}
	_, err := f.Orchestrator.Webhooks.Create(t.Context(), user, "support", service.WebhookChange{URL: new(receiver.URL + "/hooks/whatsapp")})
	require.NoError(t, err)
	texts := []string{"Good morning! Your order 4711 has left our house.", "It arrives tomorrow between 9 and 12.", "Thank you for your patience. Here is a longer text, which tells of the ways in which a message may take more than one line in a bubble of the conversation.", "👍"}
	for i, text := range texts {
		f.send(user, "support", fmt.Sprintf("62812345678%02d", i%2), text)
	}
	_, err = fast.ReceiveMedia(t.Context(), "support", "6281234567800@s.whatsapp.net", domain.TypeImage, 20_000)
	require.NoError(t, err)
	_, err = f.Orchestrator.Messages.Send(t.Context(), service.Sender{UserID: user, SessionID: "support"}, &domain.Outgoing{
		To: "6281234567800", Type: domain.TypeText, Text: "Your parcel waits at the pick-up point until Friday.", Schedule: &domain.Schedule{SendAt: time.Now().Add(26 * time.Hour)},
	})
	require.NoError(t, err)
	f.worker(simworker.Config{ID: "worker-slow", ScanAfter: simworker.Never})
	f.session(user, "new", "Warehouse")
	f.session(user, "scanning", "Returns desk Bandung")
	_, err = f.Orchestrator.Sessions.Connect(t.Context(), user, "scanning", service.ConnectOptions{Wait: 10 * time.Second})
	require.NoError(t, err)
	return f
}

// Each page, at two widths and in both schemes, satisfies axe-core, and has no line that is wider than it.
func TestConsole_EveryPage_IsAccessible(t *testing.T) {
	f := busyFleet(t)
	p := chromiumtest.Open(t, f.URL())
	look := func(list []view) {
		for _, v := range list {
			p.Resize(1280, 900, "light")
			p.Go(v.path)
			p.See(v.see)
			if v.open != nil {
				v.open(p)
			}
			for _, width := range []int{1280, 390} {
				for _, scheme := range []string{"light", "dark"} {
					p.Resize(width, map[int]int{1280: 900, 390: 844}[width], scheme)
					name := fmt.Sprintf("%s-%d-%s", v.name, width, scheme)
					require.False(t, chromiumtest.Read[bool](p, "document.documentElement.scrollWidth > innerWidth"), "%s scrolls sideways", name)
					p.CheckAccessibility(t, name)
					if shots != "" {
						p.Shot(filepath.Join(shots, name+".png"))
					}
				}
			}
		}
	}
	look(gates)
	p.Resize(1280, 900, "light")
	signIn(p, "ada@example.com")
	look(views)
}
