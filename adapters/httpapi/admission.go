package httpapi

import (
	"context"
	"runtime"
	"time"

	"github.com/go-kit/kit/endpoint"

	"github.com/switchyard-wa/switchyard/adapters/internal/admission"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// A cost is a kind of costly work. All work of one cost shares a queue, in which each
// caller has a share. The queue admits a whole request, except where a handler uses it
// for a part of its work.
type cost uint8

const (
	cheap       cost = iota // no queue
	hashing                 // hashes passwords
	drawing                 // draws QR codes
	decoding                // decodes pictures of QR codes; [api.decodeQR] uses the queue
	outbound                // calls endpoints that the caller names, or the whole fleet
	longRead                // may read many rows; [requestContext.readLong] uses the queue
	exporting               // streams rows; [requestContext.sendDownload] uses the queue
	downloading             // streams media; [api.media] uses the queue, until the stream ends
)

// newQueues returns the queues by cost.
func newQueues() map[cost]*admission.Queue {
	few := min(max(1, runtime.GOMAXPROCS(0)/2), 4)
	return map[cost]*admission.Queue{
		// Shares alone: package bcrypt bounds how many passwords are hashed and wait.
		hashing:  admission.New(admission.Config{Work: "passwords are checked", Parallel: 1 << 20, Share: 16}),
		drawing:  admission.New(admission.Config{Work: "QR codes are drawn", Parallel: few, Waiting: 256, Share: 16}),
		decoding: admission.New(admission.Config{Work: "pictures are read", Parallel: few, Waiting: 64, Share: 8}),
		outbound: admission.New(admission.Config{Work: "calls to workers run", Parallel: 16, Waiting: 64, Share: 8}),
		longRead: admission.New(admission.Config{Work: "searches run", Parallel: few, Waiting: 64, Share: 4}),
		// An export may last for hours, at the pace of its client.
		exporting: admission.New(admission.Config{Work: "exports run", Parallel: 16, Waiting: 16, Share: 2}),
		// Downloads last as long as their clients take, and cost a connection to a worker.
		downloading: admission.New(admission.Config{Work: "downloads run", Parallel: 256, Share: 4}),
	}
}

// admit returns the endpoint middleware that admits the requests of a costly route. A
// long read is admitted by its handler, since only some filters make it costly.
func (a *api) admit(kind cost) endpoint.Middleware {
	queue := a.queues[kind]
	return func(next endpoint.Endpoint) endpoint.Endpoint {
		if queue == nil || kind == longRead || kind == exporting || kind == downloading {
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

// shareKey returns the caller to whom shares count: the user, also of an API key; the
// worker with a token of its own; otherwise the network.
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

// longReadTime bounds one search.
const longReadTime = 5 * time.Second

// readLong runs a read that may look at many rows: few at once, a few for each caller, for a
// limited time, and apart from other reads of the store.
func (c *requestContext) readLong(ctx context.Context, read func(ctx context.Context) error) error {
	release, err := c.api.queues[longRead].Acquire(ctx, c.shareKey())
	if err != nil {
		return err
	}
	defer release()
	limited, cancel := context.WithTimeout(ports.ForLongRead(ctx), longReadTime)
	defer cancel()
	err = read(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return domain.Overloaded(defaultRetry, "This takes too long to find; narrow it down, for example by a time").WithCause(err)
	}
	return err
}

// readLongIf runs a read by [requestContext.readLong] if it may look at many rows, and otherwise
// directly.
func (c *requestContext) readLongIf(ctx context.Context, many bool, read func(ctx context.Context) error) error {
	if !many {
		return read(ctx)
	}
	return c.readLong(ctx, read)
}

// farOffset is the offset beyond which a page costs about as much as a search.
const farOffset = 1000

// isLongRead reports whether a page of the rows that match a search may read many rows.
func (in *PageInput) isLongRead(search string) bool {
	return search != "" || in.page().Offset > farOffset
}
