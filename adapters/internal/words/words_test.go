package words_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/internal/words"
	"github.com/switchyard-wa/switchyard/domain"
)

func text(content string) *domain.Message {
	return &domain.Message{Type: domain.TypeText, Content: content}
}

func TestOf_Texts_SplitIntoWords(t *testing.T) {
	for content, want := range map[string][]string{
		"":                          nil,
		"... !?":                    nil,
		"Hello, hello world-wide 2": {"hello", "world", "wide", "2"},
		"Größe STRASSE straße":      {"grosse", "strasse"},
		"cafe\u0301 CAFÉ":           {"cafe"},
		"ﬁnance ①":                  {"finance", "1"},
		"東京都":                       {"東京", "京都", "都"},
		"iPhone手機":                  {"iphone", "手機", "機"},
		"コーヒー":                      {"コー", "ーヒ", "ヒー", "ー"},
		"ไทย":                       {"ไท", "ทย", "ย"},
		"हिन्दी भाषा":               {"हिन्दी", "भाषा"},
		"ok👍🏽👍":                     {"ok", "👍"},
		"mail@example.com":          {"mail", "example", "com"},
		"a\xffb\x00c":               {"a", "b", "c"},
	} {
		require.Equal(t, want, words.Of(text(content)), "%q", content)
	}
}

func TestOf_AllTexts_AreSearched(t *testing.T) {
	m := &domain.Message{Type: domain.TypeDocument, Content: "a", Caption: "b", Filename: "Bill_7.pdf", MediaURL: "https://example.com/x"}
	require.Equal(t, []string{"a", "b", "bill", "7", "pdf"}, words.Of(m))
	m = &domain.Message{Type: domain.TypePoll, Content: `{"question":"Lunch?","options":["Soup","Rice"]}`}
	require.ElementsMatch(t, []string{"lunch", "soup", "rice"}, words.Of(m))
}

func TestOf_LongText_IsCut(t *testing.T) {
	require.Equal(t, []string{strings.Repeat("a", 64)}, words.Of(text(strings.Repeat("a", 100))))
	long := words.Of(text(strings.Repeat("é", 30) + strings.Repeat("ж", 30)))
	require.Len(t, long, 1)
	require.True(t, utf8.ValidString(long[0]))
	var many strings.Builder
	for i := range 5000 {
		many.WriteString(strings.Repeat("x", i%50+1))
		many.WriteByte(byte('a' + i%26))
		many.WriteRune(rune('а' + i/100))
		many.WriteByte(' ')
	}
	require.LessOrEqual(t, len(words.Of(text(many.String()))), 2000)
}

func TestFinds_EveryWordBeginsAWord(t *testing.T) {
	for _, c := range []struct {
		search, content string
		want            bool
	}{
		{"inv", "The invoice", true},
		{"INVOICE the", "The invoice", true},
		{"voice", "The invoice", false},
		{"invoice paid", "The invoice", false},
		{"", "The invoice", false},
		{"!", "wow!", false},
		{"京", "東京都", true},
		{"京都", "東京都", true},
		{"東都", "東京都", false},
		{"東京都", "東京と京都", true}, // both pairs occur
		{"pelúr", "Pelurusan", true},
	} {
		require.Equal(t, c.want, words.ParseSearch(c.search).Finds(text(c.content)), "%q in %q", c.search, c.content)
	}
}

func TestIndex_EachWord_CarriesItsSession(t *testing.T) {
	index := words.Index("s1", domain.TypeText, "one two", "", "")
	require.Equal(t, words.ParseSearch("one two").Within("s1"), strings.Fields(index))
	require.NotEqual(t, words.ParseSearch("one two").Within("s2"), strings.Fields(index))
	for _, c := range words.Index("s-_!", domain.TypeText, "a-b, c_d “é” 東京 👍", "", "") {
		require.True(t, c == ' ' || c >= 0x80 || 'a' <= c && c <= 'z' || '0' <= c && c <= '9', "%q", c)
	}
}
