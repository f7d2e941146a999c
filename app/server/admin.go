package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/user"

	"github.com/switchyard-wa/switchyard/adapters/bcrypt"
	"github.com/switchyard-wa/switchyard/adapters/httpworker"
	"github.com/switchyard-wa/switchyard/adapters/logmail"
	"github.com/switchyard-wa/switchyard/adapters/secretfile"
	"github.com/switchyard-wa/switchyard/app/accounts"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/app/internal/audit"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Administer opens the store of a server and calls fn with its accounts. The server may be
// running. It then sees the changes within a second. The context of fn names the command
// line and the user of the operating system as the caller, for the audit trail.
func Administer(ctx context.Context, cfg Config, fn func(ctx context.Context, a *accounts.Accounts) error) error {
	cfg = cfg.WithDefaults()
	b, err := openExisting(ctx, cfg.Store)
	if err != nil {
		return err
	}
	secret, err := randomSecret(b.Random()) // signs nothing; the secret of the server may not be in the store
	if err != nil {
		return errors.Join(err, b.Close())
	}
	// The orchestrator records intents only. The running server calls the workers.
	o, err := orchestrator.New(orchestrator.Config{Store: b, Workers: httpworker.New(""), Log: cfg.Log})
	if err != nil {
		return errors.Join(err, b.Close())
	}
	passwords, err := bcrypt.New(bcrypt.Config{})
	if err != nil {
		return errors.Join(err, b.Close())
	}
	a, err := newAccounts(o, secret, accounts.Config{
		Store: b, Passwords: passwords, Mailer: logmail.New(cfg.Log), Log: cfg.Log, ResetURL: cfg.ResetURL,
	})
	if err != nil {
		return errors.Join(err, b.Close())
	}
	return errors.Join(fn(commandLine(ctx), a), a.Close(ctx), b.Close())
}

// commandLine returns a context whose caller is the command line.
func commandLine(ctx context.Context) context.Context {
	actor := domain.Actor{Kind: domain.ActorCLI}
	if u, err := user.Current(); err == nil {
		actor.ID = u.Username
	}
	return service.WithCaller(ctx, service.Caller{Actor: actor})
}

// ShowWorkerToken returns the fleet token that the server of a store has generated, and records
// in the audit trail of the store that the command line shows the token. The trail of a store in
// memory ends with its process and gets no entry. ShowWorkerToken moves no secret.
func ShowWorkerToken(ctx context.Context, cfg Config) (token string, err error) {
	cfg = cfg.WithDefaults()
	s := workerToken("")
	if cfg.SecretsFile != "" {
		entries, err := secretfile.New(cfg.SecretsFile).Read()
		if err != nil {
			return "", err
		}
		token = entries[s.name]
	}
	if token != "" && cfg.Store == "memory:" {
		return token, nil
	}
	b, err := openExisting(ctx, cfg.Store)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if token == "" { // earlier versions kept the token in a table
		token, err = (&secrets{store: b}).setting(ctx, s.former)
		if err == nil && token == "" {
			err = fmt.Errorf("%s has no fleet token: its server runs with --worker-token, or has another --secrets-file", cfg.SecretsFile)
		}
		if err != nil {
			return "", err
		}
	}
	if err := recordTokenShown(ctx, b); err != nil {
		return "", err
	}
	return token, nil
}

// recordTokenShown adds to the audit trail that the command line shows the fleet token.
func recordTokenShown(ctx context.Context, b *backend.Backend) error {
	trail := audit.Trail{Store: b, IDs: b.IDs(), Now: b.Clock().Now, Log: slog.New(slog.DiscardHandler)}
	return b.Update(commandLine(ctx), func(ctx context.Context, tx *ports.Tx) error {
		return trail.Record(ctx, tx, domain.AuditTokenShown, "token:fleet")
	})
}

// openExisting opens the store of a server that has been started before.
func openExisting(ctx context.Context, dsn string) (*backend.Backend, error) {
	if err := backend.Check(dsn); err != nil {
		return nil, err
	}
	if dsn == "memory:" {
		return nil, errors.New("a store in memory belongs to its process alone; name the store of the server")
	}
	b, err := backend.With(ctx, backend.Config{Store: dsn, CheckOnly: true, Beside: true})
	if err == nil {
		return b, nil
	}
	if st, e := backend.Status(ctx, dsn); e == nil && st.Version == 0 {
		return nil, fmt.Errorf("there is no store %s yet; start the server first, or name its store with --store", backend.Name(dsn))
	}
	return nil, err
}
