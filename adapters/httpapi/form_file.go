package httpapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

const (
	// defaultUploadDisk is the disk space of all uploads under way.
	defaultUploadDisk = 1 << 30
	// uploadStep is how much disk space an upload reserves at a time.
	uploadStep = 256 << 10
)

// A formFile is a file that came in a form. Up to smallBody bytes stay in memory; larger
// files are on disk, in a file that has no name and that nobody else can read.
type formFile struct {
	api      *api
	caller   string
	name     string // as the sender wrote it
	declared string // media type, as the sender wrote it

	memory   []byte
	file     *os.File // nil: all is in memory
	size     int64
	reserved int64 // bytes of disk
	hash     hash.Hash
}

func newFormFile(a *api, caller, name, declared string) *formFile {
	return &formFile{api: a, caller: caller, name: name, declared: declared, hash: sha256.New()}
}

// Write appends to the upload.
func (u *formFile) Write(p []byte) (int, error) {
	if u.file == nil && len(u.memory)+len(p) > smallBody {
		if err := u.spill(); err != nil {
			return 0, err
		}
	}
	u.hash.Write(p)
	if u.file == nil {
		u.memory = append(u.memory, p...)
		u.size += int64(len(p))
		return len(p), nil
	}
	if err := u.reserve(u.size + int64(len(p))); err != nil {
		return 0, err
	}
	n, err := u.file.Write(p)
	u.size += int64(n)
	if err != nil {
		return n, u.storageError(err)
	}
	return n, nil
}

// spill moves the upload from memory to disk.
func (u *formFile) spill() error {
	if err := u.reserve(u.size); err != nil {
		return err
	}
	file, err := os.CreateTemp("", "switchyard-upload-*") // readable by this user alone
	if err != nil {
		return u.storageError(err)
	}
	u.file = file
	_ = os.Remove(file.Name()) // fails where open files keep their names; close removes it then
	if _, err := file.Write(u.memory); err != nil {
		return u.storageError(err)
	}
	u.memory = nil
	return nil
}

// reserve makes sure that the upload holds enough of the budget for a size.
func (u *formFile) reserve(size int64) error {
	for u.reserved < size {
		if !u.api.uploads.reserve(u.caller, uploadStep) {
			return errBodyMemory()
		}
		u.reserved += uploadStep
	}
	return nil
}

// storageError returns the error of an upload that cannot be stored.
func (u *formFile) storageError(cause error) error {
	return domain.Overloaded(time.Minute, "The server has no room for uploads at the moment; send media by URL").
		WithCause(fmt.Errorf("storing an upload: %w", cause))
}

// media returns the upload for a message. It can be read until the upload is closed.
func (u *formFile) media() *domain.Upload {
	var content io.ReaderAt = bytes.NewReader(u.memory)
	if u.file != nil {
		content = u.file
	}
	return &domain.Upload{Content: content, Size: u.size, Type: u.declared, SHA256: hex.EncodeToString(u.hash.Sum(nil))}
}

// attach puts the upload into a message. The name of the file counts unless the message
// has one.
func (u *formFile) attach(m *domain.Outgoing) {
	if u == nil {
		return
	}
	m.Upload = u.media()
	if m.Type == domain.TypeDocument && m.Filename == "" && u.name != "" {
		m.Filename = domain.DeriveFilename(u.name, "")
	}
}

// close deletes the upload.
func (u *formFile) close() {
	if u == nil {
		return
	}
	if u.file != nil {
		_ = u.file.Close() // nothing was meant to last
		_ = os.Remove(u.file.Name())
	}
	if u.reserved > 0 {
		u.api.uploads.release(u.caller, u.reserved)
		u.reserved = 0
	}
}
