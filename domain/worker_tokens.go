package domain

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strings"
)

// WorkerTokens derives the credentials between the control plane and its workers from the fleet token.
// All replicas with the same fleet token agree on them without storing them.
//
// The fleet token speaks for every worker that has no own token, and registers any worker. An own token
// speaks for one worker in one epoch ([Worker.TokenEpoch]). A call token authenticates calls to that
// worker in the same epoch. The control plane does not accept call tokens. Nil knows no token.
// WorkerTokens is safe for concurrent use.
type WorkerTokens struct {
	fleet string
	sum   [sha256.Size]byte
}

// NewWorkerTokens returns the tokens of a fleet. The fleet token must not be empty.
func NewWorkerTokens(fleet string) *WorkerTokens {
	return &WorkerTokens{fleet: fleet, sum: sha256.Sum256([]byte(fleet))}
}

// The prefixes show people which kind of token they see.
const (
	ownTokenPrefix  = "wt_"
	callTokenPrefix = "ct_"
)

// Own returns a worker's own token: the prefix, its id, the epoch, and the proof.
func (t *WorkerTokens) Own(workerID, epoch string) string {
	return ownTokenPrefix + workerID + "_" + epoch + "_" + t.proof("own", workerID, epoch)
}

// Call returns the token with which the control plane calls a worker.
func (t *WorkerTokens) Call(workerID, epoch string) string {
	return callTokenPrefix + t.proof("call", workerID, epoch)
}

// proof derives a key from the fleet token. Neither ids nor epochs contain a NUL.
func (t *WorkerTokens) proof(direction, workerID, epoch string) string {
	info := "switchyard worker token\x00" + direction + "\x00" + workerID + "\x00" + epoch
	key, err := hkdf.Key(sha256.New, []byte(t.fleet), nil, info, sha256.Size)
	if err != nil {
		return "" // FIPS mode refuses a short fleet token; Identify accepts no empty proof
	}
	return hex.EncodeToString(key)
}

// TokenHolder is who shows a worker token. The zero value is a holder of the fleet token.
type TokenHolder struct {
	WorkerID string // empty: the fleet token, which names no worker
	Epoch    string // of the own token; Authorize compares it with Worker.TokenEpoch
}

// IsFleet reports whether the holder shows the fleet token.
func (h TokenHolder) IsFleet() bool { return h.WorkerID == "" }

// Identify returns the holder of the fleet token or of an own token. ok is false for any other text. The
// time that Identify takes reveals nothing about the tokens.
func (t *WorkerTokens) Identify(token string) (holder TokenHolder, ok bool) {
	if t == nil {
		return TokenHolder{}, false
	}
	sum := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(sum[:], t.sum[:]) == 1 {
		return TokenHolder{}, true
	}
	parts := strings.Split(token, "_")
	if len(parts) != 4 || parts[0]+"_" != ownTokenPrefix || parts[1] == "" || parts[2] == "" || parts[3] == "" ||
		parts[1] != NormalizeWorkerRef(parts[1]) {
		return TokenHolder{}, false
	}
	want := t.Own(parts[1], parts[2])
	if subtle.ConstantTimeCompare([]byte(want), []byte(token)) != 1 {
		return TokenHolder{}, false
	}
	return TokenHolder{WorkerID: parts[1], Epoch: parts[2]}, true
}

// Authorize returns nil if the holder's token speaks for the worker. w is nil for a worker that does not
// exist.
func (h TokenHolder) Authorize(w *Worker) error {
	switch {
	case h.IsFleet():
		if w != nil && w.Supports(CapOwnToken) && w.TokenEpoch != "" {
			return Errorf(Forbidden, CodeInsufficientPermission,
				"Worker %s has a token of its own, and the fleet token no longer speaks for it; use its own token or register again", w.ID)
		}
	case w == nil || w.ID != h.WorkerID || w.TokenEpoch == "" || w.TokenEpoch != h.Epoch:
		return Errorf(Unauthenticated, CodeAuthTokenInvalid,
			"This worker's own token has ended; register again with the fleet token to get another")
	}
	return nil
}
