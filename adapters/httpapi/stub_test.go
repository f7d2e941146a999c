package httpapi

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

// The credentials that the stubs know.
const (
	userToken  = "user.jwt.token"
	adminToken = "admin.jwt.token"
	keyText    = "wg_0123456789abcdefghijABCDEFGHIJ0123456789"
	fleetToken = "fleet-secret"
)

// stub is every service at once: it notes what it was called with, and
// answers what it is told to, or something plausible.
type stub struct {
	mu   sync.Mutex
	err  error // of every service
	keys error // of Authenticate

	usage domain.Usage
	qr    domain.QR
	code  string // pairing
	last  any    // the latest argument worth a look
	calls int

	outcome domain.Outcome
	strict  bool            // worker-1 announced ownToken
	sent    *domain.Message // instead of the plausible one
}

func (s *stub) note(v any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = v
	s.calls++
	return s.err
}

type (
	stubSessions   struct{ *stub }
	stubKeys       struct{ *stub }
	stubMessages   struct{ *stub }
	stubOperations struct{ *stub }
	stubProtocol   struct{ *stub }
	stubWorkers    struct{ *stub }
)

func someUser() *domain.User {
	return &domain.User{
		ID: "u1", Name: "Ada", Email: "ada@example.com", PasswordHash: "never shown", Role: domain.RoleUser,
		Tier: domain.TierPro, Active: true, CreatedAt: noon, UpdatedAt: noon,
	}
}

func someSummary() *service.UserSummary {
	return &service.UserSummary{User: someUser(), UserUsage: domain.UserUsage{Sessions: 3, ActiveSessions: 2}}
}

func someWorker() *domain.Worker {
	return &domain.Worker{
		ID: "worker-1", Endpoint: "http://10.0.0.5:8001", Capacity: 50, Used: 2, Version: "1.2.0",
		Environment: "PRODUCTION", Labels: map[string]string{"pool": "eu", "a": "b"}, Online: true,
		LastHeartbeat: noon, CPU: 12.345, Memory: -1, Uptime: 90 * time.Second, MessageCount: 7,
		CreatedAt: noon, UpdatedAt: noon,
	}
}

func someSession(id string) *domain.Session {
	return &domain.Session{
		ID: id, UserID: "u1", Name: "Support", PhoneNumber: "6281234567890", Status: domain.Connected,
		WorkerID: "worker-1", Generation: 3, LastSeenAt: noon, CreatedAt: noon, UpdatedAt: noon,
		QR: domain.QR{Code: "never shown"},
	}
}

func someMessage() *domain.Message {
	return &domain.Message{
		ID: "m1", WhatsAppID: "3EB0", SessionID: "support", UserID: "u1", Direction: domain.Outbound,
		From: "6281234567890@s.whatsapp.net", To: "6289999999999@s.whatsapp.net", Type: domain.TypeText,
		Content: "hello <you>", Status: domain.MessageSent, CreatedAt: noon, SentAt: noon,
	}
}

func (s stubSessions) view(id string) *service.SessionView {
	return &service.SessionView{Session: someSession(id), Worker: someWorker()}
}

func (s stubSessions) Create(_ context.Context, _ string, n service.CreateSessionParams) (*service.CreatedSession, error) {
	card := domain.NewSession("support-abc", "u1", n.Name, n.Description, noon)
	return &service.CreatedSession{Session: card, APIKey: keyText}, s.note(n)
}

func (s stubSessions) Get(_ context.Context, _, id string) (*service.SessionView, error) {
	return s.view(id), s.note(id)
}

func (s stubSessions) List(_ context.Context, _ string, f ports.SessionFilter, p ports.Page) ([]*service.SessionView, int, error) {
	idle := &service.SessionView{Session: domain.NewSession("idle", "u1", "Idle", "Not started yet", noon)}
	return []*service.SessionView{s.view("support"), idle}, 42, s.note([]any{f, p})
}

