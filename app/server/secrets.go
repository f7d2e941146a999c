package server

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"github.com/switchyard-wa/switchyard/adapters/aesgcm"
	"github.com/switchyard-wa/switchyard/adapters/secretfile"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/ports"
)

// secret describes a secret that is the same for all replicas.
type secret struct {
	flag   string // flag of the command line
	given  string // empty: the secret in the file, generated at the first start
	name   string // entry of the secrets file
	former string // setting in which earlier versions kept the secret, and a store in memory keeps it
	check  string // setting that keeps the hash
}

func jwtSecret(given string) secret {
	return secret{flag: "--jwt-secret", given: given, name: "jwt-secret", former: "secret.jwt", check: "check.jwt"}
}

func workerToken(given string) secret {
	return secret{flag: "--worker-token", given: given, name: "worker-token", former: "secret.worker-token", check: "check.worker-token"}
}

func webhookKey(given string) secret {
	return secret{flag: "--webhook-key", given: given, name: "webhook-key", former: "secret.webhook-key", check: "check.webhook-key"}
}

// sealer returns the encryption of the secrets of webhooks. It returns nil where webhooks are off: no key was
// given or kept, and none can be generated. Replicas that share a store are given one: a replica never generates
// a key that the others do not have.
func (k *secrets) sealer(ctx context.Context, given string) (ports.Sealer, error) {
	key, err := k.resolve(ctx, webhookKey(given))
	var missing notGeneratedError
	switch {
	case errors.As(err, &missing):
		k.log.WarnContext(ctx, "webhooks are off", "error", err)
		return nil, nil
	case err != nil:
		return nil, err
	}
	return aesgcm.New(key, "webhooks", k.random)
}

// notGeneratedError is the error of a secret that was neither given nor kept, and cannot be generated.
type notGeneratedError struct{ error }

func (e notGeneratedError) Unwrap() error { return e.error }

// minSecret is the least length of a secret in bytes.
const minSecret = 32

// checkSecret returns an error if a value is too weak or malformed. source names the value
// for people.
func checkSecret(source, value string) error {
	switch {
	case len(value) < minSecret:
		return fmt.Errorf("%s must have at least %d bytes; make one with: openssl rand -hex 32", source, minSecret)
	case strings.Trim(value, value[:1]) == "":
		return fmt.Errorf("%s must not be one character repeated; make one with: openssl rand -hex 32", source)
	case value != strings.TrimSpace(value) || strings.ContainsFunc(value, unicode.IsControl):
		return fmt.Errorf("%s must have no line breaks or control characters, and no blanks around it; make one with: openssl rand -hex 32", source)
	}
	return nil
}

// CheckSecretsFile returns an error if the secrets file of a store cannot be used. A missing
// file is fine. An empty path stands for the default of the store.
func CheckSecretsFile(store, path string) error {
	path = cmp.Or(path, backend.SecretsFile(store))
	if path == "" {
		return nil
	}
	if err := checkSecretsFile(path); err != nil {
		return fmt.Errorf("--secrets-file: %w", err)
	}
	return nil
}

// checkSecretsFile returns an error if a server cannot use a secrets file. A missing file is fine.
func checkSecretsFile(path string) error {
	entries, err := secretfile.New(path).Read()
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range []secret{jwtSecret(""), workerToken(""), webhookKey("")} {
		if value := entries[s.name]; value != "" {
			errs = append(errs, checkSecret(s.name+" in "+path, value))
		}
	}
	return errors.Join(errs...)
}

// secrets resolves which secrets a server uses.
type secrets struct {
	store       ports.Store
	file        *secretfile.File // nil: a store in memory keeps generated secrets
	random      ports.Random
	passwords   ports.Passwords
	shared      bool // other replicas may work on the store
	coordinated bool // replicas share a Coordination
	log         *slog.Logger

	generated []string // entries of the file that this start has made
}

// resolve returns the secret to use. It neither generates nor replaces a secret that differs
// from the secret of another live replica. The error is a notGeneratedError if there is no secret.
func (k *secrets) resolve(ctx context.Context, s secret) (value string, err error) {
	value, err = k.find(ctx, s)
	if err != nil {
		return "", err
	}
	if value == "" {
		value, err = k.generate(ctx, s)
		if err != nil {
			return "", notGeneratedError{err}
		}
	}
	if k.shared {
		err = k.compare(ctx, s, value)
	}
	return value, err
}

// find returns the secret that was given or is kept, or "".
func (k *secrets) find(ctx context.Context, s secret) (string, error) {
	if k.file == nil {
		if s.given != "" {
			return s.given, nil
		}
		return k.setting(ctx, s.former)
	}
	if err := k.moveToFile(ctx, s); err != nil || s.given != "" {
		return s.given, err
	}
	entries, err := k.file.Read()
	return entries[s.name], err
}

