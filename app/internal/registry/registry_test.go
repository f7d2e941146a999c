package registry_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/failure"
	"github.com/switchyard-wa/switchyard/app/internal/migration"
	"github.com/switchyard-wa/switchyard/app/internal/reconcile"
	"github.com/switchyard-wa/switchyard/app/internal/registry"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// fixture is the worker protocol, and the administration of workers. It has no messages.
type fixture struct {
	*coretest.Core
	protocol   *registry.Protocol
	workers    *registry.Workers
	reconciler *reconcile.Reconciler
	user       string
}

func newFixture(t *testing.T) *fixture { return newReplica(coretest.New(t)) }

func newReplica(core *coretest.Core) *fixture {
	f := &fixture{Core: core, user: core.AddUser(domain.TierMax)}
	detector := failure.New(core.Writer, core.Members, core.Cache, core.Sync, core.Queue)
	migrator := migration.New(core.Writer, core.Members, core.Cache, core.Sync, migration.Limits{PerWorker: 4, Total: 32})
	reconciler := reconcile.New(reconcile.Parts{
		Writer: core.Writer, Members: core.Members, Cache: core.Cache, Sync: core.Sync, Detector: detector,
		Migrator: migrator, Queue: core.Queue, Calls: core.Calls,
	})
	f.reconciler = reconciler
	f.protocol = registry.NewProtocol(core.Writer, core.Members, core.Cache, core.Sync, detector, core.Queue, nil)
	f.workers = registry.NewWorkers(core.Writer, core.Cache, core.Sync, detector, reconciler, registry.Parallel{Sessions: 8, Probes: 8})
	return f
}

// registration returns a registration of a worker at its own host.
func registration(id string) domain.Registration {
	return domain.Registration{WorkerID: id, Endpoint: "http://" + id + ":1"}
}

func (f *fixture) register(t *testing.T, r domain.Registration) *service.RegisterResult {
	t.Helper()
	result, err := f.protocol.Register(context.Background(), r)
	require.NoError(t, err)
	return result
}

func (f *fixture) registerCode(r domain.Registration) domain.Code {
	_, err := f.protocol.Register(context.Background(), r)
	return domain.CodeOf(err)
}

func (f *fixture) heartbeat(t *testing.T, h domain.Heartbeat) *service.HeartbeatResult {
	t.Helper()
	h.CPU, h.Memory, h.MessageCount = -1, -1, -1
	result, err := f.protocol.Heartbeat(context.Background(), h)
	require.NoError(t, err)
	return result
}

func (f *fixture) down(workerID string, reason domain.DownReason) {
	f.ChangeWorkerRow(workerID, func(w *domain.Worker) { w.MarkDown(reason, f.Timing, f.Now()) })
}

func TestRegister_FieldsAreLeftOut_AreNormalizedAndFilledIn(t *testing.T) {
	f := newFixture(t)
	result := f.register(t, domain.Registration{WorkerID: " Worker-One ", Endpoint: "HTTP://worker-1:1/"})
	w := f.Worker(result.Worker.ID)
	require.Equal(t, strings.ToLower(w.ID), w.ID)
	require.Equal(t, "http://worker-1:1", w.Endpoint)
	require.Equal(t, 50, w.Capacity)
	require.Equal(t, "1.0.0", w.Version)
	require.Equal(t, "DEVELOPMENT", w.Environment)
	require.False(t, result.Known)
}

func TestRegister_SeveralProblems_AreAllReported(t *testing.T) {
	f := newFixture(t)
	_, err := f.protocol.Register(context.Background(), domain.Registration{
		WorkerID: "register", Endpoint: "nowhere", Capacity: 1001, Version: strings.Repeat("x", 51),
		Labels: map[string]string{"": "x"}, Interval: -time.Second,
	})
	var public *domain.Error
	require.ErrorAs(t, err, &public)
	require.Equal(t, domain.Invalid, public.Kind)
	for _, field := range []string{"workerId", "endpoint", "maxSessions", "version", "labels", "heartbeatInterval"} {
		require.Contains(t, fields(public), field)
	}
	require.Empty(t, f.Gateway.Calls("health"))
}

