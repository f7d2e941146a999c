package domain

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCheckIdempotencyKey_Keys_AreJudged(t *testing.T) {
	for key, want := range map[string]string{
		"k":                      "",
		"order 17/a~":            "",
		strings.Repeat("x", 255): "",
		"":                       "Idempotency-Key must not be empty",
		strings.Repeat("x", 256): "Idempotency-Key must have at most 255 characters",
		"a\tb":                   "Idempotency-Key must have printable ASCII characters only: character 2 is none",
		"é":                      "Idempotency-Key must have printable ASCII characters only: character 1 is none",
		"a\x7f":                  "Idempotency-Key must have printable ASCII characters only: character 2 is none",
	} {
		err := CheckIdempotencyKey(key)
		if want == "" {
			require.NoError(t, err, key)
			continue
		}
		var e *Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, []FieldError{{Field: "Idempotency-Key", Message: want}}, e.Fields)
	}
}

// Each message differs from the first in one field, and so do their fingerprints.
func TestFingerprint_EachField_Counts(t *testing.T) {
	base := Outgoing{To: "6281111111111", Type: TypeText, Text: "hello"}
	seen := make(map[[32]byte]string)
	for name, change := range map[string]func(m *Outgoing){
		"nothing":          func(*Outgoing) {},
		"to":               func(m *Outgoing) { m.To = "6281111111112" },
		"type":             func(m *Outgoing) { m.Type = TypeImage },
		"text":             func(m *Outgoing) { m.Text = "hellO" },
		"media URL":        func(m *Outgoing) { m.MediaURL = "a" },
		"media":            func(m *Outgoing) { m.Media = "a" },
		"upload":           func(m *Outgoing) { m.Upload = &Upload{Content: strings.NewReader("ab"), Size: 2} },
		"other upload":     func(m *Outgoing) { m.Upload = &Upload{Content: strings.NewReader("ac"), Size: 2} },
		"filename":         func(m *Outgoing) { m.Filename = "a" },
		"caption":          func(m *Outgoing) { m.Caption = "a" },
		"human simulation": func(m *Outgoing) { m.HumanSimulation = true },
		"reply":            func(m *Outgoing) { m.QuotedMessageID = "a" },
		"mention":          func(m *Outgoing) { m.Mentions = []string{"6281111111111"} },
		"other mention":    func(m *Outgoing) { m.Mentions = []string{"6281111111112"} },
		"location":         func(m *Outgoing) { m.Location = &Location{} },
		"latitude":         func(m *Outgoing) { m.Location = &Location{Latitude: 1} },
		"longitude":        func(m *Outgoing) { m.Location = &Location{Longitude: 1} },
		"place":            func(m *Outgoing) { m.Location = &Location{Name: "a"} },
		"address":          func(m *Outgoing) { m.Location = &Location{Address: "a"} },
		"contact":          func(m *Outgoing) { m.Contact = &Contact{Name: "a"} },
		"phone":            func(m *Outgoing) { m.Contact = &Contact{Phone: "a"} },
		"email":            func(m *Outgoing) { m.Contact = &Contact{Email: "a"} },
		"organization":     func(m *Outgoing) { m.Contact = &Contact{Organization: "a"} },
		"url":              func(m *Outgoing) { m.Link = &Link{URL: "a"} },
		"title":            func(m *Outgoing) { m.Link = &Link{Title: "a"} },
		"description":      func(m *Outgoing) { m.Link = &Link{Description: "a"} },
		"thumbnail":        func(m *Outgoing) { m.Link = &Link{Thumbnail: "a"} },
		"question":         func(m *Outgoing) { m.Poll = &Poll{Question: "a"} },
		"options":          func(m *Outgoing) { m.Poll = &Poll{Options: []string{"a", "b"}} },
		"options in order": func(m *Outgoing) { m.Poll = &Poll{Options: []string{"b", "a"}} },
		"one option":       func(m *Outgoing) { m.Poll = &Poll{Options: []string{"ab"}} },
		"several answers":  func(m *Outgoing) { m.Poll = &Poll{MultipleAnswers: true} },
	} {
		m := base
		change(&m)
		got, err := m.Fingerprint()
		require.NoError(t, err)
		assert.Empty(t, seen[got], name)
		seen[got] = name
	}
}

func TestFingerprint_SpellingOfTheRecipient_DoesNotCount(t *testing.T) {
	want, err := (&Outgoing{To: "6281111111111", Type: TypeText, Text: "x"}).Fingerprint()
	require.NoError(t, err)
	for _, to := range []string{"+62 811 1111 1111", "6281111111111@s.whatsapp.net"} {
		got, err := (&Outgoing{To: to, Type: TypeText, Text: "x"}).Fingerprint()
		require.NoError(t, err)
		assert.Equal(t, want, got, to)
	}
}

type brokenReader struct{}

func (brokenReader) ReadAt([]byte, int64) (int, error) { return 0, errors.New("broken") }

func TestFingerprint_UnreadableUpload_IsAnError(t *testing.T) {
	_, err := (&Outgoing{Upload: &Upload{Content: brokenReader{}, Size: 1}}).Fingerprint()
	require.EqualError(t, err, "broken")
}
