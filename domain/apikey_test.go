package domain_test

import (
	"crypto/sha256"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
)

var sampleKey = domain.NewAPIKeyText([]byte("0123456789abcdefghijklmnopqrstuv"))

func TestNewAPIKeyText_RandomBytes_PrefixAndBase62(t *testing.T) {
	require.Equal(t, "wg_"+strings.Repeat("0", 43), domain.NewAPIKeyText(make([]byte, 32)))
	require.Regexp(t, `^wg_[0-9A-Za-z]{43}$`, sampleKey)
	require.Equal(t, sampleKey, domain.NewAPIKeyText([]byte("0123456789abcdefghijklmnopqrstuvwxyz")))
	require.Panics(t, func() { domain.NewAPIKeyText(make([]byte, 31)) })
}

// The text is the random number in base 62, digit for digit. No key is likelier than another.
func TestNewAPIKeyText_RandomBytes_SameNumber(t *testing.T) {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	rapid.Check(t, func(t *rapid.T) {
		random := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "random")
		text := domain.NewAPIKeyText(random)
		n := new(big.Int)
		for _, c := range strings.TrimPrefix(text, domain.APIKeyPrefix) {
			n.Mul(n, big.NewInt(62)).Add(n, big.NewInt(int64(strings.IndexRune(digits, c))))
		}
		require.Equal(t, new(big.Int).SetBytes(random), n)

		hash, err := domain.ParseAPIKey(text)
		require.NoError(t, err)
		require.Equal(t, sha256.Sum256([]byte(text)), hash)
	})
}

func TestParseAPIKey_Shape_HashOrRefused(t *testing.T) {
	for _, text := range []string{
		sampleKey, "wg_" + strings.Repeat("a", 32), "wg_" + strings.Repeat("Z", 125),
	} {
		hash, err := domain.ParseAPIKey(text)
		require.NoError(t, err)
		require.Equal(t, sha256.Sum256([]byte(text)), hash)
	}
	for _, text := range []string{
		"", "wg_", sampleKey[3:], "WG_" + sampleKey[3:], " " + sampleKey, sampleKey + "\n", sampleKey + "-", sampleKey + "é",
		"wg_" + strings.Repeat("a", 31), "wg_" + strings.Repeat("a", 126), "Bearer " + sampleKey,
	} {
		hash, err := domain.ParseAPIKey(text)
		var e *domain.Error
		require.ErrorAs(t, err, &e, text)
		require.Equal(t, domain.Unauthenticated, e.Kind)
		require.Equal(t, domain.CodeAPIKeyInvalid, e.Code)
		require.Contains(t, e.Message, "use the key shown when the session was created")
		require.Zero(t, hash)
	}
}

func TestParseAPIKey_ValidKey_NoAllocation(t *testing.T) {
	longest := "wg_" + strings.Repeat("Z", 125)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_, _ = domain.ParseAPIKey(sampleKey)
		_, _ = domain.ParseAPIKey(longest)
	}))
}

func TestAPIKeyHint_AnyText_FirstCharacters(t *testing.T) {
	require.Equal(t, "wg_abcd", domain.APIKeyHint("wg_abcdefgh"))
	require.Equal(t, "wg_", domain.APIKeyHint("wg_"))
	require.Empty(t, domain.APIKeyHint(""))
}

func FuzzParseAPIKey(f *testing.F) {
	f.Add("")
	f.Add(sampleKey)
	f.Add("wg_" + strings.Repeat("a", 31) + "\xff")
	f.Fuzz(func(t *testing.T, text string) {
		hash, err := domain.ParseAPIKey(text)
		require.LessOrEqual(t, len(domain.APIKeyHint(text)), 7)
		if err != nil {
			require.Equal(t, domain.CodeAPIKeyInvalid, domain.CodeOf(err))
			return
		}
		require.Regexp(t, `^wg_[0-9A-Za-z]{32,125}$`, text)
		require.Equal(t, sha256.Sum256([]byte(text)), hash)
	})
}

func BenchmarkParseAPIKey(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := domain.ParseAPIKey(sampleKey); err != nil {
			b.Fatal(err)
		}
	}
}
