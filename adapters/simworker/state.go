package simworker

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/switchyard-wa/switchyard/domain"
)

const (
	journalFile = "journal.jsonl"
	groupFile   = "group"
	journalKept = 1 << 18 // entries in memory
	journalTail = 8 << 20 // bytes at the end of a file that are searched for sends
)

// State holds the data that outlives the processes of workers: the credentials
// of phones by session, and the journal. For each worker it also holds the number
// of processes and the blocked generations. Workers with the same State share
// credentials and journal, like real workers with shared storage.
//
// It is safe for concurrent use. A State in a directory is also safe for
// several processes. Each may be killed at any time.
type State struct {
	dir   string // empty: in memory
	group string // the state group of workers with this state

	mu        sync.Mutex
	phones    map[string]credentials
	entries   []Entry
	processes map[string]int64            // by worker
	ended     map[string]map[string]int64 // generations by worker and session
	journal   *os.File
}

// credentials are what a session keeps on a worker after a phone was linked.
type credentials struct {
	phone      string
	generation int64 // of the session when it was linked; 0: on a legacy worker
}

// NewState returns a state in memory. Its journal keeps the newest entries, at
// least a hundred thousand.
func NewState() *State {
	return &State{group: newGroup(), phones: map[string]credentials{}, processes: map[string]int64{}, ended: map[string]map[string]int64{}}
}

// OpenState opens the state in a directory. It creates the directory if necessary.
func OpenState(dir string) (*State, error) {
	if err := os.MkdirAll(filepath.Join(dir, "phones"), 0o700); err != nil {
		return nil, err
	}
	group, err := openGroup(dir)
	if err != nil {
		return nil, err
	}
	// Append mode keeps the lines of several processes whole.
	f, err := os.OpenFile(filepath.Join(dir, journalFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &State{dir: dir, group: group, journal: f}, nil
}

// newGroup returns a state group that no other state has.
func newGroup() string { return "sim-" + strings.ToLower(rand.Text()) }

// openGroup returns the state group of a directory. The first process names it.
func openGroup(dir string) (string, error) {
	path := filepath.Join(dir, groupFile)
	f, err := os.CreateTemp(dir, "new-*")
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(newGroup())
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Link(f.Name(), path) // fails if there is one, and never shows half of one
	}
	if removeErr := os.Remove(f.Name()); removeErr != nil {
		return "", removeErr
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	group, err := os.ReadFile(path)
	return string(group), err
}

// Group returns the state group that workers with this state announce.
func (s *State) Group() string { return s.group }

// Close closes the journal.
func (s *State) Close() error {
	if s.journal == nil {
		return nil
	}
	return s.journal.Close()
}

// Phone returns the number of the phone that is linked to the session, if any.
func (s *State) Phone(sessionID string) (string, bool) {
	c, ok := s.credentials(sessionID)
	return c.phone, ok
}

func (s *State) credentials(sessionID string) (c credentials, ok bool) {
	if s.dir == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		c, ok = s.phones[sessionID]
		return c, ok
	}
	path, err := s.path(sessionID)
	if err != nil {
		return c, false
	}
	b, err := os.ReadFile(path)
	phone, generation, _ := strings.Cut(string(b), "\n")
	n, _ := strconv.ParseInt(generation, 10, 64) // a file of an earlier version has none
	return credentials{phone, n}, err == nil && phone != ""
}

// Link records that a phone is linked to the session, in one of its generations.
func (s *State) Link(sessionID, phone string, generation int64) error {
	if s.dir == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.phones[sessionID] = credentials{phone, generation}
		return nil
	}
	path, err := s.path(sessionID)
	if err != nil {
		return err
	}
	return s.write(path, phone+"\n"+strconv.FormatInt(generation, 10))
}

// UnlinkUpTo removes the phone of the session if it was linked in the generation or an
// older one. A late wipe, perhaps by another worker with the same state, therefore does
// not reach the credentials of a newer generation. Generation 0 stands for all of them.
func (s *State) UnlinkUpTo(sessionID string, generation int64) error {
	c, _ := s.credentials(sessionID)
	if generation != 0 && c.generation > generation {
		return nil
	}
	return s.Unlink(sessionID)
}

