package httpapi

import (
	"context"
	"runtime"

	"github.com/go-kit/kit/endpoint"

	"github.com/switchyard-wa/switchyard/adapters/internal/admission"
	"github.com/switchyard-wa/switchyard/domain"
)

// A cost is what makes a route costly. Routes of one cost share a queue, in which a
// caller has a share.
type cost uint8

const (
	cheap    cost = iota
	hashing       // of passwords; package bcrypt bounds how many wait in all
	drawing       // of QR codes
	outbound      // calls to endpoints that the caller names, or to the whole fleet
	scanning      // of many rows, where a filter asks for it; see [requestContext.scan]
)

// newQueues returns the queues by cost.
func newQueues() map[cost]*admission.Queue {
	few := min(max(1, runtime.GOMAXPROCS(0)/2), 4)
	return map[cost]*admission.Queue{
		hashing:  admission.New(admission.Config{Work: "passwords are checked", Parallel: 1 << 20, Share: 16}),
		drawing:  admission.New(admission.Config{Work: "QR codes are drawn", Parallel: few, Waiting: 256, Share: 16}),
		outbound: admission.New(admission.Config{Work: "calls to workers run", Parallel: 16, Waiting: 64, Share: 8}),
		scanning: admission.New(admission.Config{Work: "searches run", Parallel: few, Waiting: 64, Share: 2}),
	}
}

// admit returns the endpoint middleware that admits the requests of a costly route.
func (a *api) admit(kind cost) endpoint.Middleware {
	queue := a.queues[kind]
	return func(next endpoint.Endpoint) endpoint.Endpoint {
		if queue == nil || kind == scanning {
			return next
		}
		return func(ctx context.Context, request any) (any, error) {
			c := request.(*requestContext)
			release, err := queue.Acquire(ctx, c.shareKey())
			if err != nil {
				return nil, err
			}
			defer release()
			return next(ctx, request)
		}
	}
}

// shareKey names whom shares count: a user, also by an API key; a worker with a token of
// its own; or the network of anybody else.
func (c *requestContext) shareKey() string {
	switch {
	case c.key.KeyID != "" || c.key.UserID != "":
		return "user:" + c.key.UserID
	case c.principal.UserID != "":
		return "user:" + c.principal.UserID
	case c.worker && !c.holder.IsFleet():
		return "worker:" + c.holder.WorkerID
	}
	return "network:" + domain.ClientNetwork(c.ip())
}
