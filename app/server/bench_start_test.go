package server_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// BenchmarkStart measures how long the built binary takes until it is ready,
// and how much memory it then has, with 100 000 connected sessions on 2 000
// workers in SQLite.
func BenchmarkStart(b *testing.B) {
	binary := buildBinary(b)
	store := "sqlite:" + filepath.Join(b.TempDir(), "big.db")
	fill(b, store, 2_000, 50)
	var ready, resident []float64
	for range 5 {
		took, rss := start(b, binary, store)
		ready, resident = append(ready, took.Seconds()), append(resident, rss)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ready), "s-until-ready")
	b.ReportMetric(median(resident), "MB-resident")
	if median(ready) > 3 || median(resident) > 250 {
		b.Logf("SHORTFALL: ready after %.2f s with %.0f MB, should be at most 3 s and 250 MB", median(ready), median(resident))
	}
}

// fill puts workers with so many connected sessions each into a new store.
func fill(b *testing.B, dsn string, workers, each int) {
	ctx := context.Background()
	store, err := backend.Open(ctx, dsn)
	require.NoError(b, err)
	defer func() { require.NoError(b, store.Close()) }()
	now := store.Clock().Now()
	for w := range workers {
		id := fmt.Sprintf("worker-%04d", w)
		require.NoError(b, store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
			owner := &domain.User{ID: "user-" + id, Name: id, Email: id + "@example.com", Tier: domain.TierMax, Role: domain.RoleUser, Active: true, CreatedAt: now}
			if err := tx.Users.Put(ctx, owner); err != nil {
				return err
			}
			if err := tx.Workers.Put(ctx, &domain.Worker{
				ID: id, Endpoint: fmt.Sprintf("http://127.0.0.1:%d", 20000+w), Capacity: each, Online: true, Interval: time.Hour,
				Capabilities: []domain.Capability{domain.CapLease}, LastHeartbeat: now, RegisteredAt: now, CreatedAt: now, UpdatedAt: now,
			}); err != nil {
				return err
			}
			for s := range each {
				card := domain.NewSession(fmt.Sprintf("session-%04d-%02d", w, s), owner.ID, "Support line", "", now)
				card.Intent, card.Status, card.WorkerID, card.CredentialsWorkerID = domain.Up, domain.Connected, id, id
				card.PhoneNumber, card.DisplayName = fmt.Sprintf("62812%08d", w*each+s), "Support"
				card.Generation, card.Confirmed, card.WasConnected, card.AssignedAt = 1, true, true, now
				if err := tx.Workers.Reserve(ctx, id); err != nil {
					return err
				}
				if err := tx.Sessions.Put(ctx, card); err != nil {
					return err
				}
			}
			return tx.Users.Reserve(ctx, owner.ID, domain.UserUsage{Sessions: each, ActiveSessions: each}, domain.UserUsage{Sessions: each, ActiveSessions: each})
		}))
	}
}

// buildBinary builds the program and returns its path.
func buildBinary(b *testing.B) string {
	binary := filepath.Join(b.TempDir(), "switchyard")
	build := exec.Command("go", "build", "-o", binary, "../../cmd/switchyard")
	build.Stderr = os.Stderr
	require.NoError(b, build.Run())
	return binary
}

// start runs the binary until it is ready and returns how long that took and
// its resident memory in MB.
func start(b *testing.B, binary, store string) (time.Duration, float64) {
	began := time.Now()
	p := startBinary(b, binary, store)
	defer p.kill()
	return time.Since(began), p.resident(b)
}

// program is the built binary as a process.
type program struct {
	cmd  *exec.Cmd
	addr string
}

// startBinary runs the binary until it is ready.
func startBinary(b *testing.B, binary, store string, flags ...string) *program {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	p := &program{addr: l.Addr().String()}
	require.NoError(b, l.Close())
	p.cmd = exec.Command(binary, append([]string{
		"serve", "--addr", p.addr, "--store", store, "--admin-password", "correct-horse-1", "--log-level", "error",
	}, flags...)...)
	p.cmd.Stderr = os.Stderr
	require.NoError(b, p.cmd.Start())
	b.Cleanup(p.kill)
	for began := time.Now(); !p.isReady(); time.Sleep(5 * time.Millisecond) {
		require.Less(b, time.Since(began), time.Minute, "not ready")
	}
	return p
}

// isReady reports whether the process answers that it is ready.
func (p *program) isReady() bool {
	r, err := http.Get("http://" + p.addr + "/readyz")
	if err != nil {
		return false
	}
	r.Body.Close()
	return r.StatusCode == http.StatusOK
}

// kill ends the process, if it has not ended.
func (p *program) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// resident returns the resident memory of the process in MB.
func (p *program) resident(b *testing.B) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(b, err)
	_, rest, found := bytes.Cut(status, []byte("VmRSS:"))
	require.True(b, found)
	kb, err := strconv.ParseFloat(string(bytes.Fields(rest)[0]), 64)
	require.NoError(b, err)
	return kb / 1024
}
