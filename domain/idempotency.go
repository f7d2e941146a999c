package domain

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"time"
)

const (
	// IdempotencyKeyLife is how long a key stands for the send that it was bound to.
	IdempotencyKeyLife = 24 * time.Hour

	maxIdempotencyKey = 255 // bytes
)

// IdempotencyKey binds a key, which a sender chose, to the message of a send. It is recorded with the
// message.
type IdempotencyKey struct {
	SessionID   string
	Key         string
	Fingerprint [32]byte // see [Outgoing.Fingerprint]
	MessageID   string   // our id
	CreatedAt   time.Time
	// Failure is the error that the send returned after it was recorded. It is zero if the send succeeded
	// or has not ended.
	Failure StoredError
	Rev     int64
}

// StoredError is an [Error] as a store keeps it. The zero value stands for none.
type StoredError struct {
	Kind    Kind
	Code    Code
	Message string
}

// Err returns the error, or nil.
func (e StoredError) Err() error {
	if e.Code == "" {
		return nil
	}
	return &Error{Kind: e.Kind, Code: e.Code, Message: e.Message}
}

// StoreError returns what a store keeps of the first [Error] in err's chain. It returns the zero value if
// there is none.
func StoreError(err error) StoredError {
	var e *Error
	if !errors.As(err, &e) {
		return StoredError{}
	}
	return StoredError{Kind: e.Kind, Code: e.Code, Message: e.Message}
}

// IsExpired reports whether the key no longer stands for its send.
func (k *IdempotencyKey) IsExpired(now time.Time) bool {
	return now.Sub(k.CreatedAt) >= IdempotencyKeyLife
}

// CheckIdempotencyKey returns an error unless key has 1 to 255 printable ASCII characters.
func CheckIdempotencyKey(key string) error {
	problem := ""
	switch {
	case key == "":
		problem = "must not be empty"
	case len(key) > maxIdempotencyKey:
		problem = fmt.Sprintf("must have at most %d characters", maxIdempotencyKey)
	}
	for i := 0; i < len(key) && problem == ""; i++ {
		if key[i] < ' ' || key[i] > '~' {
			problem = fmt.Sprintf("must have printable ASCII characters only: character %d is none", i+1)
		}
	}
	if problem == "" {
		return nil
	}
	var p Problems
	p.Add("Idempotency-Key", "Idempotency-Key %s", problem)
	return p.Err()
}

// Fingerprint returns a hash of the message and its media. Two messages have the same fingerprint if they
// ask for the same: the recipient counts, not its spelling. The fingerprint of a message stays the same
// when later releases add fields. The error says that an upload cannot be read.
func (m *Outgoing) Fingerprint() ([32]byte, error) {
	f := fingerprint{sha256.New()}
	to := m.To
	if jid, err := ParseRecipient(m.To); err == nil {
		to = string(jid)
	}
	f.text("to", to)
	f.text("type", string(m.Type))
	f.text("text", m.Text)
	f.text("mediaUrl", m.MediaURL)
	_, media := CutDataURL(m.Media)
	f.text("media", media)
	f.text("filename", m.Filename)
	f.text("caption", m.Caption)
	f.flag("humanSimulation", m.HumanSimulation)
	f.text("quotedMessageId", m.QuotedMessageID)
	for _, jid := range m.MentionedJIDs() {
		f.text("mention", jid)
	}
	m.Location.fingerprint(f)
	m.Contact.fingerprint(f)
	m.Link.fingerprint(f)
	m.Poll.fingerprint(f)
	m.Schedule.fingerprint(f)
	var err error
	if m.Upload != nil {
		f.begin("upload", m.Upload.Size)
		_, err = io.Copy(f.h, io.NewSectionReader(m.Upload.Content, 0, m.Upload.Size))
	}
	return [32]byte(f.h.Sum(nil)), err
}

func (l *Location) fingerprint(f fingerprint) {
	if l != nil {
		f.number("latitude", l.Latitude)
		f.number("longitude", l.Longitude)
		f.text("name", l.Name)
		f.text("address", l.Address)
	}
}

func (c *Contact) fingerprint(f fingerprint) {
	if c != nil {
		f.text("contactName", c.Name)
		f.text("contactPhone", c.Phone)
		f.text("contactEmail", c.Email)
		f.text("contactOrganization", c.Organization)
	}
}

func (l *Link) fingerprint(f fingerprint) {
	if l != nil {
		f.text("url", l.URL)
		f.text("title", l.Title)
		f.text("description", l.Description)
		f.text("thumbnail", l.Thumbnail)
	}
}

func (p *Poll) fingerprint(f fingerprint) {
	if p != nil {
		f.text("question", p.Question)
		for _, option := range p.Options {
			f.text("option", option)
		}
		f.flag("multipleAnswers", p.MultipleAnswers)
	}
}

// fingerprint hashes fields with their names and lengths. It leaves out empty fields.
type fingerprint struct{ h hash.Hash }

// begin hashes the name of a field and the length of its value.
func (f fingerprint) begin(name string, size int64) {
	b := binary.BigEndian.AppendUint64(nil, uint64(len(name)))
	b = append(b, name...)
	_, _ = f.h.Write(binary.BigEndian.AppendUint64(b, uint64(size))) // a hash returns no error
}

func (f fingerprint) text(name, value string) {
	if value == "" {
		return
	}
	f.begin(name, int64(len(value)))
	_, _ = io.WriteString(f.h, value)
}

func (f fingerprint) flag(name string, value bool) {
	if value {
		f.begin(name, 0)
	}
}

func (f fingerprint) number(name string, value float64) {
	f.begin(name, 8)
	_, _ = f.h.Write(binary.BigEndian.AppendUint64(nil, math.Float64bits(value)))
}
