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

// noMaintenanceNotifications turns off a handshake with Redis Enterprise on each new connection.
func noMaintenanceNotifications() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// minTimeout is the shortest timeout of a connection. Calls have shorter limits of their own.
const minTimeout = time.Second

// Check returns an error if [Open] cannot use a URL. It does not connect.
func Check(url string) error {
	_, err := parse(url, 0)
	return err
}

// target is the server, cluster or sentinel group of a URL.
type target struct {
	connect func() redis.UniversalClient
	db      int
	cluster bool // keys live on different servers
}

// parse parses a URL as [Open] describes it. Contexts bound calls; the timeouts of connections are not below limit. Errors
// never hold a password.
func parse(raw string, limit time.Duration) (target, error) {
	t, err := parseURL(raw, limit)
	if err == nil {
		return t, nil
	}
	// The error of a parser may quote its input. The part behind the last @ holds no password, so its error is safe.
	scheme, rest, found := strings.Cut(raw, "://")
	if at := strings.LastIndexByte(rest, '@'); found && at >= 0 {
		if _, err := parseURL(scheme+"://"+rest[at+1:], limit); err == nil {
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

func parseURL(raw string, limit time.Duration) (target, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return target{}, err
	}
	query := u.Query()
	switch {
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
		o.MaintNotificationsConfig = noMaintenanceNotifications()
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
		o.MaintNotificationsConfig = noMaintenanceNotifications()
		return target{connect: func() redis.UniversalClient { return redis.NewClient(o) }, db: o.DB}, nil
	}
}

// settings points to the fields that the options of servers, clusters and sentinels have in common.
type settings struct {
	contextTimeouts, noIdentity            *bool
	retries, dials, pipelinePool, protocol *int
	dialTimeout, readTimeout, writeTimeout *time.Duration
}

// tune makes calls end with their context, and turns off retries: the coordination handles failures itself. It selects
// protocol 2. Protocol 3 would check for push messages before each answer, which costs a system call.
func (s settings) tune(limit time.Duration) {
	*s.contextTimeouts, *s.noIdentity = true, true
	*s.retries, *s.dials = -1, 1
	*s.pipelinePool = -1
	if *s.protocol == 0 {
		*s.protocol = 2
	}
	for _, t := range []*time.Duration{s.dialTimeout, s.readTimeout, s.writeTimeout} {
		if *t == 0 {
			*t = max(minTimeout, limit)
		}
	}
}
