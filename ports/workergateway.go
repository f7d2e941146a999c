package ports

import (
	"context"
	"fmt"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

//go:generate go tool mockgen -source workergateway.go -destination mocks/workergateway.go -package mocks

// WorkerRef names a worker to be called.
type WorkerRef struct {
	ID           string
	Endpoint     string
	Capabilities []domain.Capability
}

// Start is the order to start a session.
type Start struct {
	SessionID    string
	UserID       string
	SessionName  string
	Generation   int64
	Recover      bool   // it was linked before and should come back without a QR
	PairingPhone string // asks for a pairing code
}

// Send is one message for a worker to send.
type Send struct {
	SessionID       string
	ClientMessageID string     // ours; a worker with dedupe drops repeats
	To              domain.JID // resolved
	Message         *domain.Outgoing
}

// Sent is a worker's answer to a send.
type Sent struct {
	WhatsAppID string
	Status     domain.MessageStatus // as far as the worker knows; usually SENT
	At         time.Time            // the worker's; zero: it does not say
}

// WorkerGateway calls workers. Calls are bounded in time by the implementation (5 s
// for Health, 30 s otherwise) and by the context. Those that are safe to repeat
// are retried; a Send only if it cannot have reached the worker, or the worker
// has dedupe. Every failure is a *WorkerError.
//
// Start, Restart, Disconnect, Logout and Delete name the generation that is
// meant, so that a call which was delayed does no harm to a newer one. Workers
// that know generations carry out a stop for that generation and every older
// one, now and for ever: they refuse (WorkerRejected) to start or restart it
// again. A stop that is older than what runs is answered as done and stops
// nothing. Generation 0 means whatever runs there. Other workers are not told
// of generations.
type WorkerGateway interface {
	Health(ctx context.Context, endpoint string) error
	Start(ctx context.Context, w WorkerRef, s Start) (domain.Report, error)
	Status(ctx context.Context, w WorkerRef, sessionID string) (domain.Report, error)
	List(ctx context.Context, w WorkerRef) ([]domain.Report, error)
	Restart(ctx context.Context, w WorkerRef, sessionID string, generation int64) error
	Disconnect(ctx context.Context, w WorkerRef, sessionID string, generation int64) error
	Logout(ctx context.Context, w WorkerRef, sessionID string, generation int64) error
	Delete(ctx context.Context, w WorkerRef, sessionID string, generation int64) error
	Send(ctx context.Context, w WorkerRef, s Send) (Sent, error)
	PerformAction(ctx context.Context, w WorkerRef, sessionID string, a domain.Action) error
}

// WorkerFailure classifies what went wrong in a call to a worker.
type WorkerFailure uint8

// The failures.
const (
	WorkerConnectionRefused WorkerFailure = iota + 1 // nothing listens there
	WorkerNameUnknown                                // its host name does not resolve
	WorkerUnreachable                                // no connection for another reason
	WorkerTimedOut                                   // it may or may not have done it
	WorkerConnectionLost                             // the connection ended half-way; it may or may not have done it
	WorkerBusy                                       // 429: it limits us; nothing was done
	WorkerRejected                                   // another 4xx; nothing was done
	WorkerFailed                                     // a 5xx or an answer that makes no sense
	WorkerCircuitOpen                                // not called: it kept failing a moment ago
	WorkerSessionNotFound                            // 404: it does not have the session
)

// WorkerError is the failure of a call to a worker. Message is in plain words
// and free of addresses.
type WorkerError struct {
	Failure WorkerFailure
	Message string
	Status  int           // HTTP status, if it answered
	Retry   time.Duration // how long a busy worker asks us to wait; 0: not said
	Err     error         // for the log
}

// Error gives the message and the cause, for logs.
func (e *WorkerError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("worker: %s: %v", e.Message, e.Err)
	}
	return "worker: " + e.Message
}

// Unwrap gives the cause.
func (e *WorkerError) Unwrap() error { return e.Err }

// IsNotExecuted reports whether the worker certainly did not do what it was asked.
func (e *WorkerError) IsNotExecuted() bool {
	switch e.Failure {
	case WorkerTimedOut, WorkerConnectionLost, WorkerFailed:
		return false
	}
	return true
}

// Probe says what the failure tells of the worker's process.
func (e *WorkerError) Probe() domain.ProbeResult {
	switch e.Failure {
	case WorkerConnectionRefused:
		return domain.ProbeRefused
	case WorkerTimedOut, WorkerUnreachable, WorkerNameUnknown, WorkerConnectionLost, WorkerCircuitOpen:
		return domain.ProbeTimedOut
	}
	return domain.ProbeAnswered
}