func (s stubSessions) sessionQR(id string) *service.SessionQR {
	v := &service.SessionQR{SessionID: id, Status: domain.Init, WorkerID: "worker-1", QR: s.qr, PairingCode: s.code}
	if !s.qr.IsZero() || s.code != "" {
		v.Status = domain.QRRequired
	}
	return v
}

func (s stubSessions) Connect(_ context.Context, _, id string, o service.ConnectOptions) (*service.SessionQR, error) {
	return s.sessionQR(id), s.note(o)
}

func (s stubSessions) QR(_ context.Context, _, id string) (*service.SessionQR, error) {
	return s.sessionQR(id), s.note(id)
}

func (s stubSessions) Disconnect(_ context.Context, _, id string) (*service.SessionView, error) {
	return s.view(id), s.note(id)
}

func (s stubSessions) Logout(_ context.Context, _, id string) (*service.SessionView, error) {
	return s.view(id), s.note(id)
}

func (s stubSessions) Restart(_ context.Context, _, id string) (*service.SessionView, error) {
	return s.view(id), s.note(id)
}

func (s stubSessions) Delete(_ context.Context, _, id string) error { return s.note(id) }

func (s stubKeys) List(_ context.Context, user string) ([]*service.APIKeyView, error) {
	return []*service.APIKeyView{
		{APIKey: &domain.APIKey{ID: "k1", SessionID: "support", Name: "default", Hint: "wg_0123", CreatedAt: noon, LastUsedAt: noon}, Session: someSession("support")},
		{APIKey: &domain.APIKey{ID: "k0", SessionID: "support", Name: "default", Hint: "wg_9876", CreatedAt: noon, RevokedAt: noon}, Session: someSession("support")},
	}, s.note(user)
}

func (s stubKeys) Rotate(_ context.Context, _, _ string, grace time.Duration) (string, error) {
	return keyText, s.note(grace)
}

func (s stubKeys) Revoke(_ context.Context, _, id string) error { return s.note(id) }

func (s stubKeys) Tier(_ context.Context, user string) (*service.TierView, error) {
	return &service.TierView{Tier: domain.TierPro, Limits: domain.DefaultTiers().Of(domain.TierPro), Sessions: 3, Messages: 17, APICalls: 40}, s.note(user)
}

func (s stubMessages) Usage(_ context.Context, _, session string, since time.Time, bucket time.Duration) ([]service.MessageUsage, error) {
	return []service.MessageUsage{
		{Bucket: since, SessionID: "support", Type: domain.TypeText, Direction: domain.Outbound, Count: 5},
		{Bucket: since, SessionID: "support", Type: domain.TypeImage, Direction: domain.Outbound, Failed: true, Count: 1},
		{Bucket: since, SessionID: "support", Type: domain.TypeImage, Direction: domain.Outbound, Failed: true, Unforwarded: true, Count: 2},
		{Bucket: since.Add(2 * bucket), SessionID: "sales", Type: domain.TypeText, Direction: domain.Inbound, Count: 9},
	}, s.note([]any{session, since, bucket})
}

func (s stubKeys) Authenticate(_ context.Context, key string) (service.Sender, domain.Usage, error) {
	if key != keyText {
		return service.Sender{}, domain.Usage{}, domain.Errorf(domain.Unauthenticated, domain.CodeAPIKeyInvalid, "API key is not valid")
	}
	return service.Sender{KeyID: "k1", UserID: "u1", SessionID: "support"}, s.usage, s.keys
}

func (s stubMessages) Send(_ context.Context, _ service.Sender, m *domain.Outgoing) (*domain.Message, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	if s.sent != nil {
		return s.sent, s.note(m)
	}
	return someMessage(), s.note(m)
}

