package domain_test

import (
	"regexp/syntax"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/nyaruka/phonenumbers"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
)

const phoneMessage = "Phone number must be in international format (e.g., 6281234567890)"

func TestParseRecipient_NumberOrJID_Address(t *testing.T) {
	for raw, want := range map[string]domain.JID{
		"6281234567890":                 "6281234567890@s.whatsapp.net",
		"+62 812-3456-7890":             "6281234567890@s.whatsapp.net",
		" (+1) 650.253 0000 ":           "16502530000@s.whatsapp.net",
		"12345678":                      "12345678@s.whatsapp.net",
		"123456789012345":               "123456789012345@s.whatsapp.net",
		"6281234567890@s.whatsapp.net":  "6281234567890@s.whatsapp.net",
		" 6281234567890@C.US ":          "6281234567890@s.whatsapp.net",
		"120363025246125486@g.us":       "120363025246125486@g.us",
		"6281234567890-1612345678@g.us": "6281234567890-1612345678@g.us",
		"123456789012345678@lid":        "123456789012345678@lid",

		"6281234567890:12@s.whatsapp.net":          "6281234567890@s.whatsapp.net",
		"6281234567890.0:12@S.WhatsApp.net":        "6281234567890@s.whatsapp.net",
		"6281234567890_1:12@c.us":                  "6281234567890@s.whatsapp.net",
		"123456789012345:3@lid":                    "123456789012345@lid",
		"\u202a6281234567890@s.whatsapp.net\u202c": "6281234567890@s.whatsapp.net",
		"4407911123456@s.whatsapp.net":             "4407911123456@s.whatsapp.net", // a JID is exact
	} {
		got, err := domain.ParseRecipient(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, got)
	}
}

var notPhones = []string{
	"", " ", "+", "1234567", "1234567890123456", "081234567890", "006281234567890", "+006281234567890",
	"+06281234567", "++6281234567890", "62+81234567890", "6281234567890+", "-6281234567890", ".6281234567890",
	"62812345abc", "call 6281234567890", "6281234567890 ext 5", "6281234567890\x00", "６２８１２３４５６７８９０", "\xff6281234567",
}

func TestParseRecipient_OtherText_Refused(t *testing.T) {
	for _, raw := range append([]string{
		"status@broadcast", "6281234567890@broadcast", "6281234567890@newsletter", "6281234567890@", "@s.whatsapp.net",
		"@g.us", "@lid", "-1@g.us", "1-@g.us", "1--2@g.us", "+6281234567890@s.whatsapp.net", "0812345678@s.whatsapp.net",
		"6281234567890:@s.whatsapp.net", "6281234567890:123456@s.whatsapp.net", "62812345.678@s.whatsapp.net",
		"62812345.6789:1@s.whatsapp.net", "6281234567890:a@s.whatsapp.net", "1:2@g.us", "62 81234567890@s.whatsapp.net", "6281234567890@ s.whatsapp.net",
		"6281234567890@\u017f.whatsapp.net", "6281234567890@s.whatsapp.net@g.us", "1-2@lid", "name@example.com",
		strings.Repeat("1", 65) + "@g.us", strings.Repeat("1", 21) + "@lid",
	}, notPhones...) {
		jid, err := domain.ParseRecipient(raw)
		requireRefused(t, err, phoneMessage)
		require.Empty(t, jid, raw)
		if !strings.ContainsFunc(raw, unicode.IsControl) {
			require.Equal(t, "VALIDATION_ERROR: "+phoneMessage, err.Error(), "the message is exact")
		}
	}
}

func TestParsePhone_Spelling_DigitsOrRefused(t *testing.T) {
	got, err := domain.ParsePhone("+62 (812) 3456.7890")
	require.NoError(t, err)
	require.Equal(t, "6281234567890", got)
	for _, raw := range append([]string{"6281234567890@s.whatsapp.net", "120363025246125486@g.us"}, notPhones...) {
		_, err := domain.ParsePhone(raw)
		requireRefused(t, err, phoneMessage)
	}
}

