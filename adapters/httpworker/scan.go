package httpworker

// scanSent reads the answer to a send in the one form that workers give it,
//
//	{"success":true,"message":"…","timestamp":"…","data":{"messageId":"…","status":"…","timestamp":"…"}}
//
// with the fields in any order and any but data and messageId left out. It is
// for the hot path: what looks any different, though it may be as good, is not
// ok and is for encoding/json to read. The results are parts of body;
// timestamp is as it stands there.
func scanSent(body []byte) (id, status, at []byte, ok bool) {
	s := scanner{b: body}
	found := false
	ok = s.object(func(key string) bool {
		switch key {
		case "success":
			return s.word("true")
		case "message", "timestamp":
			_, ok := s.text()
			return ok
		case "data":
			found = true
			return s.object(func(key string) (ok bool) {
				switch key {
				case "messageId":
					id, ok = s.text()
				case "status":
					status, ok = s.text()
				case "timestamp":
					at, ok = s.text()
				}
				return ok
			})
		}
		return false
	})
	s.space()
	return id, status, at, ok && found && len(id) > 0 && s.i == len(body)
}

// scanner reads plain JSON: strings of printable ASCII without escapes, and
// objects without repeated keys.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\n' || s.b[s.i] == '\r' || s.b[s.i] == '\t') {
		s.i++
	}
}

// word skips space and takes exactly w.
func (s *scanner) word(w string) bool {
	s.space()
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return false
	}
	s.i += len(w)
	return true
}

// text takes a string.
func (s *scanner) text() ([]byte, bool) {
	if !s.word(`"`) {
		return nil, false
	}
	for from := s.i; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return s.b[from : s.i-1], true
		case c < ' ' || c > '~' || c == '\\':
			return nil, false
		}
	}
	return nil, false
}

// object takes an object with at least one field; value takes a field's value
// and reports whether it could.
func (s *scanner) object(value func(key string) bool) bool {
	if !s.word("{") {
		return false
	}
	var seen [4]string
	for n := range seen {
		key, ok := s.text()
		if !ok || !s.word(":") {
			return false
		}
		for _, k := range seen[:n] {
			if k == string(key) {
				return false
			}
		}
		seen[n] = keyName(key)
		if !value(seen[n]) {
			return false
		}
		if s.word("}") {
			return true
		}
		if !s.word(",") {
			return false
		}
	}
	return false
}

// keyName gives the key without a copy if it is one of those known.
func keyName(key []byte) string {
	switch string(key) {
	case "success":
		return "success"
	case "message":
		return "message"
	case "data":
		return "data"
	case "messageId":
		return "messageId"
	case "status":
		return "status"
	case "timestamp":
		return "timestamp"
	}
	return ""
}
