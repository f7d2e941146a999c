package redis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// channels are what coordination is subscribed to.
type channels struct{ routes, events, invalidations string }

func newChannels(prefix string, db int) channels {
	name := func(of string) string { return fmt.Sprintf("%s%s@%d", prefix, of, db) }
	return channels{name("routes"), name("events"), name("hints")}
}

func (c channels) all() []string { return []string{c.routes, c.events, c.invalidations} }

const (
	pingEvery = 500 * time.Millisecond // through the subscription
	silence   = 2 * time.Second        // after which it counts as broken
	joinAgain = 200 * time.Millisecond // after it broke, on average
)

// subscribe keeps the one connection on which the coordination hears of everything.
func (f *Coordination) subscribe() {
	for told := false; f.ctx.Err() == nil; {
		joined, err := f.listen()
		f.routes.cache.clear()
		switch {
		case f.ctx.Err() != nil:
		case joined:
			told = false
		case f.up() && !told:
			told = true
			f.log.Warn("Redis does not let us subscribe; is the user allowed to? Until it does, events of other processes do not arrive", "error", err)
		}
		select {
		case <-f.ctx.Done():
		case <-time.After(joinAgain/2 + rand.N(joinAgain)):
		}
	}
}

// listen passes on what arrives until the connection breaks, and reports whether it
// was subscribed at all.
func (f *Coordination) listen() (joined bool, err error) {
	s := f.rdb.Subscribe(f.ctx, f.channels.all()...)
	done := make(chan struct{})
	var pings sync.WaitGroup
	pings.Go(func() { ping(f.ctx, s, done) })
	defer pings.Wait()
	defer close(done)
	shut := context.AfterFunc(f.ctx, func() { _ = s.Close() })
	defer func() {
		if shut() {
			_ = s.Close()
		}
	}()
	answers := 0
	for {
		message, err := s.ReceiveTimeout(f.ctx, silence)
		if err != nil {
			return joined, err
		}
		switch m := message.(type) {
		case *redis.Subscription:
			if answers++; answers == len(f.channels.all()) {
				joined = true
				f.routes.cache.clear()
				f.invalidator.reportGap()
			}
		case *redis.Message:
			switch m.Channel {
			case f.channels.routes:
				f.routes.heard(m.Payload)
			case f.channels.events:
				f.bus.heard(m.Payload)
			case f.channels.invalidations:
				f.invalidator.receive(m.Payload)
			}
		}
	}
}

// ping has something arrive now and then.
func ping(ctx context.Context, s *redis.PubSub, done <-chan struct{}) {
	beat := time.NewTicker(pingEvery)
	defer beat.Stop()
	for {
		select {
		case <-done:
			return
		case <-beat.C:
			_ = s.Ping(ctx) // what does not get through is missed by listen
		}
	}
}