func TestAccountPhone_Spelling_DigitsOrEmpty(t *testing.T) {
	for raw, want := range map[string]string{
		"6281234567890":                                "6281234567890",
		"6281234567890:12@s.whatsapp.net":              "6281234567890",
		"6281234567890.0:12@s.whatsapp.net":            "6281234567890",
		"6281234567890_1:12@c.us":                      "6281234567890",
		"6281234567890.0:12":                           "6281234567890",
		"+44 (0)7911 123456":                           "447911123456",
		"6281234567890@s.whatsapp.net":                 "6281234567890",
		"6281234567890@C.US":                           "6281234567890",
		"6281234567890:12":                             "6281234567890",
		"+62 812-3456-7890":                            "6281234567890",
		" (+62) 812.3456.7890 ":                        "6281234567890",
		"\u202a+62\u00a0812 34567890\u202c":            "6281234567890",
		"+62\u200b812\ufeff3456\u20607890\ufe0f\u3164": "6281234567890",
		"62\t812\u202f3456\u00ad7890\u2028":            "6281234567890",
		"+6281234567890:3@s.whatsapp.net":              "6281234567890",
		"6281":                                         "6281",
		"081234567890":                                 "081234567890",
		"123456789012345":                              "123456789012345",
		"1234567890123456":                             "",
		"+1234567890123456":                            "",
		"123456789012345:2@lid":                        "",
		"120363025246125486@g.us":                      "",
		"1-2@g.us":                                     "",
		"6281234567890@example.com":                    "",
		"unknown":                                      "",
		"6281234567890 ext 5":                          "",
		"６２８１２３４５６７８９０":                                "",
		"@s.whatsapp.net":                              "",
		":12":                                          "",
		"+":                                            "",
		" ":                                            "",
		"":                                             "",
	} {
		require.Equal(t, want, domain.AccountPhone(raw), "%q", raw)
		require.Equal(t, want, domain.AccountPhone(want), "the result is stable")
	}
}

func TestParsePhone_TrunkZero_DroppedOrRefused(t *testing.T) {
	for raw, want := range map[string]string{
		"+44 (0)7911 123456":                           "447911123456",
		"+44(0)7911123456":                             "447911123456",
		"+44 (07911) 123456":                           "447911123456",
		"4407911123456":                                "447911123456",
		"+62 0812-3456-7890":                           "6281234567890",
		"+49 (0) 1512 3456789":                         "4915123456789",
		"+972 (0)52-123-4567":                          "972521234567",
		"+39 (0)6 6982 1234":                           "390669821234", // the zero belongs to numbers in Italy
		"+225 07 12 34 56 78":                          "2250712345678",
		"+242 06 123 4567":                             "242061234567",
		"+1 (0)650 253 0000":                           "", // no number begins with a zero there
		"+7 (0)912 123 45 67":                          "",
		"+36 (06) 20 123 4567":                         "", // the trunk prefix of Hungary has two digits
		"+44 (00)7911 123456":                          "",
		"+999 0123 45678":                              "",
		"+44 (0)123 45":                                "", // seven digits without the zero
		"+49 (0)151234567890123":                       "",
		"\u200e+62\u00a0812\u20113456\u20147890\u2069": "6281234567890", // marks of direction, no-break space, long hyphens
	} {
		got, err := domain.ParsePhone(raw)
		if want == "" {
			requireRefused(t, err, phoneMessage)
			continue
		}
		require.NoError(t, err, raw)
		require.Equal(t, want, got, raw)
		jid, err := domain.ParseRecipient(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, jid.Phone())
	}
}

