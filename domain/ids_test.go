package domain_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
)

var normalizedID = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// requireRefused checks that err is safe to show and has the code of invalid input.
func requireRefused(t require.TestingT, err error, message string) {
	var e *domain.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, domain.Invalid, e.Kind)
	require.Equal(t, domain.CodeValidation, e.Code)
	require.Contains(t, e.Message, message)
}

// untidy returns text that is nearly an id, or random text.
func untidy() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringMatching(`[ A-Za-z0-9_.:@-]{0,110}`),
		rapid.StringMatching(`[A-Za-z0-9_-]{0,102}`),
		rapid.String(),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
	)
}

func TestNormalizeWorkerID_Spelling_CanonicalOrRefused(t *testing.T) {
	for raw, want := range map[string]string{
		"worker-1":                               "worker-1",
		"  PRODUCTION   Worker   SERVER   001  ": "production-worker-server-001",
		"Worker@#$%^&*()_+Test_123":              "worker-test-123",
		"--a--b--":                               "a-b",
		"Ünï Code 7":                             "n-code-7",
		"\u212Aelvin":                            "elvin", // the Kelvin sign is not the letter k
		"\xff\xfeabc\x00":                        "abc",
		strings.Repeat("x", 50) + " ":            strings.Repeat("x", 50),
		strings.Repeat("x", 48) + "//y":          strings.Repeat("x", 48) + "-y",
	} {
		got, err := domain.NormalizeWorkerID(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, got)
		require.Equal(t, want, domain.NormalizeWorkerRef(raw))
	}
	for _, raw := range []string{
		"", "  ", "ab", "-ab-", "日本語", strings.Repeat("x", 51), strings.Repeat("x", 49) + "-y",
	} {
		_, err := domain.NormalizeWorkerID(raw)
		requireRefused(t, err, "3 to 50 characters")
		require.Equal(t, raw, domain.NormalizeWorkerRef(raw))
	}
}

func TestNormalizeWorkerID_AnyText_StableOrRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkWorkerID(t, untidy().Draw(t, "raw")) })
}

func FuzzNormalizeWorkerID(f *testing.F) {
	for _, s := range []string{"", "worker-1", " PRODUCTION  001 ", "\xff\x00--", strings.Repeat("a-", 60)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) { checkWorkerID(t, raw) })
}

func checkWorkerID(t require.TestingT, raw string) {
	id, err := domain.NormalizeWorkerID(raw)
	if err != nil {
		require.Empty(t, id)
		require.Equal(t, raw, domain.NormalizeWorkerRef(raw))
		return
	}
	require.Regexp(t, normalizedID, id)
	require.GreaterOrEqual(t, len(id), 3)
	require.LessOrEqual(t, len(id), 50)
	again, err := domain.NormalizeWorkerID(id)
	require.NoError(t, err)
	require.Equal(t, id, again)
	require.Equal(t, id, domain.NormalizeWorkerRef(raw))
}

func TestNormalizeSessionID_Spelling_CanonicalOrRefused(t *testing.T) {
	for raw, want := range map[string]string{
		"support":                "support",
		"My_Session-01":          "my-session-01",
		"__a_-_b--c__":           "a-b-c",
		strings.Repeat("Z", 100): strings.Repeat("z", 100),
	} {
		got, err := domain.NormalizeSessionID(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, got)
		require.Equal(t, want, domain.NormalizeSessionRef(raw))
	}
	for raw, message := range map[string]string{
		"":                       "3 to 100 characters",
		"ab":                     "3 to 100 characters",
		" abc ":                  "only letters, digits",
		"my session":             "only letters, digits",
		"a/b/c":                  "only letters, digits",
		"café":                   "only letters, digits",
		strings.Repeat("z", 101): "3 to 100 characters",
		"----":                   "keep at least 3 characters",
		"_ab_":                   "keep at least 3 characters",
	} {
		_, err := domain.NormalizeSessionID(raw)
		requireRefused(t, err, message)
		require.Equal(t, raw, domain.NormalizeSessionRef(raw))
	}
}

func TestNormalizeSessionID_AnyText_StableOrRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkSessionID(t, untidy().Draw(t, "raw")) })
}

func FuzzNormalizeSessionID(f *testing.F) {
	for _, s := range []string{"", "support", "My_Session-01", "___", "\xff\x00--", strings.Repeat("a-", 60)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) { checkSessionID(t, raw) })
}

func checkSessionID(t require.TestingT, raw string) {
	id, err := domain.NormalizeSessionID(raw)
	if err != nil {
		require.Empty(t, id)
		require.Equal(t, raw, domain.NormalizeSessionRef(raw))
		return
	}
	requireSessionID(t, id)
	require.Equal(t, id, domain.NormalizeSessionRef(raw))
}

