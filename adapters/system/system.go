package system

import (
	"bufio"
	"crypto/rand"
	"fmt"
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

// Clock is the system clock, in UTC and to the microsecond, as rows keep it:
// a time that was stored equals itself when it comes back. Times that were not
// stored compare by the monotonic clock, so leases do not end early when the
// system's time is set.
type Clock struct{}

// Now implements [ports.Clock].
func (Clock) Now() time.Time {
	now := time.Now().UTC()
	return now.Add(-time.Duration(now.Nanosecond() % 1000)) // Truncate would take the monotonic reading away
}

// Random is the randomness of the operating system, fit for secrets. It never
// fails: without randomness the program ends, see [rand.Read].
type Random struct{}

// Read implements [ports.Random].
func (Random) Read(p []byte) (int, error) { return rand.Read(p) }

// IDs makes UUIDs of version 7. Each sorts after every one that this process
// made before, even within a millisecond, since the version's sub-millisecond
// part counts on when the clock does not.
type IDs struct {
	mu     sync.Mutex
	random *bufio.Reader // asks the system for many at a time; uuid's own pool is one for the whole program
}

// NewID implements [ports.IDs].
func (g *IDs) NewID() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.random == nil {
		g.random = bufio.NewReaderSize(rand.Reader, 64*16)
	}
	id, err := uuid.NewV7FromReader(g.random)
	if err != nil { // crypto/rand does not fail
		panic(fmt.Sprintf("system: no randomness: %v", err))
	}
	return id.String()
}