// The lists of calling codes say what the metadata of libphonenumber says.
func TestParsePhone_ZeroBehindAnyCallingCode_AgreesWithMetadata(t *testing.T) {
	metadata, err := phonenumbers.MetadataCollection()
	require.NoError(t, err)
	hasTrunkZero, hasLeadingZero := map[string]bool{}, map[string]bool{}
	for _, region := range metadata.GetMetadata() {
		code := strconv.Itoa(int(region.GetCountryCode()))
		hasTrunkZero[code] = hasTrunkZero[code] || region.GetNationalPrefix() == "0"
		hasLeadingZero[code] = hasLeadingZero[code] || mayBeginWithZero(t, region.GetGeneralDesc().GetNationalNumberPattern())
	}
	require.Greater(t, len(hasTrunkZero), 200)
	for code := range hasTrunkZero {
		const rest = "2345678"
		got, err := domain.ParsePhone("+" + code + "0" + rest)
		switch {
		case hasTrunkZero[code]:
			require.NoError(t, err, code)
			require.Equal(t, code+rest, got)
		case hasLeadingZero[code]:
			require.NoError(t, err, code)
			require.Equal(t, code+"0"+rest, got)
		default:
			require.Error(t, err, code)
		}
		got, err = domain.ParsePhone(code + rest)
		require.NoError(t, err)
		require.Equal(t, code+rest, got, "without a zero nothing changes")
	}
}

// mayBeginWithZero reports whether text that begins with a zero can match the pattern.
func mayBeginWithZero(t *testing.T, pattern string) bool {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	require.NoError(t, err)
	program, err := syntax.Compile(parsed.Simplify())
	require.NoError(t, err)
	seen := map[uint32]bool{}
	var accepts func(at uint32) bool
	accepts = func(at uint32) bool {
		if seen[at] {
			return false
		}
		seen[at] = true
		switch step := program.Inst[at]; step.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			return accepts(step.Out) || accepts(step.Arg)
		case syntax.InstCapture, syntax.InstNop, syntax.InstEmptyWidth:
			return accepts(step.Out)
		case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
			return step.MatchRune('0')
		}
		return false
	}
	return accepts(uint32(program.Start))
}

func TestNormalizeAddress_FormsOfWorkers_OneForm(t *testing.T) {
	for raw, want := range map[string]string{
		"6281234567890:12@s.whatsapp.net":    "6281234567890@s.whatsapp.net",
		" 6281234567890.0:12@s.whatsapp.net": "6281234567890@s.whatsapp.net",
		"6281234567890_0:12@S.WHATSAPP.NET":  "6281234567890@s.whatsapp.net",
		"6281234567890@c.us":                 "6281234567890@s.whatsapp.net",
		"+62 812-3456-7890":                  "6281234567890@s.whatsapp.net",
		"6281234567890":                      "6281234567890@s.whatsapp.net",
		"6281234567890:12":                   "6281234567890@s.whatsapp.net",
		"120363025246125486@g.us":            "120363025246125486@g.us",
		"123456789012345:3@lid":              "123456789012345@lid",
		"status@broadcast":                   "status@broadcast",
		"120363025246125486@newsletter":      "120363025246125486@newsletter",
		"32665:3@s.whatsapp.net":             "32665@s.whatsapp.net",
		"somebody@else.example":              "somebody@else.example",
		"1":                                  "1",
		"":                                   "",
	} {
		require.Equal(t, want, domain.NormalizeAddress(raw), "%q", raw)
		require.Equal(t, want, domain.NormalizeAddress(want), "the result is stable")
	}
}

func TestParseChat_BroadcastAndChannel_Accepted(t *testing.T) {
	for raw, want := range map[string]domain.JID{
		"status@broadcast":              "status@broadcast",
		"1612345678@Broadcast":          "1612345678@broadcast",
		"120363025246125486@newsletter": "120363025246125486@newsletter",
		"+62 812-3456-7890":             "6281234567890@s.whatsapp.net",
		"120363025246125486@g.us":       "120363025246125486@g.us",
	} {
		got, err := domain.ParseChat(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, got)
	}
	for _, raw := range []string{"", "x@broadcast", "status@newsletter", "@broadcast", strings.Repeat("1", 21) + "@newsletter", "r"} {
		_, err := domain.ParseChat(raw)
		requireRefused(t, err, phoneMessage)
	}
}

func TestJIDPhone_Address_DigitsOrEmpty(t *testing.T) {
	for jid, phone := range map[domain.JID]string{
		"6281234567890@s.whatsapp.net":    "6281234567890",
		"6281234567890:12@s.whatsapp.net": "",
		"120363025246125486@g.us":         "",
		"123456789012345@lid":             "",
		"6281234567890":                   "",
		"":                                "",
	} {
		require.Equal(t, phone, jid.Phone(), jid)
	}
}

