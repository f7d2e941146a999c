package secretfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/switchyard-wa/switchyard/adapters/internal/filelock"
)

// maxSize bounds the file in bytes.
const maxSize = 1 << 20

// File is a file of secrets. It is safe for concurrent use, by several processes too.
type File struct{ path string }

// New returns the file at a path. It does not open the file.
func New(path string) *File { return &File{path} }

// Path returns the path of the file.
func (f *File) Path() string { return f.path }

// Read returns the texts by name. A missing file has none. Read refuses a file that is open
// to others, empty or damaged.
func (f *File) Read() (map[string]string, error) {
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the secrets file cannot be read: %w", err)
	}
	defer file.Close() //nolint:errcheck // it was only read
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
	entries, problem := parse(text)
	if problem != "" {
		return nil, fmt.Errorf("the secrets file %s %s; restore it from a backup, or remove it to have new secrets made, which ends all access tokens and the tokens of all workers", f.path, problem)
	}
	return entries, nil
}

// parse returns the entries in the content of a file, or what is wrong with it.
func parse(text []byte) (entries map[string]string, problem string) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, "is empty"
	}
	var values map[string]any
	if len(text) > maxSize || json.Unmarshal(text, &values) != nil || values == nil {
		return nil, "is damaged: it must be a JSON object of texts by name"
	}
	entries = make(map[string]string, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value, isText := values[name].(string)
		if !isText || value == "" {
			return nil, fmt.Sprintf("is damaged: its entry %q must be a text that is not empty", name)
		}
		entries[name] = value
	}
	return entries, ""
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

// addLocked locks the file and adds the entries whose names are missing.
func (f *File) addLocked(fresh map[string]string) (map[string]string, error) {
	path := resolve(f.path)
	lock, err := filelock.Acquire(path + ".lock")
	if err == nil {
		defer lock.Remove()
	} else if !errors.Is(err, errors.ErrUnsupported) {
		return nil, err
	}
	entries, err := f.Read() // another writer may have been first
	if err != nil {
		return nil, err
	}
	lacking := missing(entries, fresh)
	if len(lacking) == 0 {
		return entries, nil
	}
	maps.Copy(entries, lacking)
	doc, err := json.MarshalIndent(entries, "", "  ")
	if err != nil {
		return nil, err
	}
	return entries, replace(path, append(doc, '\n'))
}

// resolve returns the path that a symbolic link leads to, whether or not a file is there. A
// rename would replace the link.
func resolve(path string) string {
	const maxLinks = 40
	for range maxLinks {
		target, err := os.Readlink(path)
		if err != nil {
			break // no link
		}
		if !filepath.IsAbs(target) {
			target = filepath.Dir(path) + string(filepath.Separator) + target
		}
		path = target
	}
	return path
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

// replace makes or replaces the file in one step that survives a crash. The caller holds the lock.
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
