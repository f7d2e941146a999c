package messaging

import (
	"cmp"
	"context"
	"errors"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// OpenMedia returns the media of an inbound message, which the session's worker keeps.
func (m *Messages) OpenMedia(ctx context.Context, userID, sessionID, messageID string, part service.MediaPart) (*service.InboundMedia, error) {
	if err := m.sync.EnsureLoaded(ctx); err != nil {
		return nil, err
	}
	message, err := m.Get(ctx, userID, sessionID, messageID)
	if err != nil {
		return nil, err
	}
	ref := message.Media
	if message.Direction != domain.Inbound || ref.IsZero() {
		return nil, domain.Errorf(domain.NotFound, domain.CodeMessageNotFound, "This message has no media that can be fetched here")
	}
	worker, err := m.mediaWorker(ctx, message.SessionID)
	if err != nil {
		return nil, err
	}
	etag := mediaETag(ref)
	request := ports.MediaRequest{SessionID: message.SessionID, MediaID: ref.ID, Range: part.Range, IfRange: part.IfRange}
	if part.IfRange == etag {
		request.IfRange = ""
	}
	media, err := m.Workers.OpenMedia(ctx, fleet.Ref(worker), request)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		m.detector.RecordCall(ctx, worker, err)
		return nil, mediaError(err)
	}
	out := &service.InboundMedia{Media: *media, Ref: ref}
	out.Type = cmp.Or(ref.Type, media.Type)
	out.ETag = cmp.Or(etag, media.ETag)
	extension := ""
	if m.types != nil {
		extension = m.types.Extension(out.Type)
	}
	out.Filename = domain.DeriveFilename(cmp.Or(message.Filename, string(message.Type)+"-"+message.ID), extension)
	return out, nil
}

// mediaETag returns the ETag of media whose content is known, or "".
func mediaETag(ref domain.MediaRef) string {
	if ref.SHA256 == "" {
		return ""
	}
	return `"` + ref.SHA256 + `"`
}

// mediaWorker returns the worker that keeps the media of a session. The session does not
// have to be connected. A cached route that leads to no worker is read again.
func (m *Messages) mediaWorker(ctx context.Context, sessionID string) (*domain.Worker, error) {
	route, err := m.routes.find(ctx, sessionID)
	if err == nil && !m.isOnline(route.WorkerID) {
		route, err = m.routes.refresh(ctx, sessionID)
		if err == nil && route.WorkerID != "" {
			err = m.sync.RefreshWorkersByID(ctx, route.WorkerID)
		}
	}
	switch {
	case err != nil:
		return nil, apperr.Public(err)
	case route.WorkerID == "":
		return nil, domain.Errorf(domain.Conflict, domain.CodeSessionNotConnected, "Session is not connected; connect it to fetch its media")
	case !m.isOnline(route.WorkerID):
		return nil, domain.Errorf(domain.Unavailable, domain.CodeWorkerUnreachable, "The session's worker is offline; try again in a minute")
	}
	return m.cache.Worker(route.WorkerID), nil
}

func (m *Messages) isOnline(workerID string) bool {
	w := m.cache.Worker(workerID)
	return w != nil && w.Online
}

// endpointOf returns the endpoint of a worker, or "" if it is not known.
func (m *Messages) endpointOf(workerID string) string {
	w := m.cache.Worker(workerID)
	if w == nil {
		return ""
	}
	return w.Endpoint
}

// mediaError returns the public error for media that cannot be fetched.
func mediaError(err error) error {
	var f *ports.WorkerError
	if !errors.As(err, &f) {
		f = &ports.WorkerError{Failure: ports.WorkerFailed, Err: err}
	}
	switch f.Failure {
	case ports.WorkerMediaNotFound:
		return domain.Errorf(domain.NotFound, domain.CodeMessageNotFound,
			"The session's worker no longer has this media; ask the sender to send it again").WithCause(err)
	case ports.WorkerRangeInvalid:
		return domain.Errorf(domain.Invalid, domain.CodeValidation, "The media has no such part").WithCause(err)
	case ports.WorkerTimedOut:
		return domain.Errorf(domain.Timeout, domain.CodeWorkerTimeout, "The session's worker did not answer in time; try again in a moment").WithCause(err)
	}
	return callError(f, domain.CodeWorkerCommunication, err)
}
