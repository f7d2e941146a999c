package simworker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/switchyard-wa/switchyard/domain"
)

const (
	journalFile = "journal.jsonl"
	journalKept = 1 << 18 // entries, in memory
)

// State is what outlives a worker's process: the credentials of phones, by
// session, and the journal. Workers given the same one share them, as real
// ones do with shared storage. It is safe for concurrent use, and one in a
// directory is safe for several processes.
type State struct {
	dir string // empty: in memory

	mu      sync.Mutex
	phones  map[string]string
	entries []Entry
	journal *os.File
}

// NewState makes a state in memory. Its journal keeps the newest entries, some
// hundred thousand.
func NewState() *State { return &State{phones: map[string]string{}} }

// OpenState opens the state in a directory, which it makes if need be.
func OpenState(dir string) (*State, error) {
	if err := os.MkdirAll(filepath.Join(dir, "phones"), 0o700); err != nil {
		return nil, err
	}
	// Append mode: lines of several processes go below each other, each whole.
	f, err := os.OpenFile(filepath.Join(dir, journalFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &State{dir: dir, journal: f}, nil
}

// Close closes the journal.
func (s *State) Close() error {
	if s.journal == nil {
		return nil
	}
	return s.journal.Close()
}

// Phone gives the number of the phone that is linked to the session, if one is.
func (s *State) Phone(sessionID string) (string, bool) {
	if s.dir == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		phone, ok := s.phones[sessionID]
		return phone, ok
	}
	path, err := s.path(sessionID)
	if err != nil {
		return "", false
	}
	b, err := os.ReadFile(path)
	return string(b), err == nil && len(b) > 0
}

// Link notes that a phone is linked to the session.
func (s *State) Link(sessionID, phone string) error {
	if s.dir == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.phones[sessionID] = phone
		return nil
	}
	path, err := s.path(sessionID)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(s.dir, "new-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(phone)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// Unlink forgets the phone of the session, if there is one.
func (s *State) Unlink(sessionID string) error {
	if s.dir == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.phones, sessionID)
		return nil
	}
	path, err := s.path(sessionID)
	if err != nil {
		return err
	}
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// path is where the session's credentials are. Only ids that have the form of
// one may name a file.
func (s *State) path(sessionID string) (string, error) {
	if id, err := domain.NormalizeSessionID(sessionID); err != nil || id != sessionID {
		return "", fmt.Errorf("%q is not a session id", sessionID)
	}
	return filepath.Join(s.dir, "phones", sessionID), nil
}

// Record appends an entry to the journal, in one write.
func (s *State) Record(e Entry) error {
	e.Time = e.Time.UTC()
	if s.dir == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.entries) >= journalKept {
			s.entries = slices.Clone(s.entries[journalKept/2:])
		}
		s.entries = append(s.entries, e)
		return nil
	}
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = s.journal.Write(append(line, '\n'))
	return err
}

// Journal gives the entries so far, of all workers that share the state.
func (s *State) Journal() ([]Entry, error) {
	if s.dir == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.Clone(s.entries), nil
	}
	return ReadJournal(filepath.Join(s.dir, journalFile))
}
