package system

import (
	"bufio"
	"crypto/rand"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/switchyard-wa/switchyard/ports"
)

var (
	_ ports.Clock  = Clock{}
	_ ports.IDs    = (*IDs)(nil)
	_ ports.Random = Random{}
)

// Clock returns the system's time in UTC with microseconds, the precision of
// stores. Therefore a time equals itself after it was stored and read.
//
// Times that were not stored compare by the monotonic clock. Thus leases do not
// end early when the system's time is set.
type Clock struct{}

// Now implements [ports.Clock].
func (Clock) Now() time.Time {
	now := time.Now().UTC()
	return now.Add(-time.Duration(now.Nanosecond() % 1000)) // Truncate would remove the monotonic reading
}

// Random reads the randomness of the operating system, which is fit for secrets.
// It never returns an error: without randomness the program ends, see [rand.Read].
type Random struct{}

// Read implements [ports.Random].
func (Random) Read(p []byte) (int, error) { return rand.Read(p) }

// IDs returns UUIDs of version 7. Each sorts after every earlier one of this
// process, even within a millisecond: the sub-millisecond part of the version
// counts on while the clock stands still.
type IDs struct {
	mu     sync.Mutex
	random *bufio.Reader // reads for many ids at a time; uuid's own pool is global
}

// NewID implements [ports.IDs].
func (g *IDs) NewID() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.random == nil {
		g.random = bufio.NewReaderSize(rand.Reader, 64*16)
	}
	return uuid.Must(uuid.NewV7FromReader(g.random)).String() // crypto/rand returns no error
}
