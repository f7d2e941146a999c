package postgres_test

import (
	"testing"

	"github.com/switchyard-wa/switchyard/adapters/internal/storebench"
	"github.com/switchyard-wa/switchyard/adapters/postgres/postgrestest"
	"github.com/switchyard-wa/switchyard/ports"
)

func BenchmarkMessage(b *testing.B)      { storebench.Message(b, openDurable) }
func BenchmarkHeartbeat(b *testing.B)    { storebench.Heartbeat(b, openDurable) }
func BenchmarkEachAssigned(b *testing.B) { storebench.EachAssigned(b, openDurable) }
func BenchmarkGetSession(b *testing.B)   { storebench.GetSession(b, openDurable) }

// startDurable starts a server that waits for the disk.
func startDurable(b *testing.B) *postgrestest.Server {
	b.Helper()
	return postgrestest.Start(b, "fsync=on", "full_page_writes=on", "max_wal_size=4GB", "shared_buffers=1GB")
}

// openDurable opens a store on a server that waits for the disk.
func openDurable(b *testing.B) ports.Store {
	b.Helper()
	return open(b, startDurable(b).NewDatabase(b))
}
