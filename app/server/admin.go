package server

import (
	"context"
	"errors"

	"github.com/switchyard-wa/switchyard/adapters/logmail"
	"github.com/switchyard-wa/switchyard/app/accounts"
	"github.com/switchyard-wa/switchyard/app/backend"
)

// Administer opens the store of a server, running or not, and calls fn with its
// accounts. A running server notices changes within a second.
func Administer(ctx context.Context, cfg Config, fn func(*accounts.Accounts) error) error {
	cfg = cfg.WithDefaults()
	if err := backend.Check(cfg.Store); err != nil {
		return err
	}
	if cfg.Store == "memory:" {
		return errors.New("a store in memory belongs to its process alone; name the store of the server")
	}
	b, err := backend.OpenOnly(ctx, cfg.Store)
	if err != nil {
		return err
	}
	secret, err := storedSecret(ctx, b, settingJWTSecret)
	if err != nil {
		return errors.Join(err, b.Close())
	}
	a, err := newAccounts(cfg, b, secret, logmail.New(cfg.Log), nil)
	if err != nil {
		return errors.Join(err, b.Close())
	}
	return errors.Join(fn(a), a.Close(ctx), b.Close())
}

// StoredWorkerToken gives the fleet token that the server of a store has
// generated, or generates for its first start.
func StoredWorkerToken(ctx context.Context, dsn string) (string, error) {
	if err := backend.Check(dsn); err != nil {
		return "", err
	}
	b, err := backend.Open(ctx, dsn)
	if err != nil {
		return "", err
	}
	token, err := storedSecret(ctx, b, settingWorkerToken)
	return token, errors.Join(err, b.Close())
}
