package httpworker

// scanSent decodes the response to a send in the form that workers use,
//
//	{"success":true,"message":"…","timestamp":"…","data":{"messageId":"…","status":"…","timestamp":"…"}}
//
// with the fields in any order. All but data and messageId may be missing. It
// serves the hot path: for any other form it returns ok false, and encoding/json
// decodes the response. The results are slices of body.
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

// scanner parses plain JSON: strings of printable ASCII without escapes, and
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

// word skips space and consumes exactly w.
func (s *scanner) word(w string) bool {
	s.space()
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return false
	}
	s.i += len(w)
	return true
}

// text consumes a string and returns its content.
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

// object consumes an object with at least one field. It calls value to consume
// the value of each field; false stops it.
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

// keyName returns the key as a string, without an allocation if it is known.
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
