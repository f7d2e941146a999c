package ports

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

//go:generate go tool mockgen -source workergateway.go -destination mocks/workergateway.go -package mocks

// WorkerRef identifies a worker to be called. Without an ID it is an unknown endpoint, which may only be
// asked for its Health and sees no credential.
type WorkerRef struct {
	ID           string
	Endpoint     string
	Capabilities []domain.Capability
	// TokenEpoch selects the call token that the worker is shown. A worker without an epoch, or without
	// domain.CapOwnToken, is shown the fleet token.
	TokenEpoch string
}

// IsLegacy reports whether the worker announced no capabilities.
func (w WorkerRef) IsLegacy() bool { return len(w.Capabilities) == 0 }

// Start is a request to start a session.
type Start struct {
	SessionID    string
	UserID       string
	SessionName  string
	Generation   int64
	Recover      bool   // the session was linked before and should return without a QR
	PairingPhone string // not empty: the worker requests a pairing code for this number
}

// Send is one message for a worker to send.
type Send struct {
	SessionID       string
	ClientMessageID string     // our id; a worker with dedupe drops repeats
	To              domain.JID // the resolved recipient
	Message         *domain.Outgoing
}

// Sent is a worker's response to a send. It has a WhatsAppID unless Status is FAILED.
type Sent struct {
	WhatsAppID string
	Status     domain.MessageStatus // the worker's word: usually SENT, or PENDING while it is queued there
	At         time.Time            // the worker's time; zero: not stated
	Error      string               // why Status is FAILED, fit to show; empty: not stated
}

// MediaRequest asks for the media of an inbound message.
type MediaRequest struct {
	SessionID string
	MediaID   string
	Range     *domain.ByteRange // nil: the whole content
	// IfRange is an ETag. Content of another ETag is returned as a whole. Empty: any.
	IfRange string
}

// Media is content that a worker sends. The caller closes Content.
type Media struct {
	// Content fails with a *[WorkerError] if the worker stops sending, and with the context's end.
	Content io.ReadCloser
	Length  int64  // bytes of Content; -1: not stated
	Type    string // media type; empty: not stated
	ETag    string // empty: none
	// Part says which part of the media Content is. Nil: all of it.
	Part *MediaPart
}

// MediaPart is a part of media: Length bytes from Offset of Size, which is -1 if the worker does not
// state it.
type MediaPart struct{ Offset, Size int64 }

// WorkerGateway calls workers.
//
// The implementation limits each call in time: 5 s for Health, 30 s otherwise. The context limits it
// too. The implementation retries calls that are safe to repeat. It repeats a Send only if the first
// try cannot have reached the worker, or if the worker has dedupe. Every failure is a *[WorkerError].
// A reply and mentions go only to a worker that takes them (domain.CapReplies).
// Addresses may come in any form of [domain.ParseChat]; the worker receives JIDs.
//
// Start, Restart, Disconnect, Logout and Delete name a generation, so a delayed call does no harm to a
// newer one. A worker that knows generations executes a stop for that generation and all older ones,
// for ever: it rejects every later start or restart of them ([WorkerRejected]). It confirms a stop that
// is older than the running generation and stops nothing. Generation 0 stands for the running
// generation, whatever it is. A legacy worker receives no generation.
//
// Disconnect, Logout and Delete succeed if the worker does not have the session. Logout and Delete of a
// legacy worker then fail with [WorkerSessionNotFound]: such a worker may keep the credentials of
// sessions that it has not started.
type WorkerGateway interface {
	// Health calls the health route. An unknown endpoint that demands a credential is healthy.
	Health(ctx context.Context, w WorkerRef) error
	Start(ctx context.Context, w WorkerRef, s Start) (domain.Report, error)
	Status(ctx context.Context, w WorkerRef, sessionID string) (domain.Report, error)
	List(ctx context.Context, w WorkerRef) ([]domain.Report, error)
	Restart(ctx context.Context, w WorkerRef, sessionID string, generation int64) error
	Disconnect(ctx context.Context, w WorkerRef, sessionID string, generation int64) error
	Logout(ctx context.Context, w WorkerRef, sessionID string, generation int64) error
	Delete(ctx context.Context, w WorkerRef, sessionID string, generation int64) error
	Send(ctx context.Context, w WorkerRef, s Send) (Sent, error)
	PerformAction(ctx context.Context, w WorkerRef, sessionID string, a domain.Action) error
	// OpenMedia returns the media as a stream. The time limit applies to the beginning of the response,
	// and then to each wait for further bytes. The context ends the stream. A worker may ignore the
	// range. OpenMedia fails with [WorkerRouteMissing] if the worker lacks domain.CapMedia.
	OpenMedia(ctx context.Context, w WorkerRef, r MediaRequest) (*Media, error)
}

// WorkerFailure classifies the failure of a call to a worker.
type WorkerFailure uint8

// The failures.
const (
	WorkerConnectionRefused WorkerFailure = iota + 1 // nothing listens at the endpoint
	WorkerNameUnknown                                // the host name does not resolve
	WorkerUnreachable                                // no connection for another reason
	WorkerTimedOut                                   // the call may or may not be executed
	WorkerConnectionLost                             // the connection ended during the call; the call may or may not be executed
	WorkerBusy                                       // 429: the worker limits our calls; not executed
	WorkerRejected                                   // another 4xx in the protocol's error form; not executed
	WorkerFailed                                     // a 5xx or an unusable response
	WorkerCircuitOpen                                // not called: earlier calls kept failing
	WorkerSessionNotFound                            // 404: the worker does not have the session
	WorkerRouteMissing                               // 404 or 405: the worker does not know the call; it may be too old
	WorkerMediaNotFound                              // 404 or 410: the worker does not have the media
	WorkerRangeInvalid                               // 416: no byte of the media is in the range
)

// WorkerError is the failure of a call to a worker. Message is in plain words and contains no address.
type WorkerError struct {
	Failure WorkerFailure
	Message string
	Text    string        // the worker's own words, fit to show; empty: none
	Status  int           // HTTP status; 0: no response
	Retry   time.Duration // the wait that a busy worker requests; 0: not stated
	NotSent bool          // the worker states that it did not execute the call
	Err     error         // the cause, for the log
}

// Error returns the message and the cause, for logs.
func (e *WorkerError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("worker: %s: %v", e.Message, e.Err)
	}
	return "worker: " + e.Message
}

// Unwrap returns the cause.
func (e *WorkerError) Unwrap() error { return e.Err }

// IsNotExecuted reports whether the worker certainly did not execute the call.
func (e *WorkerError) IsNotExecuted() bool {
	switch e.Failure {
	case WorkerTimedOut, WorkerConnectionLost, WorkerFailed, WorkerRouteMissing:
		return e.NotSent
	}
	return true
}

// Probe returns the evidence of the failure about the worker's process.
func (e *WorkerError) Probe() domain.ProbeResult {
	switch e.Failure {
	case WorkerConnectionRefused:
		return domain.ProbeRefused
	case WorkerTimedOut, WorkerUnreachable, WorkerNameUnknown, WorkerConnectionLost, WorkerCircuitOpen:
		return domain.ProbeTimedOut
	}
	return domain.ProbeAnswered
}
