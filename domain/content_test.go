package domain_test

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

// fieldsOf returns the fields with problems, in order. Each problem has a message, and the first
// message is the error's.
func fieldsOf(t require.TestingT, err error) []string {
	if err == nil {
		return nil
	}
	var e *domain.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, domain.Invalid, e.Kind)
	require.NotEmpty(t, e.Fields)
	require.Equal(t, e.Fields[0].Message, e.Message)
	var fields []string
	for _, f := range e.Fields {
		require.NotEmpty(t, f.Message)
		require.True(t, utf8.ValidString(f.Message))
		fields = append(fields, f.Field)
	}
	return fields
}

const someone = "+62 812-3456-7890"

func TestOutgoingValidate_Content_ProblemsByField(t *testing.T) {
	long := func(n int) string { return strings.Repeat("é", n) }
	text := func(s string) domain.Outgoing { return domain.Outgoing{Type: domain.TypeText, Text: s} }
	image := func(m domain.Outgoing) domain.Outgoing {
		m.Type = domain.TypeImage
		return m
	}
	location := func(lat, lon float64) domain.Outgoing {
		return domain.Outgoing{Type: domain.TypeLocation, Location: &domain.Location{Latitude: lat, Longitude: lon}}
	}
	contact := func(c domain.Contact) domain.Outgoing { return domain.Outgoing{Type: domain.TypeContact, Contact: &c} }
	link := func(l domain.Link) domain.Outgoing { return domain.Outgoing{Type: domain.TypeLink, Link: &l} }
	poll := func(question string, options ...string) domain.Outgoing {
		return domain.Outgoing{Type: domain.TypePoll, Poll: &domain.Poll{Question: question, Options: options}}
	}
	for name, c := range map[string]struct {
		m    domain.Outgoing
		want string // the fields with problems, if any
	}{
		"text":            {text("hello"), ""},
		"longest text":    {text(long(4096)), ""},
		"too long":        {text(long(4097)), "message"},
		"empty":           {text(""), "message"},
		"blank":           {text(" \n\t"), "message"},
		"invalid UTF-8":   {text("a\xff"), "message"},
		"NUL":             {text("a\x00"), "message"},
		"other emptiness": {domain.Outgoing{Type: domain.TypeText, Caption: "x", MediaURL: "https://a.b/c"}, "message"},

		"image by URL":         {image(domain.Outgoing{MediaURL: "https://a.b/c.png", Caption: long(1024), Filename: long(255)}), ""},
		"image by content":     {image(domain.Outgoing{Media: "aGVsbG8="}), ""},
		"image from nowhere":   {image(domain.Outgoing{}), "mediaUrl"},
		"image from both":      {image(domain.Outgoing{MediaURL: "https://a.b/c", Media: "aGVsbG8="}), "mediaUrl"},
		"not base64":           {image(domain.Outgoing{Media: "hello!"}), "media"},
		"not a URL":            {image(domain.Outgoing{MediaURL: "a.b/c"}), "mediaUrl"},
		"all wrong with media": {image(domain.Outgoing{MediaURL: "ftp://a.b/c", Caption: long(1025), Filename: long(256) + "/"}), "mediaUrl caption filename filename"},
		"a path as a filename": {image(domain.Outgoing{Media: "aGVsbG8=", Filename: "../x.png"}), "filename"},

		"control characters": {image(domain.Outgoing{Media: "aGVsbG8=", Filename: "a\nb.png", Caption: "a\nb"}), "filename"},
		"a reversed name":    {image(domain.Outgoing{Media: "aGVsbG8=", Filename: "a\u202egnp.exe"}), "filename"},
		"isolated":           {link(domain.Link{URL: "http://a", Title: "a\u2066b", Description: "a\nb"}), "title"},
		"in a contact":       {contact(domain.Contact{Name: "A\r\nTEL:1", Phone: someone, Organization: "\u0085"}), "contactName contactOrganization"},
		"lines in a contact": {contact(domain.Contact{Name: "A\u2028TEL:1", Phone: "6281234567890\nTEL:1", Email: "a@b.com\nTEL:1", Organization: "B\nTEL:1"}), "contactName contactPhone contactEmail contactOrganization"},
		"NUL in a caption":   {image(domain.Outgoing{Media: "aGVsbG8=", Caption: "a\x00b"}), "caption"},
		"NUL in a poll":      {poll("a\x00b", "yes", "n\x00"), "poll.question poll.options"},
		"bytes in a poll":    {poll("a\xff", "yes", "n\xff"), "poll.question poll.options"},
		"NUL in a link":      {link(domain.Link{URL: "http://a/\x00", Title: "a\x00", Description: "b\x00"}), "url title description"},
		"lines in a title":   {link(domain.Link{URL: "http://a", Title: "a\nb"}), "title"},
		"long in characters": {image(domain.Outgoing{Media: "aGVsbG8=", Caption: strings.Repeat("é", 1024), Filename: strings.Repeat("李", 255)}), ""},
		"in a poll":          {poll("Lunch\t?", "yes", "n\x7fo"), "poll.question poll.options"},
		"in a place":         {domain.Outgoing{Type: domain.TypeLocation, Location: &domain.Location{Name: "a\x1b", Address: "b\u2069"}}, "name address"},
		"other direction":    {poll("غداء؟", "نعم", "👨\u200d👩"), ""},

		"location":           {location(-90, 180), ""},
		"no location":        {domain.Outgoing{Type: domain.TypeLocation}, "location"},
		"off the map":        {location(90.01, -180.01), "latitude longitude"},
		"not a number":       {location(math.NaN(), math.NaN()), "latitude longitude"},
		"infinite":           {location(math.Inf(1), math.Inf(-1)), "latitude longitude"},
		"names too long":     {domain.Outgoing{Type: domain.TypeLocation, Location: &domain.Location{Name: long(1025), Address: long(1025)}}, "name address"},
		"contact":            {contact(domain.Contact{Name: "Ann", Phone: someone, Email: "ann@example.com", Organization: "ACME"}), ""},
		"contact, no email":  {contact(domain.Contact{Name: "Ann", Phone: "6281234567890"}), ""},
		"no contact":         {domain.Outgoing{Type: domain.TypeContact}, "contact"},
		"all wrong with one": {contact(domain.Contact{Name: " ", Phone: "0812", Email: "ann", Organization: long(256)}), "contactName contactPhone contactEmail contactOrganization"},
		"a contact's JID":    {contact(domain.Contact{Name: "Ann", Phone: "6281234567890@s.whatsapp.net"}), "contactPhone"},

		"link":                {link(domain.Link{URL: "http://example.com", Thumbnail: "aGVsbG8="}), ""},
		"link with a picture": {link(domain.Link{URL: "https://example.com/?q=a#b", Thumbnail: "https://example.com/a.png"}), ""},
		"no link":             {domain.Outgoing{Type: domain.TypeLink}, "link"},
		"all wrong with it":   {link(domain.Link{URL: "javascript:alert(1)", Title: long(256), Description: long(1025), Thumbnail: "x.y"}), "url title description thumbnail"},

		"poll":               {poll("Lunch?", "yes", "no"), ""},
		"twelve options":     {poll("Which?", strings.Split("a b c d e f g h i j k l", " ")...), ""},
		"thirteen":           {poll("Which?", strings.Split("a b c d e f g h i j k l m", " ")...), "poll.options"},
		"one":                {poll("Lunch?", "yes"), "poll.options"},
		"none, no question":  {poll(""), "poll.question poll.options"},
		"the same twice":     {poll("Lunch?", "yes", " yes "), "poll.options"},
		"an empty option":    {poll("Lunch?", "yes", " "), "poll.options"},
		"a long option":      {poll("Lunch?", "yes", long(101)), "poll.options"},
		"a hundred is fine":  {poll("Lunch?", "yes", long(100)), ""},
		"no poll":            {domain.Outgoing{Type: domain.TypePoll}, "poll"},
		"no type":            {domain.Outgoing{Text: "x"}, "type"},
		"a type in capitals": {domain.Outgoing{Type: "TEXT", Text: "x"}, "type"}, // ParseMessageType accepts capitals
	} {
		t.Run(name, func(t *testing.T) {
			c.m.To = someone
			err := c.m.Validate()
			require.Equal(t, strings.Fields(c.want), append([]string{}, fieldsOf(t, err)...))
			switch {
			case c.want == "type":
				require.Equal(t, domain.CodeInvalidMessageType, domain.CodeOf(err))
			case c.want != "":
				require.Equal(t, domain.CodeValidation, domain.CodeOf(err))
			}
			c.m.To = "nobody"
			want := strings.Fields("to " + c.want)
			err = c.m.Validate()
			require.Equal(t, want, fieldsOf(t, err), "every problem at once")
			require.Equal(t, domain.CodeValidation, domain.CodeOf(err))
		})
	}
}

