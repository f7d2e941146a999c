package redis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/switchyard-wa/switchyard/ports"
)

// channels names the channels of a coordination.
type channels struct{ routes, invalidations string }

func newChannels(prefix string, db int) channels {
	name := func(of string) string { return fmt.Sprintf("%s%s@%d", prefix, of, db) }
	return channels{name("routes"), name("hints")}
}

func (c channels) all() []string { return []string{c.routes, c.invalidations} }

const (
	pingInterval   = 500 * time.Millisecond
	receiveTimeout = 2 * time.Second        // a connection that receives nothing for so long counts as broken
	reconnectDelay = 200 * time.Millisecond // on average
)

// subscribe keeps the connection that receives the messages of all channels.
func (c *Coordination) subscribe() {
	for warned := false; c.ctx.Err() == nil; {
		joined, err := c.receive()
		c.routes.cache.clear()
		switch {
		case c.ctx.Err() != nil:
		case joined:
			warned = false
		case c.isUp() && !warned:
			warned = true
			c.log.Warn("redis subscription refused", "error", err, "effect", "changes of other processes arrive late",
				"check", "the user needs the right to SUBSCRIBE")
		}
		select {
		case <-c.ctx.Done():
		case <-time.After(reconnectDelay/2 + rand.N(reconnectDelay)):
		}
	}
}

// receive handles messages until the connection breaks. joined reports whether Redis had accepted the subscription.
func (c *Coordination) receive() (joined bool, err error) {
	s := c.rdb.Subscribe(c.ctx, c.channels.all()...)
	done := make(chan struct{})
	var pings sync.WaitGroup
	pings.Go(func() { ping(c.ctx, s, done) })
	defer pings.Wait()
	defer close(done)
	stopClosing := context.AfterFunc(c.ctx, func() { _ = s.Close() })
	defer func() {
		if stopClosing() {
			_ = s.Close()
		}
	}()
	confirmed := 0
	for {
		message, err := s.ReceiveTimeout(c.ctx, receiveTimeout)
		if err != nil {
			return joined, err
		}
		switch m := message.(type) {
		case *redis.Subscription:
			confirmed++
			if confirmed == len(c.channels.all()) {
				joined = true
				c.routes.cache.clear()
				c.invalidator.deliver(ports.Invalidation{All: true}) // messages may have been lost
			}
		case *redis.Message:
			switch m.Channel {
			case c.channels.routes:
				c.routes.receive(m.Payload)
			case c.channels.invalidations:
				c.invalidator.receive(m.Payload)
			}
		}
	}
}

// ping sends pings until done is closed, so that a working connection receives something.
func ping(ctx context.Context, s *redis.PubSub, done <-chan struct{}) {
	ticker := time.NewTicker(pingInterval)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			_ = s.Ping(ctx) // a lost ping lets receive time out
		}
	}
}