// moveToFile moves a secret from the table, where earlier versions kept it, to the file. The
// secret is on the disk before it leaves the table. A secret that is given needs no file.
func (k *secrets) moveToFile(ctx context.Context, s secret) error {
	kept, err := k.setting(ctx, s.former)
	if err != nil || kept == "" {
		return err
	}
	_, err = k.file.Add(map[string]string{s.name: kept})
	if err != nil {
		if s.given == "" {
			return fmt.Errorf("moving %s from the database to the secrets file: %w", s.name, err)
		}
		k.log.WarnContext(ctx, "unused secret deleted from database", "secret", s.name, "error", err)
	} else {
		k.log.InfoContext(ctx, "secret moved from database to file", "secret", s.name, "file", k.file.Path())
	}
	return k.store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		return tx.Settings.Delete(ctx, s.former)
	})
}

// setting returns a setting, or "" if there is none.
func (k *secrets) setting(ctx context.Context, name string) (value string, err error) {
	err = k.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		value, err = tx.Settings.Get(ctx, name)
		return err
	})
	if errors.Is(err, ports.ErrNotFound) {
		return "", nil
	}
	return value, err
}

// generate returns a new secret, or the secret that another process has generated meanwhile.
func (k *secrets) generate(ctx context.Context, s secret) (string, error) {
	if k.shared && k.coordinated {
		return "", fmt.Errorf("%s is required when replicas share a store; make one with: openssl rand -hex 32, and give all of them the same (one that was generated is in the secrets file)", s.flag)
	}
	if k.shared {
		wait := startupGrace // a replica may run with a given secret
		checked, err := k.setting(ctx, s.check)
		if err != nil {
			return "", err
		}
		if checked == "" {
			wait = 0
		}
		if err := k.requireNoOtherReplica(ctx, s, wait); err != nil {
			return "", err
		}
	}
	fresh, err := randomSecret(k.random)
	if err != nil {
		return "", err
	}
	if k.file != nil {
		entries, err := k.file.Add(map[string]string{s.name: fresh})
		if err != nil {
			return "", fmt.Errorf("%w; give %s, or name another --secrets-file", err, s.flag)
		}
		if entries[s.name] == fresh { // otherwise another process was first
			k.generated = append(k.generated, s.name)
		}
		return entries[s.name], nil
	}
	err = k.store.Update(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		fresh, err = tx.Settings.PutIfAbsent(ctx, s.former, fresh)
		return err
	})
	return fresh, err
}

// warnOfNew logs once that secrets were generated for a store in use. Its clients and workers
// know other secrets, which are missing. A store is in use once it has a worker, a second user,
// or a user who has signed in. The package comment says why the start goes on.
func (k *secrets) warnOfNew(ctx context.Context) error {
	if len(k.generated) == 0 {
		return nil
	}
	isUsed := false
	err := k.store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		_, workers, err := tx.Workers.List(ctx, ports.WorkerFilter{}, ports.Page{Limit: 1})
		if err != nil {
			return err
		}
		latest, users, err := tx.Users.List(ctx, ports.UserFilter{Sort: "lastLoginAt"}, ports.Page{Limit: 1})
		isUsed = workers > 0 || users > 1 || users == 1 && !latest[0].LastLoginAt.IsZero()
		return err
	})
	if err == nil && isUsed {
		k.log.WarnContext(ctx, "secrets of a store in use were missing", "generated", strings.Join(k.generated, ","), "file", k.file.Path(),
			"fix", "restore the file from a backup and restart, or give workers the new token")
	}
	return err
}

// requireNoOtherReplica returns an error if another replica is alive. That replica has another
// secret.
func (k *secrets) requireNoOtherReplica(ctx context.Context, s secret, wait time.Duration) error {
	alive, err := orchestrator.ReplicasAlive(ctx, k.store, wait)
	switch {
	case err != nil || !alive:
		return err
	case !k.coordinated:
		return errNotAlone
	}
	return fmt.Errorf("another replica uses a different %s; give all of them the same, or stop the others to change it", s.flag)
}

// startupGrace is how long a replica may take from resolving its secrets to its first
// heartbeat.
const startupGrace = 3 * time.Second

// compare returns an error if a live replica uses another secret. If no replica is alive, it
// replaces the hash in the store.
func (k *secrets) compare(ctx context.Context, s secret, value string) error {
	sum := sha256.Sum256([]byte(s.former + "\x00" + value)) // bcrypt reads 72 bytes only
	digest := hex.EncodeToString(sum[:])
	hash, err := k.passwords.Hash(ctx, digest)
	if err != nil {
		return err
	}
	for {
		var stored string
		err := k.store.Update(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
			stored, err = tx.Settings.PutIfAbsent(ctx, s.check, hash)
			return err
		})
		if err != nil || stored == hash {
			return err
		}
		same, err := k.passwords.Matches(ctx, stored, digest)
		if err != nil || same {
			return err
		}
		if err := k.requireNoOtherReplica(ctx, s, startupGrace); err != nil {
			return err
		}
		err = k.store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
			return tx.Settings.CompareAndSwap(ctx, s.check, stored, hash)
		})
		if err != nil && !errors.Is(err, ports.ErrConflict) { // conflict: another replica was first
			return err
		}
	}
}

func randomSecret(from ports.Random) (string, error) {
	random := make([]byte, 32)
	_, err := from.Read(random)
	return hex.EncodeToString(random), err
}
