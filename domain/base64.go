package domain

import (
	"fmt"
	"mime"
	"strings"
	"unicode/utf8"
)

// The classes of bytes in base64 text.
const (
	base64Bad   = iota
	base64Digit // of the standard alphabet
	base64URL   // - and _, which stand for + and / in URLs
	base64Space // blanks, tabs and line breaks, which mail programs add
	base64Pad
)

// base64Classes holds the class of every byte.
var base64Classes = func() (classes [256]uint8) {
	for c := range 128 {
		if isAlnum(byte(c)) {
			classes[c] = base64Digit
		}
	}
	for _, class := range []struct {
		chars string
		class uint8
	}{{"+/", base64Digit}, {"-_", base64URL}, {" \t\r\n", base64Space}, {"=", base64Pad}} {
		for i := range len(class.chars) {
			classes[class.chars[i]] = class.class
		}
	}
	return classes
}()

// dataURLHeadMax limits the bytes of a data URL in front of the comma.
const dataURLHeadMax = 255

// CutDataURL splits media into its media type and its base64 text. The type is "" for text that is no
// data URL, and for a data URL without a type. The words data and base64 may be in any case. Both results
// are "" for a malformed head, which [Outgoing.Validate] refuses.
func CutDataURL(media string) (mediaType, text string) {
	mediaType, text, _ = cutDataURL(media)
	return mediaType, text
}

// cutDataURL is [CutDataURL] and also returns why the head is refused, or "".
func cutDataURL(media string) (mediaType, text, problem string) {
	const scheme, ending = "data:", "base64"
	start := strings.TrimLeft(media, " \t\r\n")
	if len(start) < len(scheme) || !strings.EqualFold(start[:len(scheme)], scheme) {
		return "", media, ""
	}
	head := start[len(scheme):min(len(start), dataURLHeadMax)]
	comma := strings.IndexByte(head, ',')
	if comma < 0 {
		return "", "", "a data URL needs a comma after ;base64"
	}
	head, text = head[:comma], start[len(scheme)+comma+1:]
	semicolon := strings.LastIndexByte(head, ';')
	if semicolon < 0 || !strings.EqualFold(strings.TrimSpace(head[semicolon+1:]), ending) {
		return "", "", "a data URL must begin like data:image/png;base64,"
	}
	mediaType = strings.TrimSpace(head[:semicolon])
	if mediaType == "" || mediaType[0] == ';' {
		return "", text, ""
	}
	name, _, err := mime.ParseMediaType(mediaType)
	if err != nil || !strings.Contains(name, "/") {
		return "", "", "the media type of the data URL is invalid; write it like image/png"
	}
	return mediaType, text, ""
}

// base64Problem returns why media is no base64, or "". Positions count characters from 1. The text may be
// broken into lines, lack its padding, use the alphabet for URLs, and follow the head of a data URL.
func base64Problem(media string) string {
	_, text, problem := cutDataURL(media)
	if problem != "" {
		return problem
	}
	digits, pads := 0, 0
	for i := range len(text) {
		switch base64Classes[text[i]] {
		case base64Digit, base64URL:
			if pads > 0 {
				return fmt.Sprintf("character %d follows the padding", characterAt(media, text, i))
			}
			digits++
		case base64Space:
		case base64Pad:
			pads++
		default:
			r, _ := utf8.DecodeRuneInString(text[i:])
			return fmt.Sprintf("character %d is %s", characterAt(media, text, i), describe(r))
		}
	}
	switch {
	case digits == 0:
		return "there is no content"
	case digits%4 == 1:
		return fmt.Sprintf("it ends in the middle, after %d characters of content", digits)
	case pads > 2, pads > 0 && (digits+pads)%4 != 0:
		return fmt.Sprintf("%d characters of content and %d of padding do not fit together", digits, pads)
	}
	return ""
}

// characterAt returns the position in media, in characters from 1, of byte i of the text at its end.
func characterAt(media, text string, i int) int {
	return utf8.RuneCountInString(media[:len(media)-len(text)+i]) + 1
}

// describe names a character that is refused.
func describe(r rune) string {
	if r > ' ' && r < 0x7f {
		return fmt.Sprintf("%q", r)
	}
	return fmt.Sprintf("%U", r)
}

// AppendBase64 appends base64 text in its canonical form: the standard alphabet, with padding, without
// line breaks. It allocates nothing if dst has room. The text is one that [Outgoing.Validate] accepts,
// without the head of a data URL.
func AppendBase64(dst []byte, text string) []byte {
	begin, from := len(dst), 0
	for i := range len(text) {
		class := base64Classes[text[i]]
		if class == base64Digit {
			continue
		}
		dst = append(dst, text[from:i]...)
		from = i + 1
		switch text[i] {
		case '-':
			dst = append(dst, '+')
		case '_':
			dst = append(dst, '/')
		}
	}
	dst = append(dst, text[from:]...)
	for n := len(dst) - begin; n%4 != 0; n++ {
		dst = append(dst, '=')
	}
	return dst
}