// fields returns the names of the fields with a problem.
func fields(err *domain.Error) (names []string) {
	for _, p := range err.Fields {
		names = append(names, p.Field)
	}
	return names
}

func TestRegister_EndpointDoesNotAnswer_IsRefused(t *testing.T) {
	f := newFixture(t)
	f.Gateway.Fail(ports.WorkerConnectionRefused)
	require.Equal(t, domain.CodeWorkerUnreachable, f.registerCode(registration("worker-1")))
}

func TestRegister_RestartedWorker_LearnsItsSessionsAndWhatToStopFirst(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("worker-1", 50, domain.CapGeneration)
	f.AddConnected(f.user, "s1", "worker-1")
	f.AddConnected(f.user, "gone", "worker-1")
	f.down("worker-1", domain.DownCrashed)
	f.DeleteSession("gone")

	r := registration("worker-1")
	r.Capabilities = []domain.Capability{domain.CapGeneration}
	result := f.register(t, r)

	require.True(t, result.Known)
	require.Equal(t, 1, result.Assigned)
	require.Equal(t, []service.StopCommand{{SessionID: "gone", Generation: 1}}, result.Commands)
	s := f.Session("s1")
	require.Equal(t, domain.Reconnecting, s.Status)
	require.Equal(t, f.Now().Add(f.Timing.StartTimeout), s.DueAt, "the worker recovers it by itself until then")
}

func TestRegister_SameProcessAgain_SessionsThatItRunsNeedNoRecovery(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("worker-1", 50)
	f.AddConnected(f.user, "runs", "worker-1")
	f.AddConnected(f.user, "lost", "worker-1")
	f.Gateway.ListSessions(domain.Report{SessionID: "runs", Status: domain.Connected})
	f.register(t, registration("worker-1"))
	require.Equal(t, domain.Connected, f.Session("runs").Status)
	require.Equal(t, domain.CommandNone, f.Session("runs").Command)
	require.Equal(t, domain.CommandStart, f.Session("lost").Command)
}

func TestRegister_IDIsInUseAtAnotherEndpoint_OnlyProofOfItsEndAdmitsTheNewProcess(t *testing.T) {
	for name, c := range map[string]struct {
		capabilities []domain.Capability
		failure      ports.WorkerFailure // of the old endpoint; 0: it answers
		isAdmitted   bool
	}{
		"it answers":                   {nil, 0, false},
		"it refuses":                   {[]domain.Capability{domain.CapLease}, ports.WorkerConnectionRefused, true},
		"lease, and it times out":      {[]domain.Capability{domain.CapLease}, ports.WorkerTimedOut, false},
		"no lease, and it times out":   {nil, ports.WorkerTimedOut, true},
		"lease, and it is unreachable": {[]domain.Capability{domain.CapLease}, ports.WorkerUnreachable, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.AddWorker("worker-1", 50, c.capabilities...)
			f.Gateway.Answer(func(call coretest.Call) error {
				if call.Worker == "worker-1" && c.failure != 0 {
					return &ports.WorkerError{Failure: c.failure}
				}
				return nil
			})
			code := f.registerCode(domain.Registration{WorkerID: "worker-1", Endpoint: "http://elsewhere:1"})
			if c.isAdmitted {
				require.Empty(t, code)
			} else {
				require.Equal(t, domain.CodeWorkerConflict, code)
			}
		})
	}
}

func TestRegister_EndpointOfAnotherWorker_IsRefused(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("worker-1", 50)
	require.Equal(t, domain.CodeWorkerConflict, f.registerCode(domain.Registration{WorkerID: "worker-2", Endpoint: "http://worker-1:1"}))
	require.Empty(t, f.Gateway.Calls("health"))
}

