package apperr_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

func TestPublic_ErrorForCallers_Passes(t *testing.T) {
	for _, err := range []error{
		nil,
		domain.Errorf(domain.NotFound, domain.CodeSessionNotFound, "Session not found"),
		fmt.Errorf("wrapped: %w", domain.Errorf(domain.Conflict, domain.CodeInvalidState, "Not now")),
		context.Canceled,
		fmt.Errorf("waiting: %w", context.DeadlineExceeded),
	} {
		require.Equal(t, err, apperr.Public(err))
	}
}

func TestPublic_NoError_AllocatesNothing(t *testing.T) {
	require.Zero(t, testing.AllocsPerRun(10, func() { _ = apperr.Public(nil) }))
}

func TestPublic_InternalCause_IsHiddenAndKeptInTheChain(t *testing.T) {
	cause := errors.New("dial tcp 10.0.0.7:5432: refused")

	err := apperr.Public(cause)

	var public *domain.Error
	require.ErrorAs(t, err, &public)
	require.Equal(t, domain.Internal, public.Kind)
	require.NotContains(t, public.Message, "10.0.0.7")
	require.ErrorIs(t, err, cause)
}

func TestPublic_LostRace_IsAConflict(t *testing.T) {
	err := apperr.Public(fmt.Errorf("put: %w", ports.ErrConflict))
	require.Equal(t, domain.CodeInvalidState, domain.CodeOf(err))
	require.ErrorIs(t, err, ports.ErrConflict)
}

func TestMissingRow_OfEachKind_NamesWhatIsMissing(t *testing.T) {
	for code, missing := range map[domain.Code]func(error) error{
		domain.CodeSessionNotFound: apperr.Session,
		domain.CodeWorkerNotFound:  apperr.Worker,
		domain.CodeUserNotFound:    apperr.User,
		domain.CodeMessageNotFound: apperr.Message,
	} {
		require.Equal(t, code, domain.CodeOf(missing(fmt.Errorf("get: %w", ports.ErrNotFound))))
		require.Equal(t, ports.ErrConflict, missing(ports.ErrConflict), "other errors pass")
		require.NoError(t, missing(nil))
	}
}

func TestWorkerCall_EachFailure_HasItsCode(t *testing.T) {
	for failure, code := range map[ports.WorkerFailure]domain.Code{
		ports.WorkerConnectionRefused: domain.CodeWorkerUnreachable,
		ports.WorkerNameUnknown:       domain.CodeWorkerUnreachable,
		ports.WorkerUnreachable:       domain.CodeWorkerUnreachable,
		ports.WorkerCircuitOpen:       domain.CodeWorkerUnreachable,
		ports.WorkerTimedOut:          domain.CodeWorkerTimeout,
		ports.WorkerConnectionLost:    domain.CodeWorkerTimeout,
		ports.WorkerBusy:              domain.CodeNoAvailableWorkers,
		ports.WorkerRejected:          domain.CodeWorkerCommunication,
		ports.WorkerFailed:            domain.CodeWorkerCommunication,
		ports.WorkerSessionNotFound:   domain.CodeWorkerCommunication,
	} {
		cause := &ports.WorkerError{Failure: failure, Message: "connect 10.0.0.7"}
		err := apperr.WorkerCall(cause)
		require.Equal(t, code, domain.CodeOf(err), "failure %d", failure)
		require.ErrorIs(t, err, cause)
	}
	require.Equal(t, domain.CodeInternal, domain.CodeOf(apperr.WorkerCall(errors.New("no worker error"))))
}
