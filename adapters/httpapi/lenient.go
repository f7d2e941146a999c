package httpapi

import (
	"math"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/switchyard-wa/switchyard/domain"
)

// What a worker need not say is no reason to refuse its report, which it will
// not repeat: these read optional fields, and one that is malformed is as if
// it were not there.

// note is text that takes a number for its text.
func (b *body) note(to *string, most int) {
	switch b.kind() {
	case jsontext.KindString:
		b.text(to, most)
	case jsontext.KindNumber:
		if raw, ok := b.value(); ok {
			*to = clean(string(raw), most)
		}
	}
}

// workerID reads the id of the worker that sends the request.
func (b *body) workerID() {
	b.note(&b.worker, maxID)
	b.worker = domain.NormalizeWorkerRef(b.worker)
}

// qrText reads a QR. A number is none.
func (b *body) qrText(to *string) {
	if b.kind() == jsontext.KindString {
		b.string(to)
	}
}

// accountPhone reads the number of an account.
func (b *body) accountPhone(to *string) {
	var raw string
	b.note(&raw, maxID)
	*to = domain.AccountPhone(raw)
}

// flag is bool.
func (b *body) flag(to *bool) {
	if k := b.kind(); k == jsontext.KindTrue || k == jsontext.KindFalse {
		b.bool(to)
	}
}

// about is time.
func (b *body) about(to *time.Time) {
	if k := b.kind(); k != jsontext.KindString && k != jsontext.KindNumber {
		return
	}
	if t, ok := b.moment(); ok {
		*to = t
	}
}

// measure is number.
func (b *body) measure(to *float64) bool {
	return b.kind() == jsontext.KindNumber && b.number(to)
}

// generation reads the generation of a session.
func (b *body) generation(to *int64) {
	var f float64
	if b.measure(&f) && f == math.Trunc(f) && f >= 0 && f <= maxExact {
		*to = int64(f)
	}
}