// One process is one worker, however its address is written.
func TestRegister_SameAddressInOtherWords_IsRefused(t *testing.T) {
	ctx := context.Background()
	for taken, others := range map[string][]string{
		"http://127.0.0.1:8001":   {"http://localhost:8001", "HTTP://LOCALHOST.:8001/", "http://[::1]:8001", "http://[::ffff:127.0.0.1]:8001", "http://0.0.0.0:8001"},
		"http://worker.example":   {"http://Worker.Example.:80/", "http://worker.example:80"},
		"https://worker.ex:443/a": {"https://worker.ex/a/"},
	} {
		f := newFixture(t)
		f.register(t, domain.Registration{WorkerID: "worker-1", Endpoint: taken})
		for _, endpoint := range others {
			health := len(f.Gateway.Calls("health"))
			require.Equal(t, domain.CodeWorkerConflict, f.registerCode(domain.Registration{WorkerID: "worker-2", Endpoint: endpoint}), endpoint)
			_, err := f.workers.Add(ctx, domain.Registration{WorkerID: "worker-2", Endpoint: endpoint})
			require.Equal(t, domain.CodeWorkerConflict, domain.CodeOf(err), endpoint)
			require.ErrorContains(t, err, "Another worker has this endpoint")
			require.Len(t, f.Gateway.Calls("health"), health, "it is not called")

			again := f.register(t, domain.Registration{WorkerID: "worker-1", Endpoint: endpoint})
			require.True(t, again.Known, "the worker itself may change the spelling")
		}
		f.register(t, domain.Registration{WorkerID: "worker-2", Endpoint: "http://worker-2:1"})
	}
}

// Two registrations that arrive at once are refused too.
func TestRegister_SameAddressAtTheSameTime_OneIsRefused(t *testing.T) {
	f := newFixture(t)
	f.Stored.BeforeUpdate(func() {
		f.AddWorker("worker-1", 50)
		f.ChangeWorkerRow("worker-1", func(w *domain.Worker) { w.Endpoint = "http://127.0.0.1:8001" })
	})
	require.Equal(t, domain.CodeWorkerConflict, f.registerCode(domain.Registration{WorkerID: "worker-2", Endpoint: "http://localhost:8001"}))
}

func TestUnregister_SameAddressInOtherWords_Leaves(t *testing.T) {
	f := newFixture(t)
	f.register(t, domain.Registration{WorkerID: "worker-1", Endpoint: "http://127.0.0.1:8001"})
	status, err := f.protocol.Unregister(context.Background(), "worker-1", "http://localhost:8001/")
	require.NoError(t, err)
	require.Equal(t, domain.WorkerOffline, status)
}

func TestRegister_OwnTokenOfAWorker_RegistersWhatIsRecordedAlone(t *testing.T) {
	f := newFixture(t)
	capable := registration("worker-1")
	capable.Capabilities = []domain.Capability{domain.CapOwnToken}
	own := domain.TokenHolder{WorkerID: "worker-1", Epoch: f.register(t, capable).Worker.TokenEpoch}
	require.NotEmpty(t, own.Epoch)
	for _, c := range []struct {
		endpoint string
		holder   domain.TokenHolder
		code     domain.Code
	}{
		{"http://elsewhere:1", own, domain.CodeInsufficientPermission},
		{"http://worker-1:1", domain.TokenHolder{WorkerID: "worker-1", Epoch: "former"}, domain.CodeAuthTokenInvalid},
		{"http://worker-1:1", own, ""},                          // with ownToken
		{"http://worker-1:1", own, domain.CodeAuthTokenInvalid}, // its epoch has ended with the registration before
	} {
		f.Gateway.Forget()
		require.Equal(t, c.code, f.registerCode(domain.Registration{WorkerID: "worker-1", Endpoint: c.endpoint, Holder: c.holder, Capabilities: capable.Capabilities}))
		require.Equal(t, c.code == "", len(f.Gateway.Calls("health")) > 0)
	}
	own.Epoch = f.register(t, capable).Worker.TokenEpoch
	require.Equal(t, domain.CodeInsufficientPermission, f.registerCode(domain.Registration{WorkerID: "worker-1", Endpoint: "http://worker-1:1", Holder: own}),
		"a worker without ownToken would be called with the fleet token")
	require.Equal(t, domain.CodeInsufficientPermission, f.registerCode(domain.Registration{WorkerID: "removed", Endpoint: "http://removed:1", Holder: own}))
}

