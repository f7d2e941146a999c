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

// A secret is one that replicas have to have in common: what one of them signs or
// hands out, the others accept.
type secret struct {
	flag  string // that gives it
	given string // empty: the one in the store, made at the first start
	name  string // of the setting that keeps one that was made
	check string // of the setting by which replicas notice that theirs differ
	must  bool   // be given, where replicas share a store that has none
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
	shared      bool // there may be replicas
	coordinated bool // replicas are meant to share the store
}

// resolve gives the secret to be used. Where there may be replicas, none is made
// or replaced that others who live do not have.
func (k *secrets) resolve(ctx context.Context, s secret) (value string, err error) {
	if value = s.given; value == "" {
		value, err = k.get(ctx, s.name)
	}
	if errors.Is(err, ports.ErrNotFound) {
		value, err = k.make(ctx, s)
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

// make gives a new secret, or the one that another replica has made meanwhile.
func (k *secrets) make(ctx context.Context, s secret) (string, error) {
	if !k.shared {
		return storedSecret(ctx, k.store, k.random, s.name)
	}
	if s.must && k.coordinated {
		return "", fmt.Errorf("%s is required when replicas share a store that has none yet; make one with: openssl rand -hex 32, and give all of them the same", s.flag)
	}
	wait := startupGrace // somebody was given one, it seems
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

// requireNoOtherReplica is an error if other replicas live: they have another secret.
func (k *secrets) requireNoOtherReplica(ctx context.Context, s secret, wait time.Duration) error {
	living, err := orchestrator.ReplicasAlive(ctx, k.store, wait)
	switch {
	case err != nil || !living:
		return err
	case !k.coordinated:
		return errNotAlone
	}
	return fmt.Errorf("another replica uses a different %s; give all of them the same, or stop the others to change it", s.flag)
}

// startupGrace is how long a replica may take from resolving its secrets to its first
// sign of life.
const startupGrace = 3 * time.Second

// compare is an error if replicas that live use another secret. If none does,
// this is the one from now on. What is kept for it is slow to compare with, so
// that a short secret cannot be guessed from it.
func (k *secrets) compare(ctx context.Context, s secret, value string) error {
	sum := sha256.Sum256([]byte(s.name + "\x00" + value)) // bcrypt looks at 72 bytes
	digest := hex.EncodeToString(sum[:])
	hash, err := k.passwords.Hash(digest)
	if err != nil {
		return err
	}
	for {
		var stands string
		err := k.store.Update(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
			stands, err = tx.Settings.PutIfAbsent(ctx, s.check, hash)
			return err
		})
		if err != nil || stands == hash || k.passwords.Matches(stands, digest) {
			return err
		}
		if err := k.requireNoOtherReplica(ctx, s, startupGrace); err != nil {
			return err
		}
		err = k.store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
			return tx.Settings.CompareAndSwap(ctx, s.check, stands, hash)
		})
		if err != nil && !errors.Is(err, ports.ErrConflict) { // a conflict: somebody else was first
			return err
		}
	}
}

// storedSecret gives the secret in the store, which is made if there is none.
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