func TestParsePhone_Punctuation_Ignored(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.StringMatching(`[1-9][1-9]{3}[0-9]{4,11}`).Draw(t, "digits") // no zero behind a calling code
		raw := rapid.SampledFrom([]string{"", "+", " (+"}).Draw(t, "front") + digits[:1]
		for _, d := range digits[1:] {
			raw += rapid.StringMatching(`[ .()-]{0,2}`).Draw(t, "gap") + string(d)
		}
		phone, err := domain.ParsePhone(raw)
		require.NoError(t, err)
		require.Equal(t, digits, phone)
		checkRecipient(t, raw)
	})
}

func FuzzParseRecipient(f *testing.F) {
	for _, s := range append([]string{
		"+62 812-3456-7890", "6281234567890@c.us", "1-2@g.us", "123@lid", "status@broadcast", " 200100000", "+44 (0)7911 123456",
		"6281234567890.0:12@s.whatsapp.net",
	}, notPhones[:8]...) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) { checkRecipient(t, raw) })
}

func checkRecipient(t require.TestingT, raw string) {
	jid, err := domain.ParseRecipient(raw)
	phone, phoneErr := domain.ParsePhone(raw)
	if err != nil {
		requireRefused(t, err, phoneMessage)
		require.Error(t, phoneErr, "every phone number is a recipient")
		return
	}
	require.Regexp(t, `^([1-9][0-9]{7,14}@s\.whatsapp\.net|[0-9]+(-[0-9]+)*@g\.us|[0-9]+@lid)$`, string(jid))
	again, err := domain.ParseRecipient(string(jid))
	require.NoError(t, err)
	require.Equal(t, jid, again)
	require.Equal(t, strings.HasSuffix(string(jid), "@s.whatsapp.net"), jid.Phone() != "")
	if jid.Phone() != "" {
		require.Equal(t, jid.Phone(), domain.AccountPhone(string(jid)))
	}
	if phoneErr == nil {
		require.Equal(t, phone, jid.Phone())
		again, err := domain.ParsePhone(phone)
		require.NoError(t, err)
		require.Equal(t, phone, again, "the result is stable")
		if strings.Trim(strings.TrimSpace(raw), "0123456789") != "" { // bare digits of a worker are believed
			require.Equal(t, phone, domain.AccountPhone(raw))
		}
	}
}

// FuzzNormalizeAddress checks that the normal form of an address is stable.
func FuzzNormalizeAddress(f *testing.F) {
	for _, s := range []string{
		"", "6281234567890", "6281234567890:12@s.whatsapp.net", "6281234567890.0:12@c.us", "120363021234567890@g.us", "status@broadcast",
		"1@newsletter", "@", ":@", "6281234567890@lid", "\xff@s.whatsapp.net", "+62 812-3456-7890", "a@b@c", " 1 @ c.us ", "6281234567890\u202e@s.whatsapp.net",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		address := domain.NormalizeAddress(s)
		if again := domain.NormalizeAddress(address); again != address {
			t.Fatalf("%q becomes %q, then %q", s, address, again)
		}
		phone := domain.AccountPhone(s)
		if strings.Trim(phone, "0123456789") != "" || len(phone) > 15 {
			t.Fatalf("%q has the phone %q", s, phone)
		}
		if again := domain.AccountPhone(phone); again != phone {
			t.Fatalf("%q becomes %q, then %q", s, phone, again)
		}
	})
}

func TestParsePhone_LineBreakOrControl_IsNamed(t *testing.T) {
	for raw, want := range map[string]string{
		"628123\n4567890": "U+000A", "6281234567890\x00": "U+0000", "+62 812\r\n3456 7890": "U+000D", "\x1b6281234567890": "U+001B",
	} {
		_, err := domain.ParsePhone(raw)
		requireRefused(t, err, phoneMessage+"; it contains the invisible character "+want)
	}
}
