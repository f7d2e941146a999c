package httpapi

import (
	"context"
	"time"

	"github.com/go-kit/kit/endpoint"
	"github.com/go-kit/kit/ratelimit"
	"golang.org/x/time/rate"

	"github.com/switchyard-wa/switchyard/domain"
)

// A limitClass is the class of rate limit that a route belongs to.
type limitClass uint8

const (
	unlimited limitClass = iota
	perIP                // public routes that could be used to guess
	perUser              // everything by access token
	perKey               // counted by the service that checks the key; access tokens as perUser
)

// String names the class in listings.
func (l limitClass) String() string {
	return [...]string{"-", "ip", "user", "key"}[l]
}

const (
	perMinuteByIP   = 60
	perMinuteByUser = 6000

	rateMessage = "Too many requests; wait as long as Retry-After says"
)

// limits builds the endpoint middlewares that limit routes.
type limits struct {
	api *api
	// While the limiter cannot be reached, requests are let through, but
	// this process alone bounds how many guesses there are.
	fallback endpoint.Middleware
}

func newLimits(a *api) *limits {
	return &limits{
		api:      a,
		fallback: ratelimit.NewErroringLimiter(rate.NewLimiter(10*perMinuteByIP/60, 2*perMinuteByIP)),
	}
}

// of returns the endpoint middleware for a class.
func (l *limits) of(class limitClass) endpoint.Middleware {
	return func(next endpoint.Endpoint) endpoint.Endpoint {
		if class == unlimited || !l.api.RateLimits || l.api.Limiter == nil {
			return next
		}
		blind := next
		if class == perIP {
			blind = l.fallback(next)
		}
		return func(ctx context.Context, request any) (any, error) {
			c := request.(*requestContext)
			key, most := l.key(c, class)
			if key == "" {
				return next(ctx, request)
			}
			usage, err := l.api.Limiter.AllowN(ctx, key, c.start, time.Minute, most, 1)
			if err != nil {
				c.Log().WarnContext(ctx, "rate limiter failed", "request", c.id, "error", err)
				return blind(ctx, request)
			}
			c.showUsage(usage)
			if !usage.Allowed {
				return nil, domain.Errorf(domain.Exceeded, domain.CodeRateLimit, rateMessage).WithUsage(usage, c.start)
			}
			return next(ctx, request)
		}
	}
}

// key returns the key that a request is counted under, and the requests allowed a
// minute. An empty key is not limited.
func (l *limits) key(c *requestContext, class limitClass) (key string, most int) {
	switch {
	case class == perIP:
		return "http:ip:" + domain.ClientNetwork(c.ip()), perMinuteByIP
	case c.principal.UserID != "":
		return "http:user:" + c.principal.UserID, perMinuteByUser
	}
	return "", 0 // an API key or a worker
}