// carries lists the types, and whether their messages carry a file.
var carries = map[domain.MessageType]bool{
	domain.TypeText: false, domain.TypeImage: true, domain.TypeDocument: true, domain.TypeAudio: true, domain.TypeVideo: true,
	domain.TypeSticker: true, domain.TypeLocation: false, domain.TypeContact: false, domain.TypeLink: false, domain.TypePoll: false,
}

func TestParseMessageType_Name_TypeOrRefused(t *testing.T) {
	for kind := range carries {
		got, err := domain.ParseMessageType(" " + strings.ToUpper(string(kind)))
		require.NoError(t, err)
		require.Equal(t, kind, got)
	}
	_, err := domain.ParseMessageType("gif")
	require.Equal(t, domain.CodeInvalidMessageType, domain.CodeOf(err))
}

func TestOutgoingValidate_URL_AcceptedOrRefused(t *testing.T) {
	for raw, ok := range map[string]bool{
		"http://a": true, "HTTPS://A.B/c d": true, "http://[::1]:80/": true, "http://a.b:8080": true, "https://a.b/ü": true,
		"": false, "http://": false, "http://:80/x": false, "//a.b": false, "a.b": false, "file:///etc/passwd": false, "http:a": false,
		"data:image/png;base64,aGVsbG8=": false, "http://a.b/\x00": false, "http://a.b/\n": false, "http://a.b/\xff": false, "http://a b/": false,
		"http://a.b/" + strings.Repeat("x", 2037): true, "http://a.b/" + strings.Repeat("x", 2038): false,
	} {
		m := domain.Outgoing{To: someone, Type: domain.TypeLink, Link: &domain.Link{URL: raw}}
		require.Equal(t, ok, m.Validate() == nil, "%.40q", raw)
	}
	m := domain.Outgoing{To: someone, Type: domain.TypeLink, Link: &domain.Link{URL: "http://a/" + strings.Repeat("x", 2048)}}
	require.ErrorContains(t, m.Validate(), "at most 2048")
}