// SendOnce takes every key that begins with "again" for a repeat.
func (s stubMessages) SendOnce(ctx context.Context, who service.Sender, key string, m *domain.Outgoing) (*domain.Message, bool, error) {
	if err := domain.CheckIdempotencyKey(key); err != nil {
		return nil, false, err
	}
	sent, err := s.Send(ctx, who, m)
	return sent, strings.HasPrefix(key, "again"), err
}

func (s stubMessages) SendAll(ctx context.Context, who service.Sender, key string, items []service.SendItem) ([]service.SendResult, error) {
	if s.err != nil {
		return nil, s.note(items)
	}
	results := make([]service.SendResult, len(items))
	for i, item := range items {
		r := &results[i]
		if item.Refusal != nil {
			r.Err = item.Refusal
			continue
		}
		if once := cmp.Or(item.Key, key); once != "" {
			r.Message, r.IsReplay, r.Err = s.SendOnce(ctx, who, once, item.Message)
			continue
		}
		r.Message, r.Err = s.Send(ctx, who, item.Message)
	}
	s.last = items
	return results, nil
}

func (s stubMessages) OpenMedia(_ context.Context, _, _, messageID string, part service.MediaPart) (*service.InboundMedia, error) {
	content := "media of " + messageID
	return &service.InboundMedia{
		Media:    ports.Media{Content: io.NopCloser(strings.NewReader(content)), Length: int64(len(content)), Type: "image/png"},
		Filename: "image.png",
	}, s.note(part)
}

func (s stubMessages) PerformAction(_ context.Context, _ service.Sender, a domain.Action) error {
	if err := a.Validate(); err != nil {
		return err
	}
	return s.note(a)
}

func (s stubMessages) History(_ context.Context, _, _ string, f domain.MessageFilter) ([]*domain.Message, domain.Cursor, error) {
	place := someMessage()
	place.ID, place.Type, place.Content = "m0", domain.TypeLocation, `{"latitude":1.5,"longitude":-2}`
	next := domain.Cursor{At: noon, ID: "m0"}
	if f.Limit == exportedAtOnce && f.After == next {
		next = domain.Cursor{} // the last page of an export
	}
	return []*domain.Message{someMessage(), place}, next, s.note(f)
}

func (s stubMessages) Get(_ context.Context, _, _, id string) (*domain.Message, error) {
	return someMessage(), s.note(id)
}

func (s stubOperations) Analytics(_ context.Context, step time.Duration, n int) ([]service.AnalyticsPoint, error) {
	points := make([]service.AnalyticsPoint, n)
	for i := range points {
		points[i].At = noon.Truncate(step).Add(time.Duration(i-n+1) * step)
	}
	points[n-1] = service.AnalyticsPoint{
		At: points[n-1].At, Sent: 6, Failed: 1, Unforwarded: 2, Received: 9,
		Fleet: &domain.FleetSample{Users: 12, ActiveUsers: 11, Sessions: 40, ConnectedSessions: 37, Workers: 4, OnlineWorkers: 3, Capacity: 150, Used: 41},
	}
	return points, s.note([]any{step, n})
}

func (s stubProtocol) Register(_ context.Context, r domain.Registration) (*service.RegisterResult, error) {
	w := someWorker()
	w.ID, w.Endpoint, w.Capacity = r.WorkerID, r.Endpoint, r.Capacity
	if len(r.Capabilities) > 0 {
		w.TokenEpoch, w.Capabilities = epochNow, r.Capabilities
	}
	return &service.RegisterResult{
		Worker: w, Known: r.WorkerID == "known", Assigned: 2, Interval: 30 * time.Second, Lease: 45 * time.Second,
		Commands: []service.StopCommand{{SessionID: "moved", Generation: 7}},
	}, s.note(r)
}

