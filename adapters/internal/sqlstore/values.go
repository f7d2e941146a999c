package sqlstore

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// micros is a time in a column that is ordered by: the zero time comes first.
func micros(t time.Time) int64 { return t.UnixMicro() }

// ceiling is the first microsecond that is not before a time, for comparing with
// rows, which have nothing in between.
func ceiling(t time.Time) int64 {
	us := t.UnixMicro()
	if t.Nanosecond()%1000 != 0 {
		us++
	}
	return us
}

// when is a time in a column of its own: NULL if it is zero.
func when(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

// encoded is a value as JSON, and "" for nil.
func encoded(v any, isNil bool) (string, error) {
	if isNil {
		return "", nil
	}
	b, err := json.Marshal(v)
	return string(b), err
}

// bytes is NULL if there are none at all.
func bytes(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// percent is a number that every database keeps.
func percent(f float64) float64 {
	if math.IsNaN(f) {
		return -1 // unknown
	}
	return f
}

// row is one row of a result.
type row struct {
	values []driver.Value
	err    *error // of reading it
}

func (r row) text(i int) string {
	switch v := r.values[i].(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return ""
}

func (r row) int64(i int) int64 {
	switch v := r.values[i].(type) {
	case int64:
		return v
	case float64:
		return int64(v)
	}
	return 0
}

func (r row) int(i int) int { return int(r.int64(i)) }

func (r row) bool(i int) bool {
	switch v := r.values[i].(type) {
	case bool:
		return v
	case int64:
		return v != 0
	}
	return false
}

func (r row) float(i int) float64 {
	switch v := r.values[i].(type) {
	case float64:
		return v
	case int64:
		return float64(v)
	}
	return 0
}

func (r row) bytes(i int) []byte {
	b, _ := r.values[i].([]byte)
	return b
}

func (r row) hash(i int) (h [32]byte) {
	copy(h[:], r.bytes(i))
	return h
}

// time is UTC; NULL is the zero time.
func (r row) time(i int) time.Time {
	v, is := r.values[i].(int64)
	if !is {
		return time.Time{}
	}
	return time.UnixMicro(v).UTC()
}

func (r row) duration(i int) time.Duration { return time.Duration(r.int64(i)) }

// decode reads what encoded wrote.
func (r row) decode(i int, into any) {
	text := r.text(i)
	if text == "" {
		return
	}
	if err := json.Unmarshal([]byte(text), into); err != nil && *r.err == nil {
		*r.err = fmt.Errorf("a stored value is broken: %w", err)
	}
}
