package consoletest

import (
	"fmt"
	"testing"

	"github.com/switchyard-wa/switchyard/adapters/console/chromiumtest"
	"github.com/switchyard-wa/switchyard/app/server"
	"github.com/switchyard-wa/switchyard/domain"
)

const manySessions = 1000

// BenchmarkDashboard measures, in Chromium, the longest task of the page's own thread while it draws and scrolls 1,000
// sessions. A task of more than 100 ms is felt as a stutter.
func BenchmarkDashboard(b *testing.B) {
	f := newFleet(b, func(c *server.Config) { c.Limits = fmt.Sprintf(`{"MAX":{"maxSessions":%d}}`, manySessions) })
	user := f.user("ada@example.com", domain.TierMax)
	for i := range manySessions {
		f.session(user, fmt.Sprintf("session-%04d", i), fmt.Sprintf("Shop %04d", i))
	}
	p := chromiumtest.Open(b, f.URL())
	signIn(p, "ada@example.com")
	p.See(".session-card")
	longest := 0.0
	for b.Loop() {
		p.Go("/?sort=name")
		p.SeeText("All 1,000")
		for shown := 30; shown < 300; shown += 30 {
			p.Wait("more cards", fmt.Sprintf(`(scrollTo(0, document.body.scrollHeight), document.querySelectorAll(".session-card").length > %d)`, shown))
		}
		p.Fill("Search name or phone", "Shop 07")
		p.Wait("the matches alone", `document.querySelector(".session-card").innerText.includes("Shop 07")`)
		longest = max(longest, p.LongestTask())
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(longest, "ms-longest-task")
	if longest > 100 {
		b.Logf("SHORTFALL: the longest task took %.0f ms, should be at most 100 ms", longest)
	}
}
