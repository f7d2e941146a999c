package sqlite_test

import (
	"testing"

	"github.com/switchyard-wa/switchyard/adapters/internal/storebench"
	"github.com/switchyard-wa/switchyard/ports"
)

func openEmpty(b *testing.B) ports.Store { return open(b, file(b)) }

func BenchmarkMessage(b *testing.B)      { storebench.Message(b, openEmpty) }
func BenchmarkHeartbeat(b *testing.B)    { storebench.Heartbeat(b, openEmpty) }
func BenchmarkEachAssigned(b *testing.B) { storebench.EachAssigned(b, openEmpty) }
func BenchmarkGetSession(b *testing.B)   { storebench.GetSession(b, openEmpty) }
