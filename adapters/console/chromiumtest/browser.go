package chromiumtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

const patience = 30 * time.Second // for one step, on a machine that has much else to do

// names of the browser's program, the environment variable CHROMIUM first.
var names = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"}

var errMissing = errors.New("chromiumtest: Chromium is not on this machine; `make browser` installs it, or name its program in CHROMIUM")

// find returns the path of the browser's program.
func find() (string, error) {
	if path := os.Getenv("CHROMIUM"); path != "" {
		return exec.LookPath(path)
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errMissing
}

// A Page is one tab of a browser of its own, on one server.
type Page struct {
	t    testing.TB
	base string
	ctx  context.Context

	mu       sync.Mutex
	problems []string
	expected []string
}

// Option configures [Open].
type Option func(*options)

type options struct {
	width, height int
	isMobile      bool
	scheme        string // prefers-color-scheme
}

// Size sets the size of the page in CSS pixels. A page narrower than 641 pixels is a phone.
func Size(width, height int) Option {
	return func(o *options) { o.width, o.height, o.isMobile = width, height, width <= 640 }
}

// Dark makes the system prefer dark colours.
func Dark() Option { return func(o *options) { o.scheme = "dark" } }

// Open starts a browser for the pages of a server. The test's end closes it.
func Open(t testing.TB, base string, opts ...Option) *Page {
	t.Helper()
	program, err := find()
	require.NoError(t, err)
	o := options{width: 1280, height: 900, scheme: "light"}
	for _, opt := range opts {
		opt(&o)
	}
	allocate := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.WindowSize(o.width, o.height),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("lang", "en-GB"), chromedp.Flag("force-color-profile", "srgb"),
		chromedp.WSURLReadTimeout(2*patience),
	)
	ctx, closeAllocator := chromedp.NewExecAllocator(context.Background(), allocate...)
	ctx, closeBrowser := chromedp.NewContext(ctx)
	p := &Page{t: t, base: strings.TrimRight(base, "/"), ctx: ctx}
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx)
		closeBrowser()
		closeAllocator()
		p.report()
	})
	require.NoError(t, chromedp.Listen(ctx, p.hear))
	call(p, log.Enable, cdp.Empty{})
	call(p, network.Enable, network.EnableParams{})
	call(p, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: finder})
	p.Resize(o.width, o.height, o.scheme)
	return p
}

// hear collects what a page must not do.
func (p *Page) hear(event any) {
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		p.note("exception: " + describe(e.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			p.note(fmt.Sprintf("console %s: %s", e.Type, values(e.Args)))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			p.note(fmt.Sprintf("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL))
		}
	case *network.EventRequestWillBeSent:
		if u := e.Request.URL; !strings.HasPrefix(u, p.base+"/") && !strings.HasPrefix(u, "data:") && !strings.HasPrefix(u, "blob:") {
			p.note("request elsewhere: " + u)
		}
	}
}

func values(args []*runtime.RemoteObject) string {
	var b strings.Builder
	for _, a := range args {
		b.WriteString(string(a.Value) + a.Description + " ")
	}
	return b.String()
}

func (p *Page) note(problem string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems = append(p.problems, problem)
}

// Expect allows problems that contain a text, such as the status and path of a request that the test
// provokes.
func (p *Page) Expect(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = append(p.expected, text)
}

// report fails the test for every problem that was not expected.
func (p *Page) report() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, problem := range p.problems {
		isExpected := false
		for _, text := range p.expected {
			isExpected = isExpected || strings.Contains(problem, text)
		}
		if !isExpected {
			p.t.Errorf("the page reported: %s", problem)
		}
	}
}

// describe returns the text of an exception.
func describe(d *runtime.ExceptionDetails) string {
	if d.Exception != nil {
		return d.Text + " " + d.Exception.Description
	}
	return d.Text + " " + d.URL
}

// call sends a command of the DevTools protocol.
func call[P, R any](p *Page, command cdp.Command[P, R], params P) R {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	result, err := chromedp.Call(ctx, command, params)
	if err != nil {
		p.t.Fatalf("in the browser: %v\n%s", err, p.state())
	}
	return result
}

// run runs actions of the browser.
func (p *Page) run(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatalf("in the browser: %v\n%s", err, p.state())
	}
}

// Read returns the value of a JavaScript expression, which may be a promise.
func Read[T any](p *Page, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("in the browser: %v\n%s", err, p.state())
	}
	return value
}

// state describes the page, for failures.
func (p *Page) state() string {
	ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
	defer cancel()
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText.slice(0, 3000)`)) // as far as there is one
	p.mu.Lock()
	defer p.mu.Unlock()
	return text + "\n" + strings.Join(p.problems, "\n")
}
