package domain_test

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
)

// mediaProblem returns why media is refused, or "".
func mediaProblem(media string) string {
	m := domain.Outgoing{To: someone, Type: domain.TypeAudio, Media: media}
	err := m.Validate()
	var e *domain.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return ""
}

// wrapped returns text in lines of a width.
func wrapped(text string, width int, newline string) string {
	var lines []string
	for line := range slices.Chunk([]byte(text), width) {
		lines = append(lines, string(line))
	}
	return strings.Join(lines, newline) + newline
}

func TestOutgoingValidate_Base64OfAnyForm_Accepted(t *testing.T) {
	long := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("Switchyard", 40)))
	for _, media := range []string{
		"YQ==", "YWI=", "YWJj", "YWJjZA==", "+/+/", "-_-_", "YQ", "YWI", "YWJjZA", "YWJj\n", "YW Jj", "YW\nJj",
		wrapped(long, 64, "\n"), wrapped(long, 64, "\r\n"), wrapped(long, 76, "\n"), wrapped(long, 76, "\r\n"),
		strings.TrimRight(long, "="), "data:audio/ogg;base64,YWJj", "data:;base64,YQ==", "data:audio/ogg;codecs=opus;base64,YWJj",
		"DATA:audio/ogg;BASE64,YWJj", "Data:Audio/Ogg;Base64, YWJj", "data:audio/ogg; codecs=opus;base64,YWJj",
		" data:audio/ogg;base64,\r\n" + wrapped(long, 76, "\r\n"), "data:;charset=utf-8;base64,YQ",
	} {
		require.Empty(t, mediaProblem(media), "%q", media)
	}
}

func TestOutgoingValidate_NoBase64_SaysWhyAndWhere(t *testing.T) {
	for media, want := range map[string]string{
		"Y":                           "it ends in the middle, after 1 characters of content",
		"YWJjY":                       "it ends in the middle, after 5 characters of content",
		"YQ=":                         "2 characters of content and 1 of padding do not fit together",
		"YWJj=":                       "4 characters of content and 1 of padding do not fit together",
		"=":                           "there is no content",
		" \n":                         "there is no content",
		"data:audio/ogg;base64,":      "there is no content",
		"YQ==YQ==":                    "character 5 follows the padding",
		"YWJ*":                        "character 4 is '*'",
		"YWJ\x00":                     "character 4 is U+0000",
		"YWJé":                        "character 4 is U+00E9",
		"data:audio/ogg;base64,YW\fJ": "character 25 is U+000C",
		"YW%2B":                       "character 3 is '%'",
		"data:audio/ogg,YWJj":         "a data URL must begin like data:image/png;base64,",
		"data:":                       "a data URL needs a comma after ;base64",
		"data:a\"b\\;base64,YWJj":     "the media type of the data URL is invalid; write it like image/png",
		"data:a\r\nb/c;base64,YWJj":   "the media type of the data URL is invalid; write it like image/png",
	} {
		require.Equal(t, "Media must be base64: "+want, mediaProblem(media), "%q", media)
	}
}

func TestAppendBase64_AcceptedText_StandardForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkBase64(t, rapid.OneOf(
			rapid.StringMatching(`[A-Za-z0-9+/]{1,12}={0,3}`),
			rapid.StringMatching(`[AB=/ -]{1,9}`),
			rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 20), base64.StdEncoding.EncodeToString),
			rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 200), func(b []byte) string {
				return wrapped(base64.URLEncoding.EncodeToString(b), 76, "\r\n")
			}),
		).Draw(t, "text"))
	})
}

func TestBase64_LongMedia_IsNotCopied(t *testing.T) {
	media := wrapped(strings.Repeat("QUJD", 100_000), 76, "\r\n")
	m := domain.Outgoing{To: someone, Type: domain.TypeImage, Media: media}
	room := make([]byte, 0, len(media))
	require.Zero(t, testing.AllocsPerRun(10, func() {
		_, text := domain.CutDataURL(media)
		domain.AppendBase64(room, text)
	}))
	require.Less(t, testing.AllocsPerRun(10, func() { _ = m.Validate() }), 5.0)
}

func FuzzBase64(f *testing.F) {
	for _, s := range []string{"YQ==", "YQ", "-_-_", "YW Jj\r\n", "YQ=\n=", "YWJjY", "=", "", "YQ==YQ==", "YWJj===="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) { checkBase64(t, text) })
}

// checkBase64 compares the rule with encoding/base64.
func checkBase64(t require.TestingT, text string) {
	if kind, rest := domain.CutDataURL(text); kind != "" || rest != text {
		return
	}
	plain := strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "", "-", "+", "_", "/").Replace(text)
	encoding := base64.StdEncoding
	if !strings.Contains(plain, "=") {
		encoding = base64.RawStdEncoding
	}
	want, err := encoding.DecodeString(plain)
	isBase64 := err == nil && plain != "" && !strings.ContainsAny(text, "\v\f")
	require.Equal(t, isBase64, mediaProblem(text) == "", "%q: %s", text, mediaProblem(text))
	if !isBase64 {
		return
	}
	got, err := base64.StdEncoding.DecodeString(string(domain.AppendBase64(nil, text)))
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Equal(t, "x"+string(domain.AppendBase64(nil, text)), string(domain.AppendBase64([]byte("x"), text)))
}