func (s stubProtocol) Heartbeat(_ context.Context, h domain.Heartbeat) (*service.HeartbeatResult, error) {
	if h.WorkerID == "unknown" {
		return nil, domain.Errorf(domain.NotFound, domain.CodeWorkerNotFound, "Worker not found; register again")
	}
	return &service.HeartbeatResult{
		Worker: someWorker(), Processed: len(h.Sessions), Synced: 1, Skipped: h.Skipped, Warnings: h.Warnings,
		Breakdown: domain.Breakdown{Total: 2, Connected: 1, Init: 1},
		Commands:  []service.StopCommand{{SessionID: "gone", Generation: 4}}, Lease: 45 * time.Second,
	}, s.note(h)
}

func (s stubProtocol) AssignedSessions(_ context.Context, id string) ([]service.AssignedSession, error) {
	return []service.AssignedSession{{Session: someSession("support"), UserEmail: "ada@example.com", UserTier: domain.TierPro}}, s.note(id)
}

func (s stubProtocol) ReportRecovery(_ context.Context, _ string, results []service.RecoveryResult) ([]service.RecoveryOutcome, error) {
	var out []service.RecoveryOutcome
	for _, r := range results {
		out = append(out, service.RecoveryOutcome{SessionID: r.SessionID, Status: r.Status, Action: "noted", Error: r.Error, Updated: r.Status != service.RecoverySkipped})
	}
	return out, s.note(results)
}

func (s stubProtocol) ReportPreserved(_ context.Context, _ string, ids []string) (int, error) {
	return len(ids), s.note(ids)
}

func (s stubProtocol) Unregister(_ context.Context, id, endpoint string) (domain.WorkerStatus, error) {
	if endpoint == "http://former:1" {
		return domain.WorkerOnline, s.note([]string{id, endpoint})
	}
	return domain.WorkerOffline, s.note([]string{id, endpoint})
}

func (s stubProtocol) ReportSession(_ context.Context, r domain.Report) (domain.Outcome, error) {
	return s.outcome, s.note(r)
}

func (s stubProtocol) ReportMessage(_ context.Context, r domain.MessageReport) (bool, error) {
	return true, s.note(r)
}

func (s stubProtocol) ReceiveMessage(_ context.Context, m service.InboundMessage) (bool, error) {
	return true, s.note(m)
}

func (s stubWorkers) view() *service.WorkerView {
	return &service.WorkerView{Worker: someWorker(), Breakdown: domain.Breakdown{Total: 1, Connected: 1}}
}

func (s stubWorkers) Add(_ context.Context, r domain.Registration) (*service.WorkerView, error) {
	v := s.view()
	v.ID = r.WorkerID
	return v, s.note(r)
}

func (s stubWorkers) Get(_ context.Context, id string) (*service.WorkerView, []*domain.Session, error) {
	v := s.view()
	v.Foreign = []domain.ForeignSession{
		{SessionID: "elsewhere", IsRunning: true, Status: domain.Connected, PhoneNumber: "6281234567890", FirstSeenAt: noon, LastSeenAt: noon},
		{SessionID: "formerly", FirstSeenAt: noon},
	}
	v.Drain = &service.DrainProgress{BatchID: "batch-1", Total: 10, Remaining: 4, Moving: 2, Moved: 5, Failed: 1}
	return v, []*domain.Session{someSession("support")}, s.note(id)
}

func (s stubWorkers) List(_ context.Context, f ports.WorkerFilter, p ports.Page) ([]*service.WorkerView, int, error) {
	return []*service.WorkerView{s.view()}, 1, s.note([]any{f, p})
}

func (s stubWorkers) Update(_ context.Context, _ string, ch service.WorkerChange) (*service.WorkerView, error) {
	return s.view(), s.note(ch)
}

func (s stubWorkers) Remove(_ context.Context, id string, opt service.RemoveOptions) error {
	return s.note([]any{id, opt})
}

func (s stubWorkers) StopForeign(_ context.Context, id, sessionID string, opt service.StopForeignOptions) error {
	return s.note([]any{id, sessionID, opt})
}

