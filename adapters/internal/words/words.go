// Package words splits texts of messages into words, for full-text search. All stores use it, and so they find the same
// messages.
//
// # Rules
//
//   - A word is a run of letters, digits and their marks. Everything else separates words.
//   - Case does not matter, nor do compatibility forms, nor accents: É, é and e are equal, and so are ß and ss.
//   - Chinese, Japanese, Thai, Lao, Khmer and Burmese are written without blanks. Their words are the pairs of neighbouring
//     characters. A search for 東京都 finds texts in which 東京 and 京都 occur; a search for one character finds it anywhere.
//   - An emoji is a word.
//   - A search finds the texts in which every word of the search begins a word. The order does not matter.
//   - A search without any word finds nothing.
//
// A message is found by its content, caption and filename. Of a structured content only the values count, not the names of
// its members. Words are cut after 64 bytes, and a message has at most 2,000 different ones.
package words

import (
	"encoding/json"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/switchyard-wa/switchyard/domain"
)

const (
	maxWord  = 64   // bytes
	maxWords = 2000 // different words of one message
)

// unspaced are the scripts that are written without blanks between words.
var unspaced = []*unicode.RangeTable{
	unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Bopomofo, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar,
}

// Of returns the different words of a message, in order.
func Of(m *domain.Message) []string {
	return collect(true, texts(m.Type, m.Content, m.Caption, m.Filename))
}

// Index returns the words of a message of a session as one text, for a full-text index that sessions share. Blanks separate
// the words. Each begins with the mark of its session, and so a search reads nothing of other sessions.
func Index(sessionID string, kind domain.MessageType, content, caption, filename string) string {
	var b strings.Builder
	mark := markOf(sessionID)
	for i, word := range collect(true, texts(kind, content, caption, filename)) {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(mark)
		b.WriteString(word)
	}
	return b.String()
}

// markOf returns seven letters or digits that stand for a session. Two sessions may have the same mark.
func markOf(sessionID string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(sessionID))
	mark := strconv.FormatUint(uint64(h.Sum32()), 36)
	return strings.Repeat("0", 7-len(mark)) + mark
}

// Search is a search text as the beginnings of words that all have to occur.
type Search []string

// ParseSearch returns the different words of a search text.
func ParseSearch(text string) Search { return collect(false, []string{text}) }

// Finds reports whether a message matches. A search without words matches nothing.
func (s Search) Finds(m *domain.Message) bool {
	if len(s) == 0 {
		return false
	}
	found := Of(m)
	for _, prefix := range s {
		if !slices.ContainsFunc(found, func(word string) bool { return strings.HasPrefix(word, prefix) }) {
			return false
		}
	}
	return true
}

// Within returns the words as they stand in the index of [Index] for a session.
func (s Search) Within(sessionID string) []string {
	marked := make([]string, len(s))
	for i, word := range s {
		marked[i] = markOf(sessionID) + word
	}
	return marked
}

// texts returns the texts of a message that are searched.
func texts(kind domain.MessageType, content, caption, filename string) []string {
	list := []string{content, caption, filename}
	switch kind {
	case domain.TypeLocation, domain.TypeContact, domain.TypeLink, domain.TypePoll:
		var value map[string]any
		if json.Unmarshal([]byte(content), &value) == nil {
			return appendTexts(list[1:], value)
		}
	}
	return list
}

// appendTexts appends the texts within a JSON value.
func appendTexts(list []string, value any) []string {
	switch v := value.(type) {
	case string:
		list = append(list, v)
	case []any:
		for _, item := range v {
			list = appendTexts(list, item)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) { // always the same words of many
			list = appendTexts(list, v[name])
		}
	}
	return list
}

// collect returns the different words of texts. With stored words, a run of a script without blanks ends with its last
// character alone, for searches of one character.
func collect(stored bool, texts []string) []string {
	s := splitter{stored: stored}
	for _, text := range texts {
		s.split(fold(text))
		if len(s.words) >= maxWords {
			break
		}
	}
	return s.words
}

// fold returns a text in the form in which words are compared.
func fold(text string) string {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return foldUnicode(text)
		}
	}
	return strings.ToLower(text)
}

func foldUnicode(text string) string {
	decomposed := norm.NFKD.String(cases.Fold().String(norm.NFKD.String(text)))
	var b strings.Builder
	b.Grow(len(decomposed))
	for _, r := range decomposed {
		if r < 0x300 || r > 0x36f { // the accents of Latin, Greek and Cyrillic
			b.WriteRune(r)
		}
	}
	return norm.NFC.String(b.String())
}

// class is the part that a character plays in a text.
type class int

const (
	separating class = iota
	ofWord
	ofRun // in a script without blanks
	alone
	joined // belongs to what stands before it
)

func classify(r rune) class {
	switch {
	case r < utf8.RuneSelf:
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return ofWord
		}
		return separating
	case r == utf8.RuneError:
		return separating
	case unicode.In(r, unspaced...):
		if unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsNumber(r) {
			return ofRun
		}
		return separating
	case unicode.IsMark(r), unicode.Is(unicode.Lm, r):
		return joined
	case unicode.IsLetter(r), unicode.IsNumber(r):
		return ofWord
	case unicode.Is(unicode.So, r):
		return alone
	}
	return separating
}

// splitter collects words.
type splitter struct {
	stored bool
	words  []string
	seen   map[string]struct{} // only with many words
}

// split adds the words of a folded text.
func (s *splitter) split(text string) {
	begin, current := 0, separating
	for i, r := range text {
		next := classify(r)
		if next == joined {
			next = current
			if current == separating || current == alone {
				next = separating
			}
		}
		if next != current || next == alone {
			s.end(text[begin:i], current)
			begin, current = i, next
		}
	}
	s.end(text[begin:], current)
}

// end adds the words of a run of characters of one class.
func (s *splitter) end(run string, c class) {
	switch c {
	case ofWord, alone:
		s.add(run)
	case ofRun:
		runes := []rune(run)
		for i := range len(runes) - 1 {
			s.add(string(runes[i : i+2]))
		}
		if s.stored || len(runes) == 1 {
			s.add(string(runes[len(runes)-1:]))
		}
	}
}

func (s *splitter) add(word string) {
	if len(word) > maxWord {
		end := maxWord
		for !utf8.RuneStart(word[end]) {
			end--
		}
		word = word[:end]
	}
	if word == "" || len(s.words) >= maxWords {
		return
	}
	if s.seen == nil {
		if slices.Contains(s.words, word) {
			return
		}
		if len(s.words) == 32 {
			s.seen = make(map[string]struct{})
			for _, w := range s.words {
				s.seen[w] = struct{}{}
			}
		}
	}
	if s.seen != nil {
		if _, has := s.seen[word]; has {
			return
		}
		s.seen[word] = struct{}{}
	}
	s.words = append(s.words, word)
}