func requireSessionID(t require.TestingT, id string) {
	require.Regexp(t, normalizedID, id)
	require.GreaterOrEqual(t, len(id), 3)
	require.LessOrEqual(t, len(id), 100)
	again, err := domain.NormalizeSessionID(id)
	require.NoError(t, err)
	require.Equal(t, id, again)
}

func TestNormalizeRef_CanonicalID_NoAllocation(t *testing.T) {
	session, worker := "support-line-01", "worker-my-host-example-com-8001"
	require.Zero(t, testing.AllocsPerRun(100, func() {
		domain.NormalizeSessionRef(session)
		domain.NormalizeWorkerRef(worker)
	}))
}

func TestDeriveSessionID_Name_HyphenatedWithNonce(t *testing.T) {
	random := []byte{1, 2, 3, 4, 5, 6, 7, 8}
	require.Regexp(t, `^support-line-[0-9a-z]{8}$`, domain.DeriveSessionID("  Support Line! ", random))
	require.Regexp(t, `^session-[0-9a-z]{8}$`, domain.DeriveSessionID("日本", random))
	require.Regexp(t, `^session-[0-9a-z]{8}$`, domain.DeriveSessionID("", nil))
	require.Regexp(t, `^a-[0-9a-z]{8}$`, domain.DeriveSessionID("a", random))
	require.Regexp(t, `^x{91}-[0-9a-z]{8}$`, domain.DeriveSessionID(strings.Repeat("x", 300), random))
	require.Regexp(t, `^x{90}-[0-9a-z]{8}$`, domain.DeriveSessionID(strings.Repeat("x", 90)+" y", random))
	require.Equal(t, domain.DeriveSessionID("a", random), domain.DeriveSessionID("a", random))
}

func TestDeriveSessionID_AnyName_NormalizedID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := untidy().Draw(t, "name")
		one := rapid.SliceOfN(rapid.Byte(), 8, 16).Draw(t, "one")
		other := rapid.SliceOfN(rapid.Byte(), 8, 16).Draw(t, "other")
		id := domain.DeriveSessionID(name, one)
		requireSessionID(t, id)
		require.Equal(t, string(one) == string(other), id == domain.DeriveSessionID(name, other))
	})
}

func TestParseEndpoint_URL_CanonicalOrRefused(t *testing.T) {
	for raw, want := range map[string]string{
		"http://10.0.0.5:8001":                 "http://10.0.0.5:8001",
		"  HTTPS://My-Host.Example.COM:443/  ": "https://my-host.example.com:443",
		"http://worker_1":                      "http://worker_1",
		"http://localhost:80":                  "http://localhost:80",
		"http://h:8001/Pool/w-1//":             "http://h:8001/Pool/w-1",
		"http://[0:0:0:0:0:0:0:1]:8001":        "http://[::1]:8001",
		"https://[2001:DB8::A]/x":              "https://[2001:db8::a]/x",
		"https://a.b./":                        "https://a.b",
		"http://localhost.:8001":               "http://localhost:8001",
		"http://127.0.0.1.:8001":               "http://127.0.0.1:8001",
		"http://[::ffff:10.0.0.5]:8001":        "http://10.0.0.5:8001",
		"https://a.b../":                       "",
		"http://.:8001":                        "",
		"http://h:08":                          "",
		"http://h:0":                           "",
		"http://h:65536":                       "",
		"http://h:":                            "",
		"http://:8001":                         "",
		"http://":                              "",
		"http:///x":                            "",
		"http:h":                               "",
		"//h:8001":                             "",
		"h:8001":                               "",
		"10.0.0.5:8001":                        "",
		"ftp://h":                              "",
		"":                                     "",
		"http://u@h":                           "",
		"http://u:p@h":                         "",
		"http://@h":                            "",
		"http://h?":                            "",
		"http://h?a=b":                         "",
		"http://h#":                            "",
		"http://h#f":                           "",
		"http://h/a/../b":                      "",
		"http://h/./a":                         "",
		"http://h/a//b":                        "",
		"http://h/%2e%2e/a":                    "",
		"http://h/a b":                         "",
		"http://a b":                           "",
		"http://a%20b":                         "",
		"http://-h":                            "",
		"http://bücher.example":                "",
		"http://\u212Aelvin":                   "",
		"http://300.1.1.1":                     "",
		"http://127.1":                         "",
		"http://2130706433":                    "",
		"http://[::1":                          "",
		"http://[10.0.0.5]:8001":               "",
		"http://[fe80::1%25eth0]:8001":         "",
		"http://h\x00":                         "",
		"http://" + strings.Repeat("a", 64):    "",
		"http://h/" + strings.Repeat("a", 246): "http://h/" + strings.Repeat("a", 246),
		"http://h/" + strings.Repeat("a", 247): "",
		"http://" + strings.Repeat("a.", 130):  "",
		"http://h:8001/" + strings.Repeat("/", 300): "http://h:8001",
	} {
		got, err := domain.ParseEndpoint(raw)
		if want != "" {
			require.NoError(t, err, raw)
			require.Equal(t, want, got)
			continue
		}
		requireRefused(t, err, "Endpoint must be ")
		require.Empty(t, got)
	}

	_, err := domain.ParseEndpoint("10.0.0.5:8001")
	requireRefused(t, err, "Endpoint must be an http:// or https:// URL such as http://10.0.0.5:8001")
}

