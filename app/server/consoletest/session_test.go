package consoletest

import (
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/console/chromiumtest"
	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/server"
	"github.com/switchyard-wa/switchyard/domain"
)

// A phone that scans nothing gets another code, without a touch.
func TestConsole_QRCodeExpires_RenewsItself(t *testing.T) {
	f := newFleet(t)
	f.worker(simworker.Config{ID: "worker-1", ScanAfter: simworker.Never})
	f.session(f.user("ada@example.com", domain.TierPro), "support", "Support line")
	p := chromiumtest.Open(t, f.URL())
	signIn(p, "ada@example.com")
	p.Go("/sessions/support")
	p.Click("Connect")
	p.See(".qr img")
	chromiumtest.Read[bool](p, `(window.first = document.querySelector(".qr img").src, true)`)
	p.Wait("another code", `document.querySelector(".qr img") && document.querySelector(".qr img").src !== window.first`)
	p.Click("Cancel")
	p.See(`[data-state="DISCONNECTED"]`)
}

func TestConsole_PhoneWithoutCamera_GetsACodeToType(t *testing.T) {
	f := newFleet(t)
	f.worker(simworker.Config{ID: "worker-1", ScanAfter: 2 * time.Second})
	f.session(f.user("ada@example.com", domain.TierPro), "support", "Support line")
	p := chromiumtest.Open(t, f.URL())
	p.Expect("400")
	signIn(p, "ada@example.com")
	p.Go("/sessions/support")
	p.Click("Pair by number")
	p.Fill("Phone number", "12")
	p.Click("Get a code")
	p.See(".field.invalid .problem")
	p.Fill("Phone number", "+62 812 3456 7890")
	p.Click("Get a code")
	require.Regexp(t, "^[0-9A-F]{4}-[0-9A-F]{4}$", p.Text("[data-pairing-code]"))
	p.See(`[data-state="CONNECTED"]`)
	p.SeeText("+62 812 3456 7890")
}

func TestConsole_RunningSession_DisconnectsAndLogsOut(t *testing.T) {
	_, _, p := connected(t)
	p.Go("/sessions/support")
	p.Click("Disconnect")
	p.See(`[data-state="DISCONNECTED"]`)
	p.SeeText("connecting again needs no scan")
	p.Click("Connect")
	p.See(`[data-state="CONNECTED"]`)

	p.Click("Settings")
	p.Click("Log out")
	p.SeeText("Log out Support line?")
	p.See("dialog[open]")
	p.Click("Log out")
	p.SeeText("Not linked yet")
}

func TestConsole_DeleteSession_AsksForItsName(t *testing.T) {
	_, _, p := connected(t)
	p.Go("/sessions/support/settings")
	p.Click("Delete")
	p.See("dialog[open] button[type=submit]:disabled")
	p.Fill("Type Support line", "support")
	p.See("dialog[open] button[type=submit]:disabled")
	p.Fill("Type Support line", "Support line")
	p.Click("Delete for good")
	p.SeeText("No session yet")
}

func TestConsole_NewKey_IsShownOnce(t *testing.T) {
	_, _, p := connected(t)
	p.Go("/sessions/support/keys")
	p.See("tbody tr")
	p.Click("New key")
	p.Click("Make the key")
	key := p.Text("[data-secret=api-key]")
	require.Regexp(t, "^wg_", key)
	p.Click("Done")
	p.Wait("two keys", `document.querySelectorAll("tbody tr").length === 2`)
	require.False(t, chromiumtest.Read[bool](p, `document.body.textContent.includes("`+key+`")`), "shown once")
	p.SeeText("Ends in")
}

// mails collects what the mailer writes to the log.
type mails struct {
	mu   sync.Mutex
	text strings.Builder
}

func (m *mails) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.Write(b)
}

func (m *mails) find(pattern string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return regexp.MustCompile(pattern).FindString(m.text.String())
}

func TestConsole_ForgottenPassword_IsSetByTheMailedLink(t *testing.T) {
	box := &mails{}
	f := newFleet(t, func(c *server.Config) {
		c.Log, c.ResetURL = slog.New(slog.NewTextHandler(box, nil)), "https://example.com/reset-password#"
	})
	f.user("ada@example.com", domain.TierPro)
	p := chromiumtest.Open(t, f.URL())
	p.Go("/sign-in")
	p.Click("Forgot your password?")
	p.Fill("Email", "ada@example.com")
	p.Click("Mail me a code")
	p.SeeText("a mail with the next step is on its way")
	link := ""
	require.Eventually(t, func() bool {
		link = box.find(`/reset-password#[0-9A-Za-z_-]+`)
		return link != ""
	}, 20*time.Second, 5*time.Millisecond)

	p.Go(link)
	p.Wait("no token in the address", `location.hash === "" && document.querySelector("form")`)
	p.Fill("New password", "battery-staple-2")
	p.Click("Set the password")
	p.SeeText("The password is set")
	p.Click("Sign in")
	p.Fill("Email", "ada@example.com")
	p.Fill("Password", "battery-staple-2")
	p.Press(kb.Enter)
	p.SeeText("No session yet")
}

// Pages that are reloaded before they have started lose the answer to their refresh.
func TestConsole_HastyReloads_StaySignedIn(t *testing.T) {
	f := newFleet(t)
	f.user("ada@example.com", domain.TierPro)
	p := chromiumtest.Open(t, f.URL())
	signIn(p, "ada@example.com")
	p.Expect("ERR_ABORTED")
	for range 6 {
		p.Go("/")
	}
	p.SeeText("No session yet")
}

// Everything can be reached by the keyboard, and the focus returns from a dialog to where it was.
func TestConsole_KeyboardAlone_CreatesASession(t *testing.T) {
	f := newFleet(t)
	f.user("ada@example.com", domain.TierPro)
	p := chromiumtest.Open(t, f.URL())
	p.Go("/sign-in")
	p.Wait("the first field has the focus", `document.activeElement.name === "email"`)
	p.Press("ada@example.com")
	p.Press(kb.Tab)
	p.Press(password)
	p.Press(kb.Enter)
	p.SeeText("No session yet")
	for range 30 {
		if chromiumtest.Read[bool](p, `document.activeElement.innerText === "New session"`) {
			break
		}
		p.Press(kb.Tab)
	}
	p.Press(kb.Enter)
	p.Wait("the name has the focus", `document.activeElement.name === "name"`)
	p.Press(kb.Escape)
	p.Wait("the focus is back", `document.activeElement.innerText === "New session"`)
	p.Press(kb.Enter)
	p.Wait("the name has the focus", `document.activeElement.name === "name"`)
	p.Press("Night shift")
	p.Press(kb.Enter)
	p.SeeText("Night shift is ready to link")
}

func TestConsole_RightToLeft_NothingIsCut(t *testing.T) {
	f := busyFleet(t)
	p := chromiumtest.Open(t, f.URL(), chromiumtest.Size(390, 844))
	signIn(p, "ada@example.com")
	p.Go("/account")
	p.Click("Right to left")
	p.See(`html[dir="rtl"]`)
	for _, path := range []string{"/", "/sessions/support", "/sessions/scanning", "/sessions/support/webhooks", "/usage", "/account"} {
		for _, width := range []int{390, 1280} {
			p.Resize(width, 844, "light")
			p.Go(path)
			p.See(".page")
			p.See(`html[dir="rtl"]`)
			require.False(t, chromiumtest.Read[bool](p, "document.documentElement.scrollWidth > innerWidth"), "%s at %d scrolls sideways", path, width)
		}
		p.CheckAccessibility(t, "rtl "+path)
	}
}