func (s stubWorkers) Drain(_ context.Context, id string, opt service.DrainOptions) (*service.WorkerView, error) {
	return s.view(), s.note([]any{id, opt.Force})
}

func (s stubWorkers) Activate(_ context.Context, id string) (*service.WorkerView, error) {
	return s.view(), s.note(id)
}

func (s stubWorkers) Statistics(context.Context) (*service.FleetStatistics, error) {
	return &service.FleetStatistics{
		Online: 2, Offline: 1, Capacity: 100, Used: 10, CPU: 33.333, Memory: -1,
		Sessions: map[domain.Status]int{domain.Connected: 9, domain.Init: 1},
	}, s.note(nil)
}

func (s stubWorkers) ExplainPlacement(context.Context) (string, []domain.Candidate, error) {
	return "worker-1", []domain.Candidate{
		{WorkerID: "worker-1", Score: 14.5, Factors: []domain.Factor{{Name: "capacity", Points: 4}, {Name: "resources", Points: 10.5}}},
		{WorkerID: "worker-2", Excluded: "offline"},
	}, s.note(nil)
}

func (s stubWorkers) probe() *service.ProbeReport {
	return &service.ProbeReport{WorkerID: "worker-1", Endpoint: "http://10.0.0.5:8001", Error: "connection refused", Took: 1500 * time.Microsecond, At: noon}
}

func (s stubWorkers) TestEndpoint(_ context.Context, endpoint string) (*service.ProbeReport, error) {
	return &service.ProbeReport{Endpoint: endpoint, Reachable: true, Took: time.Millisecond, At: noon}, s.note(endpoint)
}

func (s stubWorkers) Test(_ context.Context, id string) (*service.ProbeReport, error) {
	return s.probe(), s.note(id)
}

func (s stubWorkers) LoadSamples(_ context.Context, id string, since time.Time) ([]domain.LoadSample, error) {
	return []domain.LoadSample{{WorkerID: id, At: since, Sessions: 3, CPU: 12.5, Memory: -1}}, s.note(id)
}

func (s stubWorkers) ProbeAll(context.Context) ([]service.ProbeReport, error) {
	return []service.ProbeReport{*s.probe(), {WorkerID: "worker-2", Endpoint: "http://10.0.0.6:8001", Reachable: true, At: noon}}, s.note(nil)
}

func (s stubWorkers) ProbeStatus(context.Context) service.ProbeStatus {
	return service.ProbeStatus{Running: true, Interval: 5 * time.Second, LastCheck: noon, Workers: 2}
}

func (s stubWorkers) StartProbes(context.Context) (service.ProbeStatus, error) {
	return service.ProbeStatus{Running: true, Interval: 5 * time.Second, Workers: 2}, s.note(true)
}

func (s stubWorkers) StopProbes(context.Context) (service.ProbeStatus, error) {
	return service.ProbeStatus{Interval: 5 * time.Second, Workers: 2}, s.note(false)
}

func someMigration(status domain.MigrationStatus) *domain.Migration {
	m := &domain.Migration{
		ID: "mig-1", SessionID: "support", UserID: "u1", Kind: domain.MigrationByOperator, FromWorker: "worker-1", ToWorker: "worker-2",
		Status: status, Reason: "maintenance", CreatedAt: noon,
	}
	if status != domain.MigrationPending {
		m.StartedAt = noon.Add(time.Second)
	}
	if status.Ended() {
		m.CompletedAt = noon.Add(2500 * time.Millisecond)
	}
	return m
}

func (s stubOperations) ListSessions(ctx context.Context, f ports.SessionFilter, p ports.Page) ([]*service.SessionView, int, error) {
	return stubSessions(s).List(ctx, "", f, p)
}

func (s stubOperations) Export(_ context.Context, r service.ExportRequest, fn func(service.ExportPage) error) error {
	if err := s.note(r); err != nil {
		return err
	}
	return fn(service.ExportPage{Users: []*domain.User{someUser()}})
}