func TestOutgoingBody_Content_TextOrJSON(t *testing.T) {
	for want, m := range map[string]domain.Outgoing{
		"hello":                          {Type: domain.TypeText, Text: "hello"},
		"":                               {Type: domain.TypeImage, Media: "aGVsbG8="},
		`{"latitude":1.5,"longitude":2}`: {Type: domain.TypeLocation, Location: &domain.Location{Latitude: 1.5, Longitude: 2}},
		`{"name":"Ann","phone":"628"}`:   {Type: domain.TypeContact, Contact: &domain.Contact{Name: "Ann", Phone: "628"}},
		`{"url":"http://a"}`:             {Type: domain.TypeLink, Link: &domain.Link{URL: "http://a", Thumbnail: "YQ=="}},
		`{"url":"http://a","thumbnail":"http://t"}`: {Type: domain.TypeLink, Link: &domain.Link{URL: "http://a", Thumbnail: "http://t"}},
		`{"question":"q","options":["a","b"],"multipleAnswers":true}`: {
			Type: domain.TypePoll, Poll: &domain.Poll{Question: "q", Options: []string{"a", "b"}, MultipleAnswers: true},
		},
	} {
		require.Equal(t, want, m.Body())
	}
	require.Empty(t, (&domain.Outgoing{Type: domain.TypeLocation, Location: &domain.Location{Latitude: math.NaN()}}).Body())
}