func TestWorkerIDFromEndpoint_URL_DerivedID(t *testing.T) {
	for endpoint, want := range map[string]string{
		"http://my-host.example.com:8001":   "worker-my-host-example-com-8001",
		"HTTP://My-Host.example.com:8001/":  "worker-my-host-example-com-8001",
		"http://10.0.0.5:8001":              "worker-10-0-0-5-8001",
		"https://h":                         "worker-h",
		"http://h:8001/pool/a":              "worker-h-8001-pool-a",
		"http://[::1]:8001":                 "worker-1-8001",
		"http://" + strings.Repeat("a", 43): "worker-" + strings.Repeat("a", 43),
	} {
		got, err := domain.WorkerIDFromEndpoint(endpoint)
		require.NoError(t, err, endpoint)
		require.Equal(t, want, got)
	}

	one, err := domain.WorkerIDFromEndpoint("http://a-rather-long-host-name.in-some.region.example.com:8001")
	require.NoError(t, err)
	require.Equal(t, "worker-a-rather-long-host-name-in-some-re-f9c0c087", one)
	other, err := domain.WorkerIDFromEndpoint("http://a-rather-long-host-name.in-some.region.example.com:8002")
	require.NoError(t, err)
	require.NotEqual(t, one, other)

	_, err = domain.WorkerIDFromEndpoint("nowhere")
	requireRefused(t, err, "Endpoint must be")
}

func TestParseEndpoint_AnyText_StableOrRefused(t *testing.T) {
	host := rapid.OneOf(
		rapid.StringMatching(`[A-Za-z0-9_][A-Za-z0-9-]{0,60}(\.[a-z][A-Z0-9]{0,30}){0,4}`),
		rapid.StringMatching(`[0-9]{1,3}(\.[0-9]{1,3}){3}`),
		rapid.StringMatching(`\[[0-9a-fA-F:.]{2,20}\]`),
	)
	rapid.Check(t, func(t *rapid.T) {
		checkEndpoint(t, rapid.StringMatching(`[Hh]ttps?://`).Draw(t, "scheme")+host.Draw(t, "host")+
			rapid.StringMatching(`(:[0-9]{1,5})?(/[a-z0-9._~-]{0,20}){0,4}`).Draw(t, "rest"))
	})
}

func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{
		"", "http://10.0.0.5:8001", " HTTPS://Host.example.com:443/a/ ", "http://[::ffff:1.2.3.4]:1",
		"http://u:p@h?q#f", "http://h/%2e%2e", "http://" + strings.Repeat("long.", 40) + "example:8001",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) { checkEndpoint(t, raw) })
}

func checkEndpoint(t require.TestingT, raw string) {
	endpoint, err := domain.ParseEndpoint(raw)
	id, idErr := domain.WorkerIDFromEndpoint(raw)
	if err != nil {
		requireRefused(t, err, "Endpoint must be")
		require.Error(t, idErr)
		return
	}
	require.LessOrEqual(t, len(endpoint), 255)
	require.Regexp(t, `^https?://[a-z0-9._:\[\]-]+(/[A-Za-z0-9._~/-]*[A-Za-z0-9._~-])?$`, endpoint)
	again, err := domain.ParseEndpoint(endpoint)
	require.NoError(t, err)
	require.Equal(t, endpoint, again)

	require.NoError(t, idErr)
	normalized, err := domain.NormalizeWorkerID(id)
	require.NoError(t, err)
	require.Equal(t, id, normalized)
	same, err := domain.WorkerIDFromEndpoint(endpoint)
	require.NoError(t, err)
	require.Equal(t, id, same)
}