// write writes a file atomically.
func (s *State) write(path, text string) error {
	f, err := os.CreateTemp(s.dir, "new-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// Unlink removes the phone of the session, if any.
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

// path returns the file of the session's credentials. Only a well-formed session
// id may name a file.
func (s *State) path(sessionID string) (string, error) {
	if id, err := domain.NormalizeSessionID(sessionID); err != nil || id != sessionID {
		return "", fmt.Errorf("%q is not a session id", sessionID)
	}
	return filepath.Join(s.dir, "phones", sessionID), nil
}

// beginProcess records the start of a process of the worker. It returns the number of the
// process, and the highest blocked generation of each session.
func (s *State) beginProcess(worker string) (process int64, ended map[string]int64, err error) {
	if s.dir == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.processes[worker]++
		ended = maps.Clone(s.ended[worker])
		if ended == nil {
			ended = map[string]int64{}
		}
		return s.processes[worker], ended, nil
	}
	dir := s.workerDir(worker)
	if err := os.MkdirAll(filepath.Join(dir, "ended"), 0o700); err != nil {
		return 0, nil, err
	}
	process, err = readNumber(filepath.Join(dir, "processes"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, nil, err
	}
	process++
	if err := s.write(filepath.Join(dir, "processes"), strconv.FormatInt(process, 10)); err != nil {
		return 0, nil, err
	}
	files, err := os.ReadDir(filepath.Join(dir, "ended"))
	if err != nil {
		return 0, nil, err
	}
	ended = make(map[string]int64, len(files))
	for _, f := range files {
		ended[f.Name()], err = readNumber(filepath.Join(dir, "ended", f.Name()))
		if err != nil {
			return 0, nil, err
		}
	}
	return process, ended, nil
}

// recordEnded records the highest blocked generation of a session on a worker.
func (s *State) recordEnded(worker, sessionID string, generation int64) error {
	if s.dir == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.ended[worker] == nil {
			s.ended[worker] = map[string]int64{}
		}
		s.ended[worker][sessionID] = generation
		return nil
	}
	return s.write(filepath.Join(s.workerDir(worker), "ended", sessionID), strconv.FormatInt(generation, 10))
}

// workerDir returns the directory of one worker.
func (s *State) workerDir(worker string) string {
	return filepath.Join(s.dir, "worker-"+url.PathEscape(worker))
}

func readNumber(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s does not hold a number; restore or remove the file: %w", path, err)
	}
	return n, nil
}

// sentMessages returns the newest entries of messages with a client message id that the
// worker sent, oldest first. It returns at most the given number, from some ten
// thousand at the end of the journal.
func (s *State) sentMessages(worker string, most int) ([]Entry, error) {
	var found []Entry
	keep := func(e Entry) {
		if e.Event == SentOut && e.Worker == worker && e.ClientMessageID != "" {
			found = append(found, e)
		}
	}
	if s.dir == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, e := range s.entries {
			keep(e)
		}
		return found[max(len(found)-most, 0):], nil
	}
	tail, err := s.tail()
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(tail) {
		if !bytes.Contains(line, []byte(`"event":"send"`)) {
			continue
		}
		if e, err := parseEntry(line); err == nil { // skip an entry whose writer was killed
			keep(e)
		}
	}
	return found[max(len(found)-most, 0):], nil
}

// tail returns the end of the journal's file, from the start of a line.
func (s *State) tail() ([]byte, error) {
	f, err := os.Open(filepath.Join(s.dir, journalFile))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	from := max(size-journalTail, 0)
	tail := make([]byte, size-from)
	if _, err := f.ReadAt(tail, from); err != nil {
		return nil, err
	}
	if from > 0 {
		_, tail, _ = bytes.Cut(tail, []byte("\n"))
	}
	return tail, nil
}

// Record appends an entry to the journal in one write.
func (s *State) Record(e Entry) error {
	e.Time, e.Effective = e.Time.UTC(), e.Effective.UTC()
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

// Journal returns the entries of all workers that share the state.
func (s *State) Journal() ([]Entry, error) {
	if s.dir == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.Clone(s.entries), nil
	}
	return ReadJournal(filepath.Join(s.dir, journalFile))
}
