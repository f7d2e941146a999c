package domain_test

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestCursor_Position_OpaqueText(t *testing.T) {
	require.Empty(t, domain.Cursor{}.String())
	zero, err := domain.ParseCursor("")
	require.NoError(t, err)
	require.Equal(t, domain.Cursor{}, zero)

	jakarta := time.FixedZone("WIB", 7*60*60)
	c := domain.Cursor{At: time.Date(2026, 3, 1, 19, 0, 0, 123456789, jakarta), ID: "m-1"}
	got, err := domain.ParseCursor(c.String())
	require.NoError(t, err)
	require.Equal(t, domain.Cursor{At: time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC), ID: "m-1"}, got)
}

func TestParseCursor_ForeignText_Refused(t *testing.T) {
	good := domain.Cursor{At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), ID: "m-1"}.String()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, s := range []string{
		" ", "null", "1", "%%%", good + "=", good + "\n", "\n" + good, good[:8], good + "!",
		base64.RawURLEncoding.EncodeToString(make([]byte, 8)[:7]),
		base64.RawURLEncoding.EncodeToString([]byte("\xff\xff\xff\xff\xff\xff\xff\xffid")[:9]) + "B",
		base64.RawURLEncoding.EncodeToString([]byte("\x7f\xff\xff\xff\xff\xff\xff\xffid")), // year 294247
		base64.RawURLEncoding.EncodeToString([]byte("\x80\x00\x00\x00\x00\x00\x00\x00id")),
		domain.Cursor{At: at, ID: "a\x00b"}.String(),
		domain.Cursor{At: at, ID: "a\xffb"}.String(),
		domain.Cursor{At: at, ID: strings.Repeat("x", 256)}.String(),
		strings.Repeat("A", 1<<20),
	} {
		got, err := domain.ParseCursor(s)
		requireRefused(t, err, "Cursor is not valid; use nextCursor from the previous page unchanged")
		require.Zero(t, got)
	}
}

func TestCursor_AnyPosition_RoundTrip(t *testing.T) {
	first := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	last := time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC).UnixMicro()
	rapid.Check(t, func(t *rapid.T) {
		c := domain.Cursor{
			At: time.UnixMicro(rapid.Int64Range(first, last).Draw(t, "at")).UTC(),
			ID: rapid.StringMatching(`[ -~é]{0,120}`).Draw(t, "id"),
		}
		text := c.String()
		require.Equal(t, text, url.QueryEscape(text), "safe in a URL")
		got, err := domain.ParseCursor(text)
		require.NoError(t, err)
		require.Equal(t, c, got)
	})
}

func FuzzParseCursor(f *testing.F) {
	f.Add("")
	f.Add("null")
	f.Add(domain.Cursor{At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), ID: "m-1"}.String())
	f.Add("AAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := domain.ParseCursor(s)
		if err != nil {
			requireRefused(t, err, "nextCursor")
			return
		}
		require.Equal(t, s, c.String(), "one text per cursor")
	})
}
