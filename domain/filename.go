package domain

import (
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// fallbackFilename is the name of a file that has none.
const fallbackFilename = "document"

// DeriveFilename returns a valid file name made of candidate, which comes from a URL or a header. Only
// the last segment of a path counts. The name keeps the rules for names that senders give: no path, no
// hidden characters, not blank, at most 255 characters. It ends with extension, which is empty or begins
// with a dot.
func DeriveFilename(candidate, extension string) string {
	name := strings.ToValidUTF8(candidate, "")
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	if _, found := FindHidden(name); found {
		name = strings.Map(func(r rune) rune {
			if IsHidden(r) {
				return -1
			}
			return r
		}, name)
	}
	name = strings.TrimSpace(name)
	if isBlank(name) || isDots(name) {
		name = fallbackFilename
	}
	if !strings.EqualFold(path.Ext(name), extension) {
		name += extension
	}
	excess := utf8.RuneCountInString(name) - maxFilename
	if excess <= 0 {
		return name
	}
	ending := path.Ext(name)
	if len(ending) > 16 {
		ending = "" // no extension, but a long name with a dot
	}
	base := []rune(strings.TrimSuffix(name, ending))
	isCutOff := func(r rune) bool { return isJoiner(r) || unicode.IsSpace(r) }
	return strings.TrimRightFunc(string(base[:len(base)-excess]), isCutOff) + ending
}

// isDots reports whether name is the name of a directory: . or ..
func isDots(name string) bool { return name == "." || name == ".." }

// filename checks the name that a sender gives to a file. The name may be empty, but not blank.
func (p *Problems) filename(field, name string) {
	if name == "" {
		return
	}
	before := len(p.fields)
	if isBlank(name) {
		name = "" // a name of nothing but blanks is reported as missing
	}
	p.line(field, name, 1, maxFilename)
	if strings.ContainsAny(name, "/\\\x00") || isDots(name) {
		p.Add(field, "Filename must not contain a path")
	}
	if len(p.fields) > before {
		return
	}
	if r, found := FindHidden(name); found {
		p.Add(field, "Filename must not contain the invisible character %U", r)
	}
}
