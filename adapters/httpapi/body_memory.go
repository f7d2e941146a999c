package httpapi

import (
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

const (
	// defaultBodyMemory is the memory of all bodies under way that are not small.
	defaultBodyMemory = 128 << 20
	// smallBody is the size up to which bodies are not counted: the connection itself
	// costs about as much.
	smallBody = 16 << 10
)

// bodyMemory bounds the memory of bodies that have arrived, in whole or in part, or the
// disk space of uploads. An announced length costs nothing.
//
// A caller may hold as much as is free. One caller gets half of the memory, and each
// further one finds a part that is as large as what every other one holds: a few greedy
// or slow callers shut nobody out. Switches share the memory of their packets in this way
// (dynamic thresholds, Choudhury and Hahne, 1998).
type bodyMemory struct {
	mu   sync.Mutex
	free int64
	held map[string]int64 // by caller
}

func newBodyMemory(total int64) *bodyMemory {
	return &bodyMemory{free: total, held: make(map[string]int64)}
}

// reserve takes n bytes for a caller. It reports whether there was room for them.
func (m *bodyMemory) reserve(caller string, n int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held[caller]+n > m.free {
		return false
	}
	m.held[caller] += n
	m.free -= n
	return true
}

// release returns reserved bytes to the budget.
func (m *bodyMemory) release(caller string, n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free += n
	m.held[caller] -= n
	if m.held[caller] == 0 {
		delete(m.held, caller)
	}
}

const (
	bodyGrace = 15 * time.Second // for a body to arrive, whatever its size
	bodyRate  = 384 << 10        // bytes that have to arrive in each further second
)

// bodyTime returns how long a body of a size may take to arrive: 16 MiB a minute.
func bodyTime(size int) time.Duration {
	return bodyGrace + time.Duration(size)*time.Second/bodyRate
}

func errBodyMemory() error {
	return domain.Overloaded(time.Second, "Too many large requests at once; try again in a moment, or send media by URL")
}
