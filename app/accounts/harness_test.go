package accounts_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/jwt"
	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/app/accounts"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance/storehooks"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	password = "correct horse 1"
	other    = "battery staple 2"
)

// harness holds accounts over the memory store, with fakes for the slow and the
// random parts.
type harness struct {
	*accounts.Accounts
	t         require.TestingT
	store     *storehooks.Store
	clock     *clock
	passwords *passwords
	mailer    *mailbox
	limiter   *limiter
	log       *logged

	mu          sync.Mutex
	deactivated []string
}

func newHarness(t require.TestingT, change ...func(*accounts.Config)) *harness {
	h := &harness{
		t: t, store: storehooks.New(memory.NewStore()), clock: &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		mailer: &mailbox{}, limiter: &limiter{Limiter: memory.NewLimiter()}, log: &logged{},
	}
	h.passwords = &passwords{store: h.store}
	c := h.config()
	for _, f := range change {
		f(&c)
	}
	var err error
	h.Accounts, err = accounts.New(c)
	require.NoError(t, err)
	return h
}

// config returns the configuration of one process. Several may share the harness.
func (h *harness) config() accounts.Config {
	tokens, err := jwt.New([]byte(strings.Repeat("k", 32)))
	require.NoError(h.t, err)
	return accounts.Config{
		Store: h.store, Tokens: tokens, Passwords: h.passwords, Mailer: h.mailer, Limiter: h.limiter,
		Clock: h.clock, IDs: &ids{}, Random: rand.Reader, Log: slog.New(slog.NewTextHandler(h.log, nil)),
		Spawn: func(f func()) { f() },
		OnChange: func(ctx context.Context, userID string) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.deactivated = append(h.deactivated, userID)
			return ctx.Err()
		},
	}
}

// person is a signed-in user.
type person struct {
	service.AuthTokens
	service.Principal
	email string
}

func (h *harness) register(name string) *person {
	email := name + "@example.com"
	s, err := h.Register(context.Background(), name, email, password)
	require.NoError(h.t, err)
	return h.person(s, email)
}

func (h *harness) login(email, pw string) *person {
	s, err := h.Login(callerAt(context.Background(), "192.0.2.1"), email, pw)
	require.NoError(h.t, err)
	return h.person(s, email)
}

func (h *harness) person(s *service.AuthTokens, email string) *person {
	c, err := h.Authenticate(context.Background(), s.Token)
	require.NoError(h.t, err)
	return &person{AuthTokens: *s, Principal: c, email: email}
}

// administrator creates the first administrator and signs it in.
func (h *harness) administrator() *person {
	_, _, err := h.EnsureAdministrator(context.Background(), "admin@localhost", password)
	require.NoError(h.t, err)
	return h.login("admin@localhost", password)
}

// row returns the user as it is stored.
func (h *harness) row(email string) *domain.User {
	var u *domain.User
	require.NoError(h.t, h.store.Store.View(context.Background(), func(ctx context.Context, tx *ports.Tx) (err error) {
		u, err = tx.Users.ByEmail(ctx, email)
		return err
	}))
	return u
}

// change writes a user directly to the store, as another process would.
func (h *harness) change(email string, fn func(*domain.User)) {
	require.NoError(h.t, h.store.Store.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
		u, err := tx.Users.ByEmail(ctx, email)
		if err != nil {
			return err
		}
		fn(u)
		return tx.Users.Put(ctx, u)
	}))
}

// refused requires a domain error with the code.
func (h *harness) refused(err error, code domain.Code, about ...any) {
	_ = h.refusal(err, code, about...)
}

// refusal requires a domain error with the code and returns it.
func (h *harness) refusal(err error, code domain.Code, about ...any) *domain.Error {
	var e *domain.Error
	require.ErrorAs(h.t, err, &e, about...)
	require.Equal(h.t, code, e.Code, about...)
	require.NotEmpty(h.t, e.Message)
	return e
}

// good requires that the access token is accepted, bad that it is refused.
func (h *harness) good(p *person) {
	c, err := h.Authenticate(context.Background(), p.Token)
	require.NoError(h.t, err)
	require.Equal(h.t, p.UserID, c.UserID)
}

func (h *harness) bad(p *person, code domain.Code) {
	_, err := h.Authenticate(context.Background(), p.Token)
	h.refused(err, code)
}