func TestActionValidate_Action_ProblemsByField(t *testing.T) {
	long := strings.Repeat("x", 256)
	do := func(kind domain.ActionType, change func(a *domain.Action)) domain.Action {
		a := domain.Action{Type: kind, MessageID: "3EB0", Phone: someone}
		if change != nil {
			change(&a)
		}
		return a
	}
	nothing := func(a *domain.Action) { *a = domain.Action{Type: a.Type} }
	key := func(remote, id string) func(a *domain.Action) {
		return func(a *domain.Action) { a.MessageKey = &domain.MessageKey{RemoteJID: remote, ID: id} }
	}
	for name, c := range map[string]struct {
		a    domain.Action
		want string
	}{
		"delete":                {do(domain.ActionDelete, nil), ""},
		"unsend":                {do(domain.ActionUnsend, nil), ""},
		"star":                  {do(domain.ActionStar, nil), ""},
		"unstar":                {do(domain.ActionUnstar, nil), ""},
		"seen":                  {do(domain.ActionSeen, nil), ""},
		"typing":                {do(domain.ActionTypingStart, func(a *domain.Action) { a.MessageID = "" }), ""},
		"typing no more":        {do(domain.ActionTypingStop, func(a *domain.Action) { a.MessageID = "" }), ""},
		"edit":                  {do(domain.ActionEdit, func(a *domain.Action) { a.NewText = "new" }), ""},
		"read":                  {do(domain.ActionRead, nil), ""},
		"read, by JID":          {do(domain.ActionRead, func(a *domain.Action) { a.Phone, a.JID = "", "120363025246125486@g.us" }), ""},
		"read, by key":          {do(domain.ActionRead, key("6281234567890@s.whatsapp.net", "3EB0")), ""},
		"delete of nothing":     {do(domain.ActionDelete, nothing), "phone messageId"},
		"seen of nothing":       {do(domain.ActionSeen, nothing), "to messageId"},
		"typing to nobody":      {do(domain.ActionTypingStart, nothing), "to"},
		"edit of nothing":       {do(domain.ActionEdit, nothing), "phone messageId newText"},
		"edit to nothing":       {do(domain.ActionEdit, func(a *domain.Action) { a.NewText = "  " }), "newText"},
		"edit to too much":      {do(domain.ActionEdit, func(a *domain.Action) { a.NewText = strings.Repeat("x", 4097) }), "newText"},
		"read of nothing":       {do(domain.ActionRead, nothing), "phone messageId"},
		"read, bad JID, key":    {do(domain.ActionRead, func(a *domain.Action) { key("", "")(a); a.Phone, a.JID = "", "x@y" }), "jid messageKey"},
		"read, both bad":        {do(domain.ActionRead, func(a *domain.Action) { a.Phone, a.JID = "x", "y" }), "phone jid"},
		"read, status":          {do(domain.ActionRead, func(a *domain.Action) { a.Phone = "status@broadcast"; key("status@broadcast", "3EB0")(a) }), ""},
		"star in a broadcast":   {do(domain.ActionStar, func(a *domain.Action) { a.Phone = "status@broadcast" }), "phone"},
		"bad chat in the key":   {do(domain.ActionStar, key("x@y", "3EB0")), "messageKey.remoteJid"},
		"bad author":            {do(domain.ActionRead, func(a *domain.Action) { key(someone, "3EB0")(a); a.MessageKey.Participant = "Ann" }), "messageKey.participant"},
		"JID of another action": {do(domain.ActionStar, func(a *domain.Action) { a.JID = "x@y" }), "jid"},
		"read, half a key":      {do(domain.ActionRead, key("6281234567890@s.whatsapp.net", "")), "messageKey"},
		"a long id":             {do(domain.ActionStar, func(a *domain.Action) { a.MessageID = long }), "messageId"},
		"a JID is no phone":     {do(domain.ActionStar, func(a *domain.Action) { a.Phone, a.JID = "", "6281234567890@s.whatsapp.net" }), "phone"},
		"no action":             {do("", nil), "action"},
		"an unknown one":        {do("explode", nothing), "phone messageId action"},
		"reaction":              {do(domain.ActionReaction, func(a *domain.Action) { a.Emoji = "👍" }), ""},
		"reaction removed":      {do(domain.ActionReaction, nil), ""},
		"reaction in words":     {do(domain.ActionReaction, func(a *domain.Action) { nothing(a); a.Emoji = "ok" }), "phone messageId emoji"},
		"emoji of no concern":   {do(domain.ActionStar, func(a *domain.Action) { a.Emoji = "ok" }), ""},
	} {
		require.Equal(t, strings.Fields(c.want), append([]string{}, fieldsOf(t, c.a.Validate())...), name)
	}
}

