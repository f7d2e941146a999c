package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/ports"
)

// secret describes a secret that is the same for all replicas.
type secret struct {
	flag  string // flag of the command line
	given string // empty: the secret in the store, generated at the first start
	name  string // setting that keeps a generated secret
	check string // setting that keeps the hash
	must  bool   // coordinated replicas do not generate it
}

func (s *Server) jwtSecret() secret {
	return secret{flag: "--jwt-secret", given: s.cfg.JWTSecret, name: settingJWTSecret, check: "check.jwt", must: true}
}

func (s *Server) workerToken() secret {
	return secret{flag: "--worker-token", given: s.cfg.WorkerToken, name: settingWorkerToken, check: "check.worker-token"}
}

// The settings that keep generated secrets.
const (
	settingJWTSecret   = "secret.jwt"
	settingWorkerToken = "secret.worker-token"
)

// secrets resolves which secrets a server uses.
type secrets struct {
	store       ports.Store
	random      ports.Random
	passwords   ports.Passwords
	shared      bool // other replicas may work on the store
	coordinated bool // replicas share a Coordination
}

// resolve returns the secret to use. It neither generates nor replaces a secret that differs
// from the secret of another live replica.
func (k *secrets) resolve(ctx context.Context, s secret) (value string, err error) {
	value = s.given
	if value == "" {
		value, err = k.get(ctx, s.name)
	}
	if errors.Is(err, ports.ErrNotFound) {
		value, err = k.generate(ctx, s)
	}
	if err == nil && k.shared {
		err = k.compare(ctx, s, value)
	}
	return value, err
}

func (k *secrets) get(ctx context.Context, name string) (value string, err error) {
	err = k.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		value, err = tx.Settings.Get(ctx, name)
		return err
	})
	return value, err
}

// generate returns a new secret, or the secret that another replica has generated meanwhile.
func (k *secrets) generate(ctx context.Context, s secret) (string, error) {
	if !k.shared {
		return storedSecret(ctx, k.store, k.random, s.name)
	}
	if s.must && k.coordinated {
		return "", fmt.Errorf("%s is required when replicas share a store that has none yet; make one with: openssl rand -hex 32, and give all of them the same", s.flag)
	}
	wait := startupGrace // a replica may run with a given secret
	if _, err := k.get(ctx, s.check); errors.Is(err, ports.ErrNotFound) {
		if k.coordinated {
			return storedSecret(ctx, k.store, k.random, s.name)
		}
		wait = 0
	} else if value, err := k.get(ctx, s.name); !errors.Is(err, ports.ErrNotFound) {
		return value, err
	}
	if err := k.requireNoOtherReplica(ctx, s, wait); err != nil {
		return "", err
	}
	return storedSecret(ctx, k.store, k.random, s.name)
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
	sum := sha256.Sum256([]byte(s.name + "\x00" + value)) // bcrypt reads 72 bytes only
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

// storedSecret returns the secret in the store. It generates the secret if there is none.
func storedSecret(ctx context.Context, store ports.Store, from ports.Random, name string) (value string, err error) {
	fresh, err := randomSecret(from)
	if err != nil {
		return "", err
	}
	err = store.Update(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		value, err = tx.Settings.PutIfAbsent(ctx, name, fresh)
		return err
	})
	return value, err
}

func randomSecret(from ports.Random) (string, error) {
	random := make([]byte, 32)
	_, err := from.Read(random)
	return hex.EncodeToString(random), err
}
