package redis

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// quiet leaves out what a connection would ask Redis Enterprise when it opens.
func quiet() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// slack is how long connecting, and what has no limit of its own, may take at least.
const slack = time.Second

// Check reports whether a URL is one that [Open] understands, without connecting.
func Check(url string) error {
	_, err := parse(url, 0)
	return err
}

// target is where a URL leads.
type target struct {
	connect func() redis.UniversalClient
	db      int
	cluster bool // keys live on different servers
}

// parse reads a URL as go-redis does: with master_name it is that of a sentinel,
// with addr that of a cluster. Calls are limited by their contexts and by no less
// than the limit.
func parse(raw string, limit time.Duration) (target, error) {
	t, err := read(raw, limit)
	if err == nil {
		return t, nil
	}
	// Reasons may repeat what they are about. Behind the last @ there is no password.
	scheme, rest, found := strings.Cut(raw, "://")
	if at := strings.LastIndexByte(rest, '@'); found && at >= 0 {
		if _, err = read(scheme+"://"+rest[at+1:], limit); err == nil {
			return target{}, fmt.Errorf("the URL is not valid: user and password end early; %s", form)
		}
	}
	var unreadable *url.Error
	if errors.As(err, &unreadable) || strings.Contains(raw, "password") {
		return target{}, fmt.Errorf("the URL is not valid; %s", form)
	}
	return target{}, fmt.Errorf("the URL is not valid: %w; %s", err, form)
}

const form = "write it as redis://user:password@host:port/database, with special characters percent-encoded"

func read(raw string, limit time.Duration) (target, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return target{}, err
	}
	switch query := u.Query(); {
	case query.Has("master_name"):
		o, err := redis.ParseFailoverURL(raw)
		if err != nil {
			return target{}, err
		}
		settings{
			&o.ContextTimeoutEnabled, &o.DisableIdentity, &o.MaxRetries, &o.DialerRetries, &o.PipelinePoolSize, &o.Protocol,
			&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout,
		}.tune(limit)
		return target{connect: func() redis.UniversalClient { return redis.NewFailoverClient(o) }, db: o.DB}, nil
	case query.Has("addr"):
		o, err := redis.ParseClusterURL(raw)
		if err != nil {
			return target{}, err
		}
		settings{
			&o.ContextTimeoutEnabled, &o.DisableIdentity, &o.MaxRetries, &o.DialerRetries, &o.PipelinePoolSize, &o.Protocol,
			&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout,
		}.tune(limit)
		o.MaintNotificationsConfig = quiet()
		return target{connect: func() redis.UniversalClient { return redis.NewClusterClient(o) }, cluster: true}, nil
	default:
		o, err := redis.ParseURL(raw)
		if err != nil {
			return target{}, err
		}
		settings{
			&o.ContextTimeoutEnabled, &o.DisableIdentity, &o.MaxRetries, &o.DialerRetries, &o.PipelinePoolSize, &o.Protocol,
			&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout,
		}.tune(limit)
		o.MaintNotificationsConfig = quiet()
		return target{connect: func() redis.UniversalClient { return redis.NewClient(o) }, db: o.DB}, nil
	}
}

// settings are those that all kinds of options have.
type settings struct {
	contextTimeouts, noIdentity            *bool
	retries, dials, pipelinePool, protocol *int
	dialTimeout, readTimeout, writeTimeout *time.Duration
}

// tune has calls end when their context does, and fail at the first failure, since
// the coordination knows what to do then. Protocol 2 does all that is needed, and looks for
// no messages between answers, which saves a system call each.
func (s settings) tune(limit time.Duration) {
	*s.contextTimeouts, *s.noIdentity = true, true
	*s.retries, *s.dials = -1, 1
	*s.pipelinePool = -1
	if *s.protocol == 0 {
		*s.protocol = 2
	}
	for _, t := range []*time.Duration{s.dialTimeout, s.readTimeout, s.writeTimeout} {
		if *t == 0 {
			*t = max(slack, limit)
		}
	}
}
