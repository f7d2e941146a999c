package egress

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	whatwg "github.com/nlnwa/whatwg-url/url"
	"golang.org/x/sync/singleflight"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const (
	resolveLimit = 500 * time.Millisecond
	answerLife   = 30 * time.Second
	maxAnswers   = 4096
	maxResolving = 32
)

// The messages are shown to users.
const (
	msgForm        = "The URL must be http:// or https:// with a valid host"
	msgCredentials = "The URL must not contain a user name or a password"
	msgPrivate     = "The URL must lead to a public address, not to a private, local or reserved one"
)

// Config refines a [Policy]. The zero value works.
type Config struct {
	// Resolve returns the addresses of a host name. Nil: the system's resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	Now     func() time.Time // the clock of the cached answers; nil: time.Now
}

// Policy implements [ports.URLPolicy]. Make one with [New]. It is safe for concurrent
// use.
type Policy struct {
	resolve   func(ctx context.Context, host string) ([]netip.Addr, error)
	now       func() time.Time
	resolving chan struct{} // holds one element for each resolution in progress
	flights   singleflight.Group

	mu      sync.Mutex
	answers map[string]answer // by host
}

var _ ports.URLPolicy = (*Policy)(nil)

// answer is the cached result of a resolution.
type answer struct {
	isInside bool // one of the addresses is not public
	until    time.Time
}

// New returns a policy.
func New(c Config) *Policy {
	if c.Resolve == nil {
		c.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Policy{
		resolve: c.Resolve, now: c.Now,
		resolving: make(chan struct{}, maxResolving), answers: make(map[string]answer),
	}
}

// CheckURL returns nil if the URL leads to a public address, as far as that can be
// known here.
func (p *Policy) CheckURL(ctx context.Context, url string) error {
	u, err := whatwg.Parse(url)
	if err != nil || u.Scheme() != "http" && u.Scheme() != "https" || u.Hostname() == "" {
		return refused(msgForm)
	}
	if u.Username() != "" || u.Password() != "" {
		return refused(msgCredentials)
	}
	host := strings.Trim(u.Hostname(), "[]")
	if a, err := netip.ParseAddr(host); err == nil {
		if !IsPublic(a) {
			return refused(msgPrivate)
		}
		return nil
	}
	name := strings.TrimRight(host, ".")
	if isLocalName(name) || p.leadsInside(ctx, name) {
		return refused(msgPrivate)
	}
	return nil
}

// refused returns the error of a URL that is refused.
func refused(message string) error {
	return domain.Errorf(domain.Invalid, domain.CodeValidation, "%s", message)
}

// localDomains holds the domains whose names are for local networks, and the domain of a
// metadata service.
var localDomains = []string{
	"localhost", "localdomain", "local", "internal", "home.arpa", "lan", "intranet", "private", "corp", "home",
	"metadata.goog",
}

// isLocalName reports whether a host name is no name of the internet.
func isLocalName(name string) bool {
	if !strings.Contains(name, ".") {
		return true
	}
	for _, local := range localDomains {
		if name == local || strings.HasSuffix(name, "."+local) {
			return true
		}
	}
	return false
}

// leadsInside reports whether a name resolves to an address that is not public. It
// returns false for a name that does not resolve within the time limit.
func (p *Policy) leadsInside(ctx context.Context, name string) bool {
	p.mu.Lock()
	cached, found := p.answers[name]
	p.mu.Unlock()
	if found && p.now().Before(cached.until) {
		return cached.isInside
	}
	flight := p.flights.DoChan(name, func() (any, error) { return p.resolveAndCache(context.WithoutCancel(ctx), name), nil })
	select {
	case result := <-flight:
		return result.Val.(bool)
	case <-ctx.Done():
		return false
	}
}

// resolveAndCache resolves a name within the time limit and caches the answer. A name
// whose turn does not come within the limit is not cached.
func (p *Policy) resolveAndCache(ctx context.Context, name string) (isInside bool) {
	ctx, cancel := context.WithTimeout(ctx, resolveLimit)
	defer cancel()
	select {
	case p.resolving <- struct{}{}:
		defer func() { <-p.resolving }()
	case <-ctx.Done():
		return false
	}
	addresses, _ := p.resolve(ctx, name)
	for _, a := range addresses {
		isInside = isInside || !IsPublic(a)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.answers) >= maxAnswers {
		clear(p.answers)
	}
	p.answers[name] = answer{isInside, p.now().Add(answerLife)}
	return isInside
}
