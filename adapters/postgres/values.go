package postgres

import (
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"
)

// errUnknownType reports a type that the schema and its queries do not use.
var errUnknownType = errors.New("postgres: a value of an unknown type")

// params holds the arguments of a statement in the wire format.
type params struct {
	memory []byte
	values [][]byte
	types  []uint32 // 0: the server infers the type
}

// set encodes arguments. They replace those of the statement before.
func (p *params) set(args []any) error {
	if p.memory == nil {
		p.memory = make([]byte, 0, 512) // so that no value is nil, which means NULL
	}
	b := p.memory[:0]
	p.values, p.types = p.values[:0], p.types[:0]
	for _, a := range args {
		begin, oid := len(b), uint32(0)
		switch v := a.(type) {
		case nil:
			p.values, p.types = append(p.values, nil), append(p.types, 0)
			continue
		case int64:
			b, oid = binary.BigEndian.AppendUint64(b, uint64(v)), pgtype.Int8OID
		case string:
			b, oid = append(b, storable(v)...), pgtype.TextOID
		case []byte:
			b, oid = append(b, v...), pgtype.ByteaOID
		case bool:
			b, oid = append(b, 0), pgtype.BoolOID
			if v {
				b[begin] = 1
			}
		case float64:
			b, oid = binary.BigEndian.AppendUint64(b, math.Float64bits(v)), pgtype.Float8OID
		default:
			return fmt.Errorf("%w: %T", errUnknownType, a)
		}
		p.values = append(p.values, b[begin:len(b):len(b)]) // append to b cannot overwrite the value
		p.types = append(p.types, oid)
	}
	p.memory = b
	return nil
}

// setArrays encodes, for each argument of a statement, the values of several participants as one array. types holds the
// types of the elements.
func (p *params) setArrays(types []uint32, of []*participant) error {
	b := p.memory[:0]
	p.values, p.types = p.values[:0], p.types[:0]
	for i, oid := range types {
		array, known := arrayOf[oid]
		if !known {
			return fmt.Errorf("%w: OID %d", errUnknownType, oid)
		}
		begin := len(b)
		hasNull := slices.ContainsFunc(of, func(m *participant) bool { return m.params.values[i] == nil })
		for _, v := range [...]uint32{1, 0, oid, uint32(len(of)), 1} { // dimensions, has NULLs, element type, length, lower bound
			b = binary.BigEndian.AppendUint32(b, v)
		}
		if hasNull {
			b[begin+7] = 1
		}
		for _, m := range of {
			if v := m.params.values[i]; v == nil {
				b = binary.BigEndian.AppendUint32(b, math.MaxUint32)
			} else {
				b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
			}
		}
		p.values, p.types = append(p.values, b[begin:len(b):len(b)]), append(p.types, array)
	}
	p.memory = b
	return nil
}

// arrayOf maps a type to the type of its arrays.
var arrayOf = map[uint32]uint32{
	pgtype.Int8OID: pgtype.Int8ArrayOID, pgtype.TextOID: pgtype.TextArrayOID, pgtype.ByteaOID: pgtype.ByteaArrayOID,
	pgtype.BoolOID: pgtype.BoolArrayOID, pgtype.Float8OID: pgtype.Float8ArrayOID,
}

// storable returns the text with U+FFFD in place of everything that PostgreSQL cannot hold.
func storable(s string) string {
	if strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) {
		return s
	}
	const replacement = string(utf8.RuneError)
	return strings.ReplaceAll(strings.ToValidUTF8(s, replacement), "\x00", replacement)
}

// decode decodes a value of a type that the schema and its queries use.
func decode(into *driver.Value, v []byte, oid uint32) error {
	switch {
	case v == nil:
		*into = nil
	case oid == pgtype.Int8OID && len(v) == 8:
		*into = int64(binary.BigEndian.Uint64(v))
	case oid == pgtype.Int4OID && len(v) == 4:
		*into = int64(int32(binary.BigEndian.Uint32(v)))
	case oid == pgtype.TextOID, oid == pgtype.VarcharOID, oid == pgtype.NameOID:
		*into = string(v)
	case oid == pgtype.ByteaOID:
		*into = append([]byte{}, v...)
	case oid == pgtype.BoolOID && len(v) == 1:
		*into = v[0] != 0
	case oid == pgtype.Float8OID && len(v) == 8:
		*into = math.Float64frombits(binary.BigEndian.Uint64(v))
	default:
		return fmt.Errorf("%w: OID %d", errUnknownType, oid)
	}
	return nil
}
