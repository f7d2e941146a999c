package aesgcm

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/switchyard-wa/switchyard/ports"
)

const (
	version = 1
	minKey  = 32 // bytes of the text from which the key is derived
)

// errOpen is the error for whatever does not open.
var errOpen = errors.New("the sealed secret does not open: it was changed, belongs to another row, or was sealed with another key")

// Sealer implements [ports.Sealer]. Make one with [New].
type Sealer struct {
	aead   cipher.AEAD
	random io.Reader
}

var _ ports.Sealer = (*Sealer)(nil)

// New returns a sealer whose key is derived from a secret text of at least 32 bytes. purpose separates
// keys that are derived from the same text.
func New(secret, purpose string, random ports.Random) (*Sealer, error) {
	if len(secret) < minKey {
		return nil, fmt.Errorf("the secret must have at least %d bytes", minKey)
	}
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, "switchyard "+purpose, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &Sealer{aead: aead, random: random}, nil
}

// Seal implements [ports.Sealer].
func (s *Sealer) Seal(secret []byte, bound string) ([]byte, error) {
	head := make([]byte, 1+s.aead.NonceSize(), 1+s.aead.NonceSize()+len(secret)+s.aead.Overhead())
	head[0] = version
	if _, err := io.ReadFull(s.random, head[1:]); err != nil {
		return nil, fmt.Errorf("drawing a nonce: %w", err)
	}
	return s.aead.Seal(head, head[1:], secret, []byte(bound)), nil
}

// Open implements [ports.Sealer].
func (s *Sealer) Open(sealed []byte, bound string) ([]byte, error) {
	head := 1 + s.aead.NonceSize()
	if len(sealed) < head || sealed[0] != version {
		return nil, errOpen
	}
	secret, err := s.aead.Open(nil, sealed[1:head], sealed[head:], []byte(bound))
	if err != nil {
		return nil, errOpen
	}
	return secret, nil
}
