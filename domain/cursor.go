package domain

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	cursorRule  = "Cursor is not valid; use nextCursor from the previous page unchanged"
	cursorIDMax = 255 // bytes
)

// Cursor is a position in a list that is ordered by time and then id: the last item of the previous
// page. The zero Cursor is the start of the list.
type Cursor struct {
	At time.Time
	ID string
}

// String returns the cursor as opaque URL-safe text, or "" for the start of the list. The time is in
// UTC, truncated to microseconds as in stores. [ParseCursor] reads the text back if the year is 1 to
// 9999 and the id has at most 255 bytes of text without control characters.
func (c Cursor) String() string {
	if c.At.IsZero() && c.ID == "" {
		return ""
	}
	b := make([]byte, 0, 8+len(c.ID))
	b = binary.BigEndian.AppendUint64(b, uint64(c.At.UnixMicro()))
	b = append(b, c.ID...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParseCursor returns the cursor that [Cursor.String] wrote. The text "" is the zero Cursor. Any other
// text is [Invalid], even if only its encoding differs.
func ParseCursor(s string) (Cursor, error) {
	if s == "" {
		return Cursor{}, nil
	}
	if len(s) > base64.RawURLEncoding.EncodedLen(8+cursorIDMax) {
		return Cursor{}, errCursor()
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) < 8 {
		return Cursor{}, errCursor()
	}
	c := Cursor{
		At: time.UnixMicro(int64(binary.BigEndian.Uint64(b))).UTC(),
		ID: string(b[8:]),
	}
	// A cursor comes from outside and enters a query. Values that a store may not handle are refused
	// here.
	if year := c.At.Year(); year < 1 || year > 9999 ||
		!utf8.ValidString(c.ID) || strings.ContainsFunc(c.ID, unicode.IsControl) || c.String() != s {
		return Cursor{}, errCursor()
	}
	return c, nil
}

// errCursor returns the error for text that is no cursor.
func errCursor() error { return Errorf(Invalid, CodeValidation, cursorRule) }
