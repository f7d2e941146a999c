package secretfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// maxSize bounds the file in bytes.
const maxSize = 1 << 20

// File is a file of secrets. It is safe for concurrent use, by several processes too.
type File struct{ path string }

// New returns the file at a path. It does not open the file.
func New(path string) *File { return &File{path} }

// Path returns the path of the file.
func (f *File) Path() string { return f.path }

// Read returns the texts by name. A missing file has none. Read refuses a file that
// others may read or write.
func (f *File) Read() (map[string]string, error) {
	entries, err := f.read()
	return texts(entries), err
}

// read returns all entries. A missing file has none.
func (f *File) read() (map[string]json.RawMessage, error) {
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the secrets file cannot be read: %w", err)
	}
	defer file.Close() //nolint:errcheck // it was only read
	return f.readFrom(file)
}

// readFrom checks and parses an open file.
func (f *File) readFrom(file *os.File) (map[string]json.RawMessage, error) {
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("the secrets file cannot be read: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("the secrets file %s is not a regular file", f.path)
	case info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows":
		return nil, fmt.Errorf("the secrets file %s is open to others (mode %04o); run: chmod 600 %s", f.path, info.Mode().Perm(), f.path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("the secrets file cannot be read: %w", err)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	var entries map[string]json.RawMessage
	if len(text) > maxSize || json.Unmarshal(text, &entries) != nil || entries == nil {
		return nil, fmt.Errorf("the secrets file %s is damaged: it must be a JSON object of texts by name; restore it, or remove it to start with new secrets", f.path)
	}
	return entries, nil
}

// texts returns the entries that are texts.
func texts(entries map[string]json.RawMessage) map[string]string {
	all := make(map[string]string, len(entries))
	for name, raw := range entries {
		var text string
		if json.Unmarshal(raw, &text) == nil && text != "" {
			all[name] = text
		}
	}
	return all
}

// Add adds the entries whose names are missing and returns all texts by name. When Add
// returns, the entries are on the disk. A file that has all the names is not opened for
// writing.
func (f *File) Add(fresh map[string]string) (map[string]string, error) {
	present, err := f.Read()
	if err != nil || len(missing(present, fresh)) == 0 {
		return present, err
	}
	all, err := f.addLocked(fresh)
	if err != nil {
		return nil, fmt.Errorf("the secrets file cannot be written: %w", err)
	}
	return all, nil
}

// addLocked is Add for a file that lacks an entry.
func (f *File) addLocked(fresh map[string]string) (all map[string]string, err error) {
	path := f.path
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // a rename would replace the link
	}
	locked, err := openLocked(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, locked.Close()) }()
	entries, err := f.readFrom(locked)
	if err != nil {
		return nil, err
	}
	if entries == nil {
		entries = make(map[string]json.RawMessage)
	}
	lacking := missing(texts(entries), fresh)
	if len(lacking) == 0 {
		return texts(entries), nil
	}
	for name, text := range lacking {
		entries[name], err = json.Marshal(text)
		if err != nil {
			return nil, err
		}
	}
	doc, err := json.MarshalIndent(entries, "", "  ")
	if err != nil {
		return nil, err
	}
	return texts(entries), replace(path, append(doc, '\n'))
}

// missing returns the entries whose names are not present.
func missing(present, entries map[string]string) map[string]string {
	lacking := make(map[string]string)
	for name, text := range entries {
		if present[name] == "" {
			lacking[name] = text
		}
	}
	return lacking
}

// openLocked opens the file for writing, creates it if necessary, and locks it until it
// is closed. If another writer replaces the file before it is locked, openLocked opens the
// new file.
func openLocked(path string) (*os.File, error) {
	for {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := lock(file); err != nil {
			return nil, errors.Join(err, file.Close())
		}
		opened, err := file.Stat()
		if err != nil {
			return nil, errors.Join(err, file.Close())
		}
		present, err := os.Stat(path)
		if err == nil && os.SameFile(opened, present) {
			return file, nil
		}
		if closeErr := file.Close(); closeErr != nil || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(err, closeErr)
		}
	}
}

// replace replaces the file in one step that survives a crash. The caller holds the lock.
func replace(path string, doc []byte) error {
	temporary := path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(doc)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, path); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return syncDirectory(filepath.Dir(path))
}
