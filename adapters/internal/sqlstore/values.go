package sqlstore

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// micros returns a time as a number, for a column that lists are ordered by. The zero time sorts first.
func micros(t time.Time) int64 { return t.UnixMicro() }

// ceilMicros returns the first whole microsecond that is not before a time, for comparisons with stored times.
func ceilMicros(t time.Time) int64 {
	us := t.UnixMicro()
	if t.Nanosecond()%1000 != 0 {
		us++
	}
	return us
}

// nullableMicros returns a time as a number, or NULL for the zero time.
func nullableMicros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

// toJSON returns a value as JSON, or "" if it is nil.
func toJSON(v any, isNil bool) (string, error) {
	if isNil {
		return "", nil
	}
	b, err := json.Marshal(v)
	return string(b), err
}

// nullableBytes returns bytes, or NULL for nil.
func nullableBytes(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// numberOrUnknown returns a number that every database can store: -1, unknown, for NaN.
func numberOrUnknown(f float64) float64 {
	if math.IsNaN(f) {
		return -1
	}
	return f
}

// row is one row of a result.
type row struct {
	values []driver.Value
	err    *error // receives the error of a value that cannot be decoded
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

// time returns a time in UTC, or the zero time for NULL.
func (r row) time(i int) time.Time {
	v, is := r.values[i].(int64)
	if !is {
		return time.Time{}
	}
	return time.UnixMicro(v).UTC()
}

func (r row) duration(i int) time.Duration { return time.Duration(r.int64(i)) }

// decode reads a value that toJSON wrote.
func (r row) decode(i int, into any) {
	text := r.text(i)
	if text == "" {
		return
	}
	if err := json.Unmarshal([]byte(text), into); err != nil && *r.err == nil {
		*r.err = fmt.Errorf("a stored value is broken: %w", err)
	}
}
