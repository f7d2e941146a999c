package bcrypt

import (
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/crypto/bcrypt"

	"github.com/switchyard-wa/switchyard/ports"
)

// DefaultCost is the least that is recommended for bcrypt (OWASP), some 50 ms
// on a processor of 2020. It guards a stolen table; guessing at the front door
// is limited by the use cases. Every step more doubles the time, and so halves
// the sign-ins that a small machine can serve.
const DefaultCost = 10

const (
	passwordMax = 72 // bytes that bcrypt looks at
	hashLen     = 60 // of every bcrypt hash; what follows would be overlooked
)

// Config tunes the hashing. The zero value is good.
type Config struct {
	// Cost is the logarithm of the work, from 4 to 31; 0: [DefaultCost]. Hashes
	// that exist keep the cost they were made with.
	Cost int
	// Parallel bounds the hashes worked on at once; 0: half of the processors,
	// at least one. The others wait, in the order in which they came.
	Parallel int
}

// Passwords hashes and compares passwords. It is safe for concurrent use.
type Passwords struct {
	cost    int
	slots   chan struct{}
	standIn []byte
}

var _ ports.Passwords = (*Passwords)(nil)

// New makes the hashing. It takes the time of one hash.
func New(c Config) (*Passwords, error) {
	if c.Cost == 0 {
		c.Cost = DefaultCost
	}
	if c.Parallel == 0 {
		c.Parallel = max(1, runtime.GOMAXPROCS(0)/2)
	}
	var errs []error
	if c.Cost < bcrypt.MinCost || c.Cost > bcrypt.MaxCost {
		errs = append(errs, fmt.Errorf("bcrypt: Cost must be %d to %d, not %d", bcrypt.MinCost, bcrypt.MaxCost, c.Cost))
	}
	if c.Parallel < 0 {
		errs = append(errs, fmt.Errorf("bcrypt: Parallel must not be negative, not %d", c.Parallel))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	p := &Passwords{cost: c.Cost, slots: make(chan struct{}, c.Parallel)}
	var err error
	p.standIn, err = bcrypt.GenerateFromPassword([]byte(rand.Text()), c.Cost)
	return p, err
}

// Hash returns the hash of a password of at most 72 bytes; a longer one is an
// error, because bcrypt would not see the rest.
func (p *Passwords) Hash(password string) (string, error) {
	defer p.enter()()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), p.cost)
	return string(hash), err
}

// Matches reports whether the hash is one of the password.
func (p *Passwords) Matches(hash, password string) bool {
	defer p.enter()()
	// Compare itself would cut a long password and take the rest for granted.
	text := []byte(password[:min(len(password), passwordMax)])
	err := errNoHash
	if len(hash) == hashLen {
		err = bcrypt.CompareHashAndPassword([]byte(hash), text)
	}
	if err != nil && !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		// Not a hash, which shows at once.
		_ = bcrypt.CompareHashAndPassword(p.standIn, text)
	}
	return err == nil && len(password) <= passwordMax
}

var errNoHash = errors.New("not a hash")

// enter waits for a slot; the function it returns gives the slot back.
func (p *Passwords) enter() (leave func()) {
	p.slots <- struct{}{}
	return func() { <-p.slots }
}
