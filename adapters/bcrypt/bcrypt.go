package bcrypt

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/switchyard-wa/switchyard/adapters/internal/admission"
	"github.com/switchyard-wa/switchyard/ports"
)

// DefaultCost is the least cost that OWASP recommends for bcrypt, about 50 ms on a
// processor of 2020. The cost protects a stolen table; the accounts service limits
// guesses. Each further step doubles the time, and so halves the sign-ins that a
// small machine can serve.
const DefaultCost = 10

// perAccount bounds the work of known callers on one account: one hash runs, two wait.
const perAccount = 3

const (
	passwordMax = 72 // bytes; bcrypt ignores the rest
	hashLen     = 60 // length of every bcrypt hash; bcrypt ignores bytes after it
)

// Config configures [New]. The zero value works.
type Config struct {
	// Cost is the logarithm of the work, from 4 to 31; 0: [DefaultCost]. Existing
	// hashes keep their cost.
	Cost int
	// Parallel bounds the hashes that are computed at once; 0: half of the processors,
	// at least one. Further callers wait in the order of their arrival.
	Parallel int
	// Waiting bounds the callers that wait, known ones and strangers each
	// ([ports.KnownCaller]); 0: 64 times Parallel.
	Waiting int
	// MaxWait bounds the wait of a caller; 0: 5 s. A stranger waits for the other strangers,
	// and then for known callers, for as long each.
	MaxWait time.Duration
}

// Passwords hashes and compares passwords. It is safe for concurrent use.
type Passwords struct {
	cost int
	// queue runs the work. All strangers together hold as many places in it as hashes are
	// computed at once; further strangers wait in strangers. Thus a known caller waits for
	// no more strangers than that, however many there are. Known accounts take turns in it.
	queue     *admission.Queue
	known     *admission.Queue // bounds the places of known callers in queue; nobody waits here
	strangers *admission.Queue
	standIn   []byte
}

var _ ports.Passwords = (*Passwords)(nil)

// New returns Passwords. It computes one hash.
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
	if c.Waiting < 0 || c.MaxWait < 0 {
		errs = append(errs, errors.New("bcrypt: Waiting and MaxWait must not be negative"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if c.Waiting == 0 {
		c.Waiting = 64 * c.Parallel
	}
	const work = "passwords are checked"
	p := &Passwords{
		cost: c.Cost,
		queue: admission.New(admission.Config{
			Work: work, Parallel: c.Parallel, Waiting: c.Waiting + c.Parallel, MaxWait: c.MaxWait, InTurn: true,
		}),
		known:     admission.New(admission.Config{Work: work, Parallel: c.Waiting + c.Parallel, Share: perAccount}),
		strangers: admission.New(admission.Config{Work: work, Parallel: c.Parallel, Waiting: c.Waiting, MaxWait: c.MaxWait}),
	}
	var err error
	p.standIn, err = bcrypt.GenerateFromPassword([]byte(rand.Text()), c.Cost)
	return p, err
}

// Hash returns the hash of a password. A password above 72 bytes is an error,
// because bcrypt would ignore the rest.
func (p *Passwords) Hash(ctx context.Context, password string) (string, error) {
	release, err := p.admit(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), p.cost)
	return string(hash), err
}

// Matches reports whether the password has the hash.
func (p *Passwords) Matches(ctx context.Context, hash, password string) (bool, error) {
	release, err := p.admit(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	return p.compare(hash, password), nil
}

// admit waits until the caller's work may run.
func (p *Passwords) admit(ctx context.Context) (release func(), err error) {
	account, class := ports.KnownCaller(ctx), p.known
	if account == "" {
		class = p.strangers
	}
	leave, err := class.Acquire(ctx, account)
	if err != nil {
		return nil, err
	}
	finish, err := p.queue.Acquire(ctx, account)
	if err != nil {
		leave()
		return nil, err
	}
	return func() { finish(); leave() }, nil
}

// compare is Matches for a caller whose turn has come.
func (p *Passwords) compare(hash, password string) bool {
	// bcrypt would ignore the rest of a longer password. It is refused below.
	text := []byte(password[:min(len(password), passwordMax)])
	err := errNoHash
	if len(hash) == hashLen {
		err = bcrypt.CompareHashAndPassword([]byte(hash), text)
	}
	if err != nil && !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		// The hash is malformed, which returns at once. Take the usual time.
		_ = bcrypt.CompareHashAndPassword(p.standIn, text)
	}
	return err == nil && len(password) <= passwordMax
}

var errNoHash = errors.New("not a hash")
