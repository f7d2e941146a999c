package httpworker

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// byteOrderMark stands in front of the text that some editors and libraries write.
var byteOrderMark = []byte("\xef\xbb\xbf")

// unmarshal decodes the body of a response. It skips a byte order mark. Invalid
// UTF-8 and lone surrogates become U+FFFD.
func unmarshal(body []byte, v any) error {
	return json.Unmarshal(bytes.TrimPrefix(body, byteOrderMark), v)
}

// isNull reports whether a member is null or missing.
func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// lenientText is a text that may come as a number. Every other value counts as
// missing. Thus one odd member does not make a whole response unusable.
type lenientText string

// UnmarshalJSON decodes a string or a number.
func (t *lenientText) UnmarshalJSON(raw []byte) error {
	var s string
	var n json.Number
	switch {
	case string(raw) == "null":
	case json.Unmarshal(raw, &s) == nil:
		*t = lenientText(s)
	case json.Unmarshal(raw, &n) == nil:
		*t = lenientText(n)
	}
	return nil
}

// positive returns the text as an integer, or 0 if it is not a positive one.
func (t lenientText) positive() int64 {
	n, err := strconv.ParseInt(string(t), 10, 64)
	if err != nil {
		return 0
	}
	return max(n, 0)
}
