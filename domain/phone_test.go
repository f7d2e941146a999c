package domain_test

import (
	"strings"
	"testing"

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
		"6281234567890:12@s.whatsapp.net", "62 81234567890@s.whatsapp.net", "6281234567890@ s.whatsapp.net",
		"6281234567890@\u017f.whatsapp.net", "6281234567890@s.whatsapp.net@g.us", "1-2@lid", "name@example.com",
		strings.Repeat("1", 65) + "@g.us", strings.Repeat("1", 21) + "@lid",
	}, notPhones...) {
		jid, err := domain.ParseRecipient(raw)
		requireRefused(t, err, phoneMessage)
		require.Empty(t, jid, raw)
		require.Equal(t, "VALIDATION_ERROR: "+phoneMessage, err.Error(), "the message is exact")
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
		"6281234567890":                     "6281234567890",
		"6281234567890:12@s.whatsapp.net":   "6281234567890",
		"6281234567890@s.whatsapp.net":      "6281234567890",
		"6281234567890@C.US":                "6281234567890",
		"6281234567890:12":                  "6281234567890",
		"+62 812-3456-7890":                 "6281234567890",
		" (+62) 812.3456.7890 ":             "6281234567890",
		"\u202a+62\u00a0812 34567890\u202c": "6281234567890",
		"+6281234567890:3@s.whatsapp.net":   "6281234567890",
		"6281":                              "6281",
		"081234567890":                      "081234567890",
		"123456789012345":                   "123456789012345",
		"1234567890123456":                  "",
		"+1234567890123456":                 "",
		"123456789012345:2@lid":             "",
		"120363025246125486@g.us":           "",
		"1-2@g.us":                          "",
		"6281234567890@example.com":         "",
		"unknown":                           "",
		"6281234567890 ext 5":               "",
		"６２８１２３４５６７８９０":                     "",
		"@s.whatsapp.net":                   "",
		":12":                               "",
		"+":                                 "",
		" ":                                 "",
		"":                                  "",
	} {
		require.Equal(t, want, domain.AccountPhone(raw), "%q", raw)
		require.Equal(t, want, domain.AccountPhone(want), "the result is stable")
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
		digits := rapid.StringMatching(`[1-9][0-9]{7,14}`).Draw(t, "digits")
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
		"+62 812-3456-7890", "6281234567890@c.us", "1-2@g.us", "123@lid", "status@broadcast",
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
		require.Equal(t, phone, domain.AccountPhone(raw))
		require.Equal(t, phone, jid.Phone())
	}
}