func TestActionNormalizeAddresses_AnyForm_JIDs(t *testing.T) {
	const person, group = "84912345678@s.whatsapp.net", "120363025246125486@g.us"
	for _, form := range []string{"84912345678", "+84 912-345-678", "84 (0)912345678", person, "84912345678:12@s.whatsapp.net", "84912345678@c.us"} {
		a := domain.Action{
			Type: domain.ActionEdit, MessageID: "3EB0", Phone: form, JID: form,
			MessageKey: &domain.MessageKey{RemoteJID: form, ID: "3EB0", Participant: form},
		}
		before, key := a, *a.MessageKey
		got, err := a.NormalizeAddresses()
		require.NoError(t, err, form)
		require.Equal(t, domain.Action{
			Type: domain.ActionEdit, MessageID: "3EB0", Phone: person, JID: person,
			MessageKey: &domain.MessageKey{RemoteJID: person, ID: "3EB0", Participant: person},
		}, got)
		require.Equal(t, before, a)
		require.Equal(t, key, *a.MessageKey, "the original is unchanged")
	}
	got, err := (&domain.Action{Type: domain.ActionRead, JID: group, MessageKey: &domain.MessageKey{RemoteJID: group}}).NormalizeAddresses()
	require.NoError(t, err)
	require.Equal(t, domain.Action{Type: domain.ActionRead, Phone: group, JID: group, MessageKey: &domain.MessageKey{RemoteJID: group}}, got)
	for _, bad := range []domain.Action{
		{Type: domain.ActionStar}, {Type: domain.ActionStar, Phone: "Ann"}, {Type: domain.ActionStar, Phone: group, JID: "x"},
		{Type: domain.ActionStar, Phone: group, MessageKey: &domain.MessageKey{RemoteJID: "r"}},
	} {
		_, err := bad.NormalizeAddresses()
		requireRefused(t, err, phoneMessage)
	}
}

func TestActionValidate_Reaction_OneEmoji(t *testing.T) {
	react := func(emoji string) bool {
		a := domain.Action{Type: domain.ActionReaction, MessageID: "3EB0", Phone: someone, Emoji: emoji}
		return a.Validate() == nil
	}
	for _, ok := range []string{
		"", "👍", "❤️", "❤", "👨‍👩‍👧‍👦", "🇮🇩", "1️⃣", "1⃣", "#️⃣", "*⃣", "✊🏽", "👩🏽‍❤️‍💋‍👨🏿", "🏳️‍🌈", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "😀", "🫡", "🧑‍🚀",
		"☺️", "☺", "‼️", "⁉️", "ℹ️", "〰️", "〽️", "↔️", "⤴️", "©️", "™", "Ⓜ️", "㊗️", "◽", "✔️", "⌚", "🀄", "🃏", "🅰️", "🫱🏻‍🫲🏿",
	} {
		require.True(t, react(ok), "%q %U", ok, []rune(ok))
	}
	for _, bad := range []string{
		"ok", "👍👍", "a", "1", "12⃣", "1️", "1️2⃣", "⃣", "❤️❤️", "🇮", "🇮🇩🇮🇩", "🇮a", "👍 ", " 👍", "👍a", "a👍", "‍", "👍‍", "‍👍", "️",
		"…", "\u2800", "、", "！", "∑", "漢", "𠀀", "\U000e0067", "\U0010ffff", "👍\xff", "\xf0\x9f\x91", "👍\n", "<b>", strings.Repeat("👍‍", 20) + "👍",
	} {
		require.False(t, react(bad), "%q %U", bad, []rune(bad))
	}
}

