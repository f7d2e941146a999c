package chromiumtest

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

//go:embed finder.js
var finder string

// element returns the expression that finds an element by kind ("action" or "field") and name.
func element(kind, name string) string {
	quoted, _ := json.Marshal(name) // a string is always JSON
	return fmt.Sprintf("window.__find(%q, %s)", kind, quoted)
}

// Go opens a path of the server.
func (p *Page) Go(path string) {
	p.t.Helper()
	p.run(chromedp.Navigate(p.base + path))
}

// Reload loads the page anew, as a person does with F5.
func (p *Page) Reload() {
	p.t.Helper()
	p.run(chromedp.Reload())
}

// Click presses the button, link, tab or choice with a name. Something in front of it fails the test.
func (p *Page) Click(name string) {
	p.t.Helper()
	p.Wait(fmt.Sprintf("%s can be pressed", name), "window.__canPress("+element("action", name)+")")
	at := Read[point](p, "window.__middle("+element("action", name)+")")
	p.run(chromedp.MouseClickXY(at.X, at.Y))
}

// Fill types a text into the field with a label, in place of what it holds.
func (p *Page) Fill(label, text string) {
	p.t.Helper()
	path := element("field", label)
	p.Wait(label+" is there", "Boolean("+path+")")
	Read[bool](p, "("+path+".focus(), "+path+".select?.(), true)")
	if text == "" {
		p.Press(kb.Backspace)
		return
	}
	call(p, input.InsertText, input.InsertTextParams{Text: text})
}

// Select chooses an option of the field with a label, by its value.
func (p *Page) Select(label, value string) {
	p.t.Helper()
	quoted, _ := json.Marshal(value)
	path := element("field", label)
	p.Wait(label+" is there", "Boolean("+path+")")
	Read[bool](p, fmt.Sprintf(`(() => { const e = %s; e.value = %s; return e.dispatchEvent(new Event("input", {bubbles: true})); })()`, path, quoted))
}

// Upload chooses a file for the file input of the page.
func (p *Page) Upload(path string) {
	p.t.Helper()
	p.run(chromedp.SetUploadFiles(`input[type="file"]`, []string{path}))
}

// Press sends keys to the element that has the focus.
func (p *Page) Press(keys string) {
	p.t.Helper()
	p.run(chromedp.KeyEvent(keys))
}

// Text returns the text of the first element that a CSS selector finds.
func (p *Page) Text(selector string) string {
	p.t.Helper()
	p.See(selector)
	quoted, _ := json.Marshal(selector)
	return Read[string](p, fmt.Sprintf("document.querySelector(%s).textContent", quoted))
}

// LongestTask returns how long, in milliseconds, the page's own thread was busy at a time since it was
// loaded; 0 if never for more than 50 ms.
func (p *Page) LongestTask() float64 {
	p.t.Helper()
	return Read[float64](p, "window.__longestTask")
}

// Wait waits until a JavaScript expression is true.
func (p *Page) Wait(what, expression string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	ticker := time.NewTicker(25 * time.Millisecond)
	defer ticker.Stop()
	for {
		isTrue, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err == nil && isTrue {
			return
		}
		select {
		case <-ctx.Done():
			p.t.Fatalf("not so in time: %s (%v)\n%s", what, err, p.state())
		case <-ticker.C:
		}
	}
}

// See waits until a CSS selector finds an element.
func (p *Page) See(selector string) {
	p.t.Helper()
	quoted, _ := json.Marshal(selector)
	p.Wait(selector, fmt.Sprintf("document.querySelector(%s)", quoted))
}

// SeeText waits until the page shows a text.
func (p *Page) SeeText(text string) {
	p.t.Helper()
	quoted, _ := json.Marshal(text)
	p.Wait("text "+text, fmt.Sprintf("document.body && document.body.innerText.includes(%s)", quoted))
}

// Offline cuts the page off from the network, or connects it again.
func (p *Page) Offline(isOffline bool) {
	p.t.Helper()
	call(p, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
		MatchedNetworkConditions: []*network.Conditions{{DownloadThroughput: -1, UploadThroughput: -1, Offline: isOffline}},
	})
	call(p, network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: isOffline, DownloadThroughput: -1, UploadThroughput: -1})
}

// Resize changes the size and the colours of the page.
func (p *Page) Resize(width, height int, scheme string) {
	p.t.Helper()
	call(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: int64(width), Height: int64(height), DeviceScaleFactor: 1, Mobile: width <= 640,
	})
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// Shot writes a picture of the whole page to a file.
func (p *Page) Shot(path string) {
	p.t.Helper()
	shot := call(p, page.CaptureScreenshot, page.CaptureScreenshotParams{CaptureBeyondViewport: new(true)})
	require.NoError(p.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(p.t, os.WriteFile(path, shot.Data, 0o600))
}

// A point is a place in the window.
type point struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// A violation is what axe-core finds wrong.
type violation struct {
	ID     string `json:"id"`
	Impact string `json:"impact"`
	Help   string `json:"help"`
	Nodes  []struct {
		HTML           string `json:"html"`
		FailureSummary string `json:"failureSummary"`
	} `json:"nodes"`
}

// CheckAccessibility fails the test for everything serious or critical that axe-core finds on the page.
// The name says which page it is.
func (p *Page) CheckAccessibility(t testing.TB, name string) {
	t.Helper()
	source, err := axeSource()
	require.NoError(t, err)
	if !Read[bool](p, "Boolean(window.axe)") {
		Read[bool](p, source+"; true")
	}
	found := Read[[]violation](p, `axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations.map((v) => ({id: v.id, impact: v.impact, help: v.help,
		nodes: v.nodes.map((n) => ({html: n.html, failureSummary: n.failureSummary}))})))`)
	for _, v := range found {
		if v.Impact == "serious" || v.Impact == "critical" {
			for _, n := range v.Nodes {
				t.Errorf("axe on %s: %s (%s): %s\n%s\n%s", name, v.ID, v.Impact, v.Help, n.HTML, n.FailureSummary)
			}
		}
	}
}
