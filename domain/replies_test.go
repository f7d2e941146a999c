package domain

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOutgoing_Relations_AreChecked(t *testing.T) {
	const group, person = "120363025246125486@g.us", "6281111111111"
	many := strings.Split(strings.TrimSuffix(strings.Repeat("6281111111111,", 257), ","), ",")
	for name, c := range map[string]struct {
		to, quoted string
		mentions   []string
		want       []string
	}{
		"nothing":             {person, "", nil, nil},
		"a reply":             {person, "3EB0", nil, nil},
		"mentions in a group": {group, "3EB0", []string{"+62 811 1111 1111", "123456@lid", "6281111111111:3@s.whatsapp.net"}, nil},
		"256 mentions":        {group, "", many[1:], nil},
		"257 mentions":        {group, "", many, []string{"mentions"}},
		"mention of a group":  {group, "", []string{person, group}, []string{"mentions[1]"}},
		"no address":          {group, "", []string{"Bo"}, []string{"mentions[0]"}},
		"not in a group":      {person, "", []string{person}, []string{"mentions"}},
		"id too long":         {person, strings.Repeat("x", 256), nil, []string{"quotedMessageId"}},
		"blank id":            {person, " ", nil, []string{"quotedMessageId"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := Outgoing{To: c.to, Type: TypeText, Text: "x", QuotedMessageID: c.quoted, Mentions: c.mentions}
			err := m.Validate()
			if c.want == nil {
				require.NoError(t, err)
				return
			}
			var e *Error
			require.ErrorAs(t, err, &e)
			var fields []string
			for _, f := range e.Fields {
				fields = append(fields, f.Field)
			}
			assert.Equal(t, c.want, fields)
		})
	}
}

func TestOutgoing_Mentions_AreNormalisedOnce(t *testing.T) {
	m := Outgoing{Mentions: []string{"+62 811 1111 1111", "6281111111111@c.us", "6281111111112"}}
	assert.Equal(t, []string{"6281111111111@s.whatsapp.net", "6281111111112@s.whatsapp.net"}, m.MentionedJIDs())
}