func FuzzOutgoingValidate(f *testing.F) {
	for _, kind := range []string{"text", "image", "document", "location", "contact", "link", "poll", "TEXT", ""} {
		f.Add(someone, kind, "hello", "https://a.b/c", "", "caption", "1.5")
		f.Add("120363025246125486@g.us", kind, "", "", "aGVsbG8=", "ann@example.com", "NaN")
		f.Add(someone, kind, "", "", "YQ", "caption", "0")
		f.Add("", kind, "\xff\x00", "javascript:x", "data:a/b;base64,YQ==", strings.Repeat("x", 300), "1e308")
	}
	f.Fuzz(func(t *testing.T, to, kind, text, url, media, extra, number string) {
		n, err := json.Number(number).Float64()
		if err != nil {
			n = math.NaN()
		}
		m := &domain.Outgoing{
			To: to, Type: domain.MessageType(kind), Text: text, MediaURL: url, Media: media, Caption: extra, Filename: text,
			Location: &domain.Location{Latitude: n, Longitude: -n, Name: text, Address: extra},
			Contact:  &domain.Contact{Name: text, Phone: to, Email: extra, Organization: extra},
			Link:     &domain.Link{URL: url, Title: text, Description: extra, Thumbnail: media},
			Poll:     &domain.Poll{Question: text, Options: strings.Split(extra, ",")},
		}
		before := *m
		err = m.Validate()
		require.Equal(t, fieldsOf(t, err), fieldsOf(t, m.Validate()))
		if err != nil {
			return
		}
		require.Equal(t, before.Type, m.Type)
		_, err = domain.ParseRecipient(to)
		require.NoError(t, err)
		kept, err := domain.ParseMessageType(kind)
		require.NoError(t, err)
		require.Equal(t, kind, string(kept))
		if !carries[kept] {
			body := m.Body()
			require.True(t, utf8.ValidString(body) && !strings.ContainsRune(body, 0) && body != "")
			require.Equal(t, kept != domain.TypeText, kept != domain.TypeText && json.Valid([]byte(body)))
		} else if media != "" {
			_, encoded := domain.CutDataURL(media)
			_, err := base64.StdEncoding.DecodeString(string(domain.AppendBase64(nil, encoded)))
			require.NoError(t, err)
		}
	})
}

func TestOutgoingURLs_Content_ByField(t *testing.T) {
	for name, c := range map[string]struct {
		m    domain.Outgoing
		want []domain.FieldURL
	}{
		"media":       {domain.Outgoing{Type: domain.TypeVideo, MediaURL: "https://a/b"}, []domain.FieldURL{{Field: "mediaUrl", URL: "https://a/b"}}},
		"no URL":      {domain.Outgoing{Type: domain.TypeVideo, MediaURL: "ftp://a/b"}, nil},
		"uploaded":    {domain.Outgoing{Type: domain.TypeVideo, Media: "YQ=="}, nil},
		"not used":    {domain.Outgoing{Type: domain.TypeText, MediaURL: "https://a/b", Link: &domain.Link{URL: "https://a/b"}}, nil},
		"no link":     {domain.Outgoing{Type: domain.TypeLink}, nil},
		"a thumbnail": {domain.Outgoing{Type: domain.TypeLink, Link: &domain.Link{URL: "https://a", Thumbnail: "http://b"}}, []domain.FieldURL{{Field: "url", URL: "https://a"}, {Field: "thumbnail", URL: "http://b"}}},
		"a base64":    {domain.Outgoing{Type: domain.TypeLink, Link: &domain.Link{URL: "https://a", Thumbnail: "YQ=="}}, []domain.FieldURL{{Field: "url", URL: "https://a"}}},
	} {
		require.Equal(t, c.want, c.m.URLs(), name)
	}
	text := domain.Outgoing{Type: domain.TypeText, Text: "look at http://a"}
	require.Zero(t, testing.AllocsPerRun(10, func() { _ = text.URLs() }), "a text pays nothing")
}
