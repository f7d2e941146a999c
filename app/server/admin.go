package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/switchyard-wa/switchyard/adapters/bcrypt"
	"github.com/switchyard-wa/switchyard/adapters/httpworker"
	"github.com/switchyard-wa/switchyard/adapters/logmail"
	"github.com/switchyard-wa/switchyard/app/accounts"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
)

// Administer opens the store of a server, running or not, and calls fn with its
// accounts. A running server notices changes within a second.
func Administer(ctx context.Context, cfg Config, fn func(*accounts.Accounts) error) error {
	cfg = cfg.WithDefaults()
	b, err := openServers(ctx, cfg.Store)
	if err != nil {
		return err
	}
	secret, err := randomSecret(b.Random()) // nobody signs in here, and the server's may be in no store
	if err != nil {
		return errors.Join(err, b.Close())
	}
	// It records what has to go down; the server that runs calls the workers.
	o, err := orchestrator.New(orchestrator.Config{Store: b, Workers: httpworker.New(""), Log: cfg.Log})
	if err != nil {
		return errors.Join(err, b.Close())
	}
	passwords, err := bcrypt.New(bcrypt.Config{})
	if err != nil {
		return errors.Join(err, b.Close())
	}
	a, err := newAccounts(cfg, b, passwords, secret, logmail.New(cfg.Log), o.Users.ApplyChange)
	if err != nil {
		return errors.Join(err, b.Close())
	}
	return errors.Join(fn(a), a.Close(ctx), b.Close())
}

// StoredWorkerToken gives the fleet token that the server of a store has
// generated. It is an error if there is no such store.
func StoredWorkerToken(ctx context.Context, dsn string) (string, error) {
	b, err := openServers(ctx, dsn)
	if err != nil {
		return "", err
	}
	token, err := storedSecret(ctx, b, b.Random(), settingWorkerToken)
	return token, errors.Join(err, b.Close())
}

// openServers opens a store that a server has made.
func openServers(ctx context.Context, dsn string) (*backend.Backend, error) {
	if err := backend.Check(dsn); err != nil {
		return nil, err
	}
	if dsn == "memory:" {
		return nil, errors.New("a store in memory belongs to its process alone; name the store of the server")
	}
	b, err := backend.With(ctx, backend.Config{Store: dsn, CheckOnly: true})
	if err == nil {
		return b, nil
	}
	if st, e := backend.Status(ctx, dsn); e == nil && st.Version == 0 {
		return nil, fmt.Errorf("there is no store %s yet; start the server first, or name its store with --store", backend.Name(dsn))
	}
	return nil, err
}
