package domain

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
)

// APIKeyPrefix begins every API key. People and secret scanners recognise keys by it.
const APIKeyPrefix = "wg_"

const (
	apiKeyRandom = 32  // random bytes in a key
	apiKeyChars  = 43  // base62 characters for apiKeyRandom bytes: 62^43 > 2^256
	apiKeyMin    = 32  // least base62 characters of a key
	apiKeyMax    = 128 // most characters of a key, with the prefix
	apiKeyHint   = 7   // characters of a hint

	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// NewAPIKeyText returns the first 32 bytes of random as an API key: the prefix and 43 base62
// characters. Different bytes make different keys, so a key is as hard to guess as the bytes.
// NewAPIKeyText panics if random has fewer than 32 bytes: a weak key is worse than none.
func NewAPIKeyText(random []byte) string {
	if len(random) < apiKeyRandom {
		panic(fmt.Sprintf("domain: NewAPIKeyText needs %d random bytes, got %d", apiKeyRandom, len(random)))
	}
	var n [apiKeyRandom / 8]uint64 // one 256-bit number, most significant word first
	for i := range n {
		n[i] = binary.BigEndian.Uint64(random[8*i:])
	}
	var text [len(APIKeyPrefix) + apiKeyChars]byte
	copy(text[:], APIKeyPrefix)
	for at := len(text) - 1; at >= len(APIKeyPrefix); at-- {
		var digit uint64
		for i := range n {
			n[i], digit = bits.Div64(digit, n[i], 62)
		}
		text[at] = base62[digit]
	}
	return string(text[:])
}

// ParseAPIKey returns the SHA-256 of an API key, which is all that a store keeps of a key. It checks
// the shape only: the prefix, at least 32 base62 characters, at most 128 characters in all. Only the
// store knows whether the key exists. Text of another shape is [Unauthenticated] with
// [CodeAPIKeyInvalid]. A key of the right shape costs no allocation.
func ParseAPIKey(text string) (hash [32]byte, err error) {
	if len(text) < len(APIKeyPrefix)+apiKeyMin || len(text) > apiKeyMax || !strings.HasPrefix(text, APIKeyPrefix) {
		return hash, errAPIKey()
	}
	for i := len(APIKeyPrefix); i < len(text); i++ {
		if !isAlnum(text[i]) {
			return hash, errAPIKey()
		}
	}
	var buf [apiKeyMax]byte // []byte(text) may escape to the heap
	return sha256.Sum256(buf[:copy(buf[:], text)]), nil
}

// errAPIKey returns the error for a key that does not exist or was revoked.
func errAPIKey() error {
	return Errorf(Unauthenticated, CodeAPIKeyInvalid,
		"API key is not valid; use the key shown when the session was created or rotate it")
}

// APIKeyHint returns the first 7 characters of a key. They distinguish the keys in a list.
func APIKeyHint(text string) string {
	return text[:min(apiKeyHint, len(text))]
}