// The gateway shows no token to an endpoint that is no worker's yet.
// The fleet token may register a worker that has its own token. Whoever does so gets that worker's next
// token, which an administrator can see.
func TestRegister_FleetTokenForAWorkerWithItsOwn_IsLoggedAndInTheAuditTrail(t *testing.T) {
	f := newFixture(t)
	var log bytes.Buffer
	f.Log = slog.New(slog.NewTextHandler(&log, nil))
	taken := func() (entries []domain.AuditEntry) {
		f.Read(func(ctx context.Context, tx *ports.Tx) (err error) {
			entries, err = tx.Audit.List(ctx, ports.AuditFilter{Action: domain.AuditWorkerTakenOver, Limit: 10})
			return err
		})
		return entries
	}
	capable := registration("worker-1")
	capable.Capabilities = []domain.Capability{domain.CapOwnToken}
	epoch := f.register(t, capable).Worker.TokenEpoch
	own := capable
	own.Holder = domain.TokenHolder{WorkerID: "worker-1", Epoch: epoch}
	f.register(t, own)
	f.register(t, registration("legacy"))
	f.register(t, registration("legacy"))
	require.Empty(t, taken(), "each has registered itself")
	require.NotContains(t, log.String(), "worker taken over")

	f.register(t, capable)
	require.Len(t, taken(), 1)
	e := taken()[0]
	require.Equal(t, []any{"worker:worker-1", domain.AuditSucceeded, map[string]string{"endpoint": "http://worker-1:1", "status": "ONLINE"}},
		[]any{e.Object, e.Outcome, e.Details})
	require.Contains(t, log.String(), `level=WARN msg="worker taken over" worker=worker-1 endpoint=http://worker-1:1 status=ONLINE`)
}

func TestHealth_EndpointOfNoWorker_HasNoWorkerID(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	capable := registration("worker-1")
	capable.Capabilities = []domain.Capability{domain.CapOwnToken}
	f.register(t, capable)
	_, err := f.workers.Add(ctx, domain.Registration{WorkerID: "worker-2", Endpoint: "http://worker-2:1"})
	require.NoError(t, err)
	_, err = f.workers.TestEndpoint(ctx, "http://worker-1:1")
	require.NoError(t, err)
	require.Equal(t, []string{"", "", ""}, f.Gateway.Probed())

	_, err = f.workers.Test(ctx, "worker-1")
	require.NoError(t, err)
	f.register(t, registration("worker-3"))
	require.Equal(t, []string{"", "", "", "worker-1", "worker-3"}, f.Gateway.Probed(), "a legacy worker may ask for the fleet token")
}

func TestUnregister_WorkerLeaves_IsDownWithAGrace(t *testing.T) {
	f := newFixture(t)
	f.AddSharingWorker("worker-1", 50)
	f.AddConnected(f.user, "s1", "worker-1")
	status, err := f.protocol.Unregister(context.Background(), "Worker_1", "http://worker-1:1")
	require.NoError(t, err)
	require.Equal(t, domain.WorkerOffline, status)
	require.Equal(t, domain.DownUnregistered, f.Worker("worker-1").DownReason)
	require.Equal(t, f.Now().Add(f.Timing.FailoverDelay), f.Session("s1").DueAt)

	status, err = f.protocol.Unregister(context.Background(), "unknown", "")
	require.NoError(t, err)
	require.Equal(t, domain.WorkerOffline, status)
	_, err = f.protocol.Unregister(context.Background(), "", "http://worker-1:1")
	require.Equal(t, domain.CodeValidation, domain.CodeOf(err), "an endpoint does not say who leaves")
}

func TestUnregister_FormerProcess_DoesNotTakeTheNextOneDown(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("worker-1", 50)
	status, err := f.protocol.Unregister(context.Background(), "worker-1", "http://former:1")
	require.NoError(t, err)
	require.Equal(t, domain.WorkerOnline, status)

	f.Stored.BeforeUpdate(func() { // the next process registers at the same endpoint
		f.Clock.Advance(time.Second)
		f.ChangeWorkerRow("worker-1", func(w *domain.Worker) { w.RegisteredAt = f.Now() })
	})
	status, err = f.protocol.Unregister(context.Background(), "worker-1", "http://worker-1:1")
	require.NoError(t, err)
	require.Equal(t, domain.WorkerOnline, status)
	require.True(t, f.Worker("worker-1").Online)
}
