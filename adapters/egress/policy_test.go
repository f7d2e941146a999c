package egress

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

var errNoSuchHost = errors.New("no such host")

func TestPolicy_Conformance(t *testing.T) {
	conformance.URLPolicy(t, func(_ *testing.T, names map[string][]netip.Addr) ports.URLPolicy {
		return New(Config{Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
			if addresses, ok := names[host]; ok {
				return addresses, nil
			}
			return nil, errNoSuchHost
		}})
	})
}

func TestCheckURL_SameName_ResolvedOncePerLife(t *testing.T) {
	var calls atomic.Int32
	now := time.Unix(0, 0)
	inside := []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	answers := [][]netip.Addr{nil, inside}
	p := New(Config{Now: func() time.Time { return now }, Resolve: func(context.Context, string) ([]netip.Addr, error) {
		return answers[calls.Add(1)-1], nil
	}})
	for range 10 {
		require.NoError(t, p.CheckURL(context.Background(), "https://a.example.com/"))
	}
	require.EqualValues(t, 1, calls.Load())
	now = now.Add(answerLife)
	require.Error(t, p.CheckURL(context.Background(), "https://a.example.com/"), "the name leads elsewhere now")
	require.EqualValues(t, 2, calls.Load())
}

func TestCheckURL_SlowDNS_PassesAfterTheLimit(t *testing.T) {
	p := New(Config{Resolve: func(ctx context.Context, _ string) ([]netip.Addr, error) {
		deadline, ok := ctx.Deadline()
		require.True(t, ok)
		require.LessOrEqual(t, time.Until(deadline), resolveLimit)
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	require.NoError(t, p.CheckURL(context.Background(), "https://slow.example.com/"))
}

func TestCheckURL_ManyNames_FewResolutionsAtOnce(t *testing.T) {
	var running, most atomic.Int32
	begin := make(chan struct{})
	p := New(Config{Resolve: func(context.Context, string) ([]netip.Addr, error) {
		n := running.Add(1)
		defer running.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		<-begin
		return nil, nil
	}})
	done := make(chan error)
	for i := range 4 * maxResolving {
		go func() { done <- p.CheckURL(context.Background(), fmt.Sprintf("https://n%d.example.com/", i)) }()
	}
	require.Eventually(t, func() bool { return running.Load() == maxResolving }, 10*time.Second, time.Millisecond)
	close(begin)
	for range 4 * maxResolving {
		require.NoError(t, <-done)
	}
	require.EqualValues(t, maxResolving, most.Load())
}

func TestCheckURL_ManyNames_AnswersAreBounded(t *testing.T) {
	p := New(Config{Resolve: func(context.Context, string) ([]netip.Addr, error) { return nil, errNoSuchHost }})
	for i := range maxAnswers + 100 {
		require.NoError(t, p.CheckURL(context.Background(), fmt.Sprintf("https://n%d.example.com/", i)))
	}
	require.LessOrEqual(t, len(p.answers), maxAnswers)
}

// FuzzCheckURL checks that a URL which passes leads to no private address when net/url
// reads it.
func FuzzCheckURL(f *testing.F) {
	for _, s := range []string{
		"http://127.0.0.1/", "http://2130706433/", "http://0x7f.1/", "http://[::1]/", "http://a@b/", "http://example.com\\@127.0.0.1/",
		"http:\\\\127.0.0.1", "http://１２７.1/", "http://1.1.1.1:80/", "http://localhost./", "http://%31/", " http://a.b",
	} {
		f.Add(s)
	}
	p := New(Config{Resolve: func(context.Context, string) ([]netip.Addr, error) { return nil, errNoSuchHost }})
	f.Fuzz(func(t *testing.T, text string) {
		if p.CheckURL(context.Background(), text) != nil {
			return
		}
		u, err := url.Parse(text)
		if err != nil {
			return // refused by the rules of the domain
		}
		require.Empty(t, u.User.Username(), "%q", text)
		a, err := netip.ParseAddr(strings.TrimRight(u.Hostname(), "."))
		require.True(t, err != nil || IsPublic(a), "%q", text)
	})
}

func BenchmarkCheckURL(b *testing.B) {
	p := New(Config{Resolve: func(context.Context, string) ([]netip.Addr, error) { return nil, errNoSuchHost }})
	for b.Loop() {
		if err := p.CheckURL(context.Background(), "https://media.example.com/a/b/c.png?x=1"); err != nil {
			b.Fatal(err)
		}
	}
}