func (s stubOperations) DeleteSession(_ context.Context, id string) error { return s.note(id) }

func (s stubOperations) Bulk(_ context.Context, b service.BulkRequest) ([]service.BulkResult, error) {
	return []service.BulkResult{
		{SessionID: "support"},
		{SessionID: "sales", Err: domain.Errorf(domain.NotFound, domain.CodeSessionNotFound, "Session not found")},
		{SessionID: "odd", Err: errors.New("the disk at 10.0.0.9 is full")},
	}, s.note(b)
}

func (s stubOperations) Migrate(_ context.Context, id string, opt service.MigrateOptions) (*domain.Migration, error) {
	return someMigration(domain.MigrationRunning), s.note([]any{id, opt})
}

func (s stubOperations) ListMigrations(_ context.Context, f ports.MigrationFilter, p ports.Page) ([]*domain.Migration, int, error) {
	failed := someMigration(domain.MigrationFailed)
	failed.Kind, failed.BatchID, failed.Error = domain.MigrationByRebalance, "batch-1", "worker-2 is full"
	return []*domain.Migration{someMigration(domain.MigrationPending), someMigration(domain.MigrationCompleted), failed}, 43, s.note([]any{f, p})
}

func (s stubOperations) CancelMigrations(_ context.Context, id string) ([]*domain.Migration, int, error) {
	return []*domain.Migration{someMigration(domain.MigrationCancelled)}, 3, s.note(id)
}

func (s stubOperations) Rebalance(_ context.Context, opt service.RebalanceOptions) (*service.RebalanceResult, error) {
	r := &service.RebalanceResult{
		DryRun: opt.DryRun, BatchID: "batch-1", RemainingMoves: 7,
		Moves:   []domain.PlannedMove{{SessionID: "support", UserID: "u1", FromWorker: "worker-1", ToWorker: "worker-2"}},
		Workers: []service.WorkerLoad{{WorkerID: "worker-1", Capacity: 30, Before: 20, After: 19}, {WorkerID: "worker-2", Capacity: 30, After: 1}},
	}
	if opt.DryRun {
		r.BatchID = ""
	}
	return r, s.note(opt.DryRun)
}

// stubAccess knows worker-1, whose own token is of epochNow, and takes every other worker
// for one without an own token.
type stubAccess struct{ *stub }

const epochNow = "5eed"

// ownToken is the own token of worker-1.
var ownToken = domain.NewWorkerTokens(fleetToken).Own("worker-1", epochNow)

func (a stubAccess) Authorize(_ context.Context, holder domain.TokenHolder, workerID string) error {
	w := &domain.Worker{ID: workerID}
	if workerID == "worker-1" {
		w.TokenEpoch = epochNow
	}
	if a.strict {
		w.Capabilities = []domain.Capability{domain.CapOwnToken}
	}
	return holder.Authorize(w)
}

type fixedClock struct{ at time.Time }

func (c fixedClock) Now() time.Time { return c.at }

type fixedID string

func (id fixedID) NewID() string { return string(id) }

// config is a Config for tests: everything stands still.
func config(s *stub) Config {
	return Config{
		Accounts: stubAccounts{s},
		Services: service.Services{
			Sessions: stubSessions{s}, APIKeys: stubKeys{s}, Messages: stubMessages{s},
			Workers: stubWorkers{s}, Operations: stubOperations{s}, Protocol: stubProtocol{s}, Access: stubAccess{s}, Audit: stubAudit{s}, Events: stubEvents{s}, Webhooks: stubWebhooks{s}, Scheduled: stubScheduled{s},
		},
		WorkerTokens: domain.NewWorkerTokens(fleetToken),
		Clock:        fixedClock{noon}, IDs: fixedID("req-1"), Log: slog.New(slog.DiscardHandler), Version: "1.0.0",
	}
}
