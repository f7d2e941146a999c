package server

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"

	"github.com/switchyard-wa/switchyard/adapters/bcrypt"
	"github.com/switchyard-wa/switchyard/adapters/httpapi"
	"github.com/switchyard-wa/switchyard/adapters/logmail"
	"github.com/switchyard-wa/switchyard/adapters/secretfile"
	"github.com/switchyard-wa/switchyard/app/accounts"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// HandlerConfig configures a [Handler]. The zero value works.
type HandlerConfig struct {
	// WorkerToken is the fleet token, with which workers register. It has 32 bytes or more.
	// Empty: no worker registers over HTTP.
	WorkerToken string
	// JWTSecret signs access tokens, with 32 bytes or more. Empty: a secret that is generated
	// once and kept in SecretsFile. Replicas with a shared coordination need it.
	JWTSecret string
	// SecretsFile keeps a generated secret. Empty: a file beside the SQLite file, otherwise
	// switchyard.secrets. A store in memory keeps it in the process.
	SecretsFile string
	// Mailer sends the mail that resets a password. Nil: mails go to the log.
	Mailer ports.Mailer
	// ResetURL stands before the token in that mail. Empty: the mail has the token only.
	ResetURL string
	// FirstTier is the tier of users who register. It is one of the orchestrator's tiers.
	// Empty: BASIC.
	FirstTier domain.Tier

	// ClosedRegistration lets administrators alone create users.
	ClosedRegistration bool

	CORSOrigins    []string       // origins whose pages may call the API
	TrustedProxies []netip.Prefix // proxies whose X-Forwarded-For is believed
	Log            *slog.Logger   // nil: slog.Default
	Version        string         // shown by the health routes; empty: dev
}

// Handler is the HTTP API of an orchestrator, for the mux of the program that embeds it.
// Mount it at /api/. Make one with [NewHandler].
type Handler struct {
	http.Handler
	Accounts *accounts.Accounts // users, sign-in and passwords

	log *slog.Logger
}

// NewHandler returns the HTTP API of an orchestrator that works on the store. It generates
// the secret that is missing. Run the handler as long as it is mounted.
func NewHandler(ctx context.Context, o *orchestrator.Orchestrator, store *backend.Backend, c HandlerConfig) (*Handler, error) {
	c.Log = cmp.Or(c.Log, slog.Default())
	c.Version = cmp.Or(c.Version, "dev")
	if c.Mailer == nil {
		c.Mailer = logmail.New(c.Log)
	}
	passwords, err := bcrypt.New(bcrypt.Config{})
	if err != nil {
		return nil, err
	}
	c.JWTSecret, err = c.resolveSecret(ctx, store)
	if err != nil {
		return nil, err
	}
	h := &Handler{log: c.Log}
	h.Accounts, err = newAccounts(o, c.JWTSecret, accounts.Config{
		Store: store, Passwords: passwords, Mailer: c.Mailer, FirstTier: c.FirstTier, Log: c.Log, ResetURL: c.ResetURL,
		ClosedRegistration: c.ClosedRegistration,
	})
	if err != nil {
		return nil, err
	}
	var tokens *domain.WorkerTokens
	if c.WorkerToken != "" {
		tokens = domain.NewWorkerTokens(c.WorkerToken)
	}
	h.Handler = newAPI(o, h.Accounts, store, httpapi.Config{
		WorkerTokens: tokens, RateLimits: true, Log: c.Log, Version: c.Version, CORSOrigins: c.CORSOrigins, TrustedProxies: c.TrustedProxies,
	})
	return h, nil
}

// newAPI returns the HTTP API of an orchestrator. It adds to the configuration what the
// orchestrator, its accounts and its store determine.
func newAPI(o *orchestrator.Orchestrator, a *accounts.Accounts, store *backend.Backend, c httpapi.Config) http.Handler {
	c.Services, c.Accounts, c.QRLife = o.Services, a, o.Timing().QRLife
	c.APIKeys = a.WithNotices(o.APIKeys) // mails owners what was done to their keys
	c.Limiter, c.Clock, c.IDs, c.Present = store.Limiter(), store.Clock(), store.IDs(), store.CheckPresence
	return httpapi.New(c)
}

// resolveSecret checks the secrets of the configuration and returns the JWT secret.
func (c HandlerConfig) resolveSecret(ctx context.Context, store *backend.Backend) (string, error) {
	for _, s := range []secret{jwtSecret(c.JWTSecret), workerToken(c.WorkerToken)} {
		if s.given != "" {
			if err := checkSecret("server: "+s.name, s.given); err != nil {
				return "", err
			}
		}
	}
	keep := &secrets{store: store, random: store.Random(), log: c.Log}
	if path := cmp.Or(c.SecretsFile, store.SecretsFile()); path != "" {
		keep.file = secretfile.New(path)
		if err := checkSecretsFile(path); err != nil {
			return "", err
		}
	}
	s := jwtSecret(c.JWTSecret)
	value, err := keep.find(ctx, s)
	if err != nil || value != "" {
		return value, err
	}
	if store.HasCoordination() {
		return "", errors.New("server: JWTSecret is required when replicas share a store; give all of them the same")
	}
	value, err = keep.generate(ctx, s)
	return value, errors.Join(err, keep.warnOfNew(ctx))
}

// Run maintains the accounts until ctx ends. It then waits up to ten seconds for mail that is
// being sent, and returns the error of ctx.
func (h *Handler) Run(ctx context.Context) error {
	err := maintainAccounts(ctx, h.Accounts, h.log)
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	return errors.Join(err, h.Accounts.Close(ending))
}
