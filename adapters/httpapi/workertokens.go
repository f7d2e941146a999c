package httpapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strings"

	"github.com/switchyard-wa/switchyard/domain"
)

// WorkerTokens checks the tokens of workers. The fleet token acts for every worker.
// A worker's own token, which its registration hands out, acts for that worker
// alone. Own tokens are derived from the fleet token: all replicas agree on them
// without storing them, and another fleet token changes them. Nil accepts no token.
// Make it with [NewWorkerTokens]. It is safe for concurrent use.
type WorkerTokens struct {
	key   []byte
	fleet [sha256.Size]byte
}

// NewWorkerTokens derives the tokens from the fleet's, which must not be empty.
func NewWorkerTokens(fleet string) *WorkerTokens {
	return &WorkerTokens{key: []byte(fleet), fleet: sha256.Sum256([]byte(fleet))}
}

const (
	workerTokenPrefix  = "wt_"
	workerTokenPurpose = "switchyard worker token"
)

// Of returns a worker's own token: wt_, its id, and the proof that it was made here.
func (t *WorkerTokens) Of(workerID string) string {
	mac := t.proof(workerID)
	return workerTokenPrefix + workerID + "_" + hex.EncodeToString(mac[:])
}

func (t *WorkerTokens) proof(workerID string) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, t.key)
	_, _ = mac.Write([]byte(workerTokenPurpose)) // never fails
	_, _ = mac.Write([]byte(workerID))
	mac.Sum(sum[:0])
	return sum
}

// Check reports whether a token is good, and for which worker; empty: for every
// one. How long it takes tells nothing of the right ones.
func (t *WorkerTokens) Check(token string) (workerID string, ok bool) {
	if t == nil {
		return "", false
	}
	sum := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(sum[:], t.fleet[:]) == 1 {
		return "", true
	}
	id, ok := strings.CutPrefix(token, workerTokenPrefix)
	end := strings.LastIndexByte(id, '_')
	if !ok || end < 0 {
		return "", false
	}
	said, err := hex.DecodeString(id[end+1:])
	id = id[:end]
	if err != nil || id == "" || id != domain.NormalizeWorkerRef(id) {
		return "", false
	}
	if mac := t.proof(id); !hmac.Equal(said, mac[:]) {
		return "", false
	}
	return id, true
}