// fields returns the fields that a validation error names.
func (h *harness) fields(err error) []string {
	var fields []string
	for _, f := range h.refusal(err, domain.CodeValidation).Fields {
		require.NotEmpty(h.t, f.Message)
		fields = append(fields, f.Field)
	}
	return fields
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// ids returns ids that are unique within the test binary.
type ids struct{}

var lastID atomic.Int64

func (*ids) NewID() string { return fmt.Sprintf("id.%08d", lastID.Add(1)) }

// passwords hashes fast. It fails a test that hashes inside a transaction.
type passwords struct {
	store    *storehooks.Store
	compared atomic.Int64
	hashed   atomic.Int64
	known    atomic.Int64 // compared or hashed for known callers
	busy     bool         // other goroutines may run transactions meanwhile
	gullible bool         // every password matches
	hook     func()
	refusal  error // of every call
}

func (p *passwords) unavailable(ctx context.Context) error {
	if ports.KnownCaller(ctx) != "" {
		p.known.Add(1)
	}
	if p.refusal != nil {
		return p.refusal
	}
	return ctx.Err()
}

func (p *passwords) Hash(ctx context.Context, pw string) (string, error) {
	if err := p.unavailable(ctx); err != nil {
		return "", err
	}
	p.outside()
	p.hashed.Add(1)
	sum := sha256.Sum256([]byte(pw))
	return "hash:" + hex.EncodeToString(sum[:]), nil
}

func (p *passwords) Matches(ctx context.Context, hash, pw string) (bool, error) {
	if err := p.unavailable(ctx); err != nil {
		return false, err
	}
	p.outside()
	p.compared.Add(1)
	sum := sha256.Sum256([]byte(pw))
	if p.hook != nil {
		p.hook()
	}
	return p.gullible || hash == "hash:"+hex.EncodeToString(sum[:]), nil
}

func (p *passwords) outside() {
	if !p.busy && p.store.Running() > 0 {
		panic("a password is hashed inside a transaction")
	}
}

// mailbox records mail.
type mailbox struct {
	mu    sync.Mutex
	mails []ports.Mail
	err   error
}

func (m *mailbox) Send(_ context.Context, mail ports.Mail) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mails = append(m.mails, mail)
	return m.err
}

func (m *mailbox) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.mails)
}

// token returns the token in the latest mail.
func (m *mailbox) token() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return tokenIn(m.mails[len(m.mails)-1])
}

// tokenIn returns the token in a mail, or "".
func tokenIn(mail ports.Mail) string {
	for line := range strings.SplitSeq(mail.Text, "\n") {
		if _, token, ok := strings.Cut(line, "token="); ok {
			return token
		}
		if len(line) == 43 && !strings.Contains(line, " ") {
			return line
		}
	}
	return ""
}

// limiter is a limiter that can fail.
type limiter struct {
	ports.Limiter
	broken atomic.Bool
	calls  atomic.Int64
}

func (l *limiter) AllowN(ctx context.Context, key string, at time.Time, length time.Duration, limit, n int) (domain.Usage, error) {
	l.calls.Add(1)
	if l.broken.Load() {
		return domain.Usage{}, errors.New("limiter is down")
	}
	return l.Limiter.AllowN(ctx, key, at, length, limit, n)
}

// logged is a log that tests can read.
type logged struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

// transactions returns how many transactions were asked for.
func (h *harness) transactions() int64 { return h.store.Views() + h.store.Updates() }

// failStore makes every transaction fail with err. With nil it succeeds again.
func (h *harness) failStore(err error) {
	fail := func(context.Context) error { return err }
	h.store.BeforeView, h.store.BeforeUpdate = fail, fail
}

// loseUpdates makes the next n Updates find a changed row after they have run.
func (h *harness) loseUpdates(n int) {
	h.store.AroundUpdate = func(ctx context.Context, fn storehooks.Func, update func(context.Context, storehooks.Func) error) error {
		return update(ctx, func(ctx context.Context, tx *ports.Tx) error {
			if err := fn(ctx, tx); err != nil {
				return err
			}
			n--
			if n >= 0 {
				return fmt.Errorf("users: %w", ports.ErrConflict)
			}
			return nil
		})
	}
}

// noSecrets requires that neither passwords nor tokens are in the log.
func (h *harness) noSecrets(t testing.TB, more ...string) {
	t.Helper()
	for _, secret := range append(more, password, other, "hash:") {
		require.NotContains(t, h.log.String(), secret)
	}
}
