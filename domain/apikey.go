package domain

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
)

// APIKeyPrefix begins every API key, so that people and secret scanners
// recognise one.
const APIKeyPrefix = "wg_"

const (
	apiKeyRandom = 32  // random bytes in a key
	apiKeyChars  = 43  // base62 characters they take: 62^43 > 2^256
	apiKeyMin    = 32  // base62 characters a key must have
	apiKeyMax    = 128 // characters a key may have, prefix included
	apiKeyHint   = 7

	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// NewAPIKeyText writes the first 32 bytes of random as an API key: the prefix
// and 43 base62 characters. Different bytes give different keys, so the key is
// as hard to guess as they are. It panics if there are fewer than 32: a weak
// key is worse than none.
func NewAPIKeyText(random []byte) string {
	if len(random) < apiKeyRandom {
		panic(fmt.Sprintf("domain: NewAPIKeyText needs %d random bytes, got %d", apiKeyRandom, len(random)))
	}
	var n [apiKeyRandom / 8]uint64 // one 256-bit number, most significant first
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

// ParseAPIKey checks that text has the shape of an API key, the prefix and at
// least 32 base62 characters, 128 characters in all, and returns the SHA-256 of
// the whole text, which is all that is ever stored of a key. Whether there is
// such a key is for the store to say. It allocates nothing when the shape is
// right. Otherwise the error is [Unauthenticated] with [CodeAPIKeyInvalid].
func ParseAPIKey(text string) (hash [32]byte, err error) {
	if len(text) < len(APIKeyPrefix)+apiKeyMin || len(text) > apiKeyMax || !strings.HasPrefix(text, APIKeyPrefix) {
		return hash, errAPIKey()
	}
	for i := len(APIKeyPrefix); i < len(text); i++ {
		if !isAlnum(text[i]) {
			return hash, errAPIKey()
		}
	}
	var buf [apiKeyMax]byte // []byte(text) might move to the heap
	return sha256.Sum256(buf[:copy(buf[:], text)]), nil
}

func errAPIKey() error {
	return Errorf(Unauthenticated, CodeAPIKeyInvalid,
		"API key is not valid; use the key shown when the session was created or rotate it")
}

// APIKeyHint returns the first 7 characters of a key, enough for its owner to
// tell keys apart in a list.
func APIKeyHint(text string) string {
	return text[:min(apiKeyHint, len(text))]
}
