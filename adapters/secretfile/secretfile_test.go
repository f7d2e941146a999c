package secretfile_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/secretfile"
)

func path(t *testing.T) string { return filepath.Join(t.TempDir(), "switchyard.secrets") }

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), mode))
	require.NoError(t, os.Chmod(path, mode))
}

func read(t *testing.T, path string) (entries map[string]any) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &entries))
	return entries
}

func TestFile_Add_NewFileForItsOwnerAlone(t *testing.T) {
	p := path(t)
	f := secretfile.New(p)
	none, err := f.Read()
	require.NoError(t, err)
	require.Empty(t, none)
	require.NoFileExists(t, p, "reading creates nothing")

	all, err := f.Add(map[string]string{"jwt-secret": "one", "worker-token": "two"})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"jwt-secret": "one", "worker-token": "two"}, all)
	info, err := os.Stat(p)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	again, err := secretfile.New(p).Read()
	require.NoError(t, err)
	require.Equal(t, all, again)
	entries, err := os.ReadDir(filepath.Dir(p))
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file is left")
}

func TestFile_Add_ReplacesNothingAndKeepsUnknownEntries(t *testing.T) {
	p := path(t)
	write(t, p, `{"jwt-secret":"mine","later":"<kept> é"}`, 0o600)
	all, err := secretfile.New(p).Add(map[string]string{"jwt-secret": "other", "worker-token": "two"})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"jwt-secret": "mine", "worker-token": "two", "later": "<kept> é"}, all)
	require.Equal(t, map[string]any{"jwt-secret": "mine", "worker-token": "two", "later": "<kept> é"}, read(t, p))
}

func TestFile_OpenToOthers_IsRefused(t *testing.T) {
	for _, mode := range []os.FileMode{0o644, 0o640, 0o604, 0o660, 0o602, 0o610} {
		p := path(t)
		write(t, p, `{"jwt-secret":"mine"}`, mode)
		_, err := secretfile.New(p).Read()
		require.ErrorContains(t, err, "chmod 600 "+p, "%04o", mode)
		_, err = secretfile.New(p).Add(map[string]string{"worker-token": "two"})
		require.ErrorContains(t, err, "chmod 600 "+p)
		require.NotContains(t, err.Error(), "mine")
		require.Equal(t, map[string]any{"jwt-secret": "mine"}, read(t, p))
	}
	p := path(t)
	write(t, p, `{"jwt-secret":"mine"}`, 0o400)
	all, err := secretfile.New(p).Add(map[string]string{"jwt-secret": "other"})
	require.NoError(t, err, "a file that has everything need not be writable")
	require.Equal(t, "mine", all["jwt-secret"])
}

// What stands in the file may be all that is left of secrets in use: a person decides.
func TestFile_EmptyOrDamaged_IsRefusedAndKept(t *testing.T) {
	for text, problem := range map[string]string{
		"": "is empty", " \n\t": "is empty",
		`{"jwt-secret":"mi`: "is damaged", `null`: "is damaged", `[]`: "is damaged", `"text"`: "is damaged",
		`jwt-secret=mine`: "is damaged", `{} {}`: "is damaged",
		`{"jwt-secret":null}`: `entry "jwt-secret" must be a text`, `{"jwt-secret":""}`: `entry "jwt-secret" must be a text`,
		`{"jwt-secret":["mine"]}`: `entry "jwt-secret" must be a text`, `{"jwt-secret":12}`: `entry "jwt-secret" must be a text`,
		`{"jwt-secret":"mine","later":{"keys":[1]}}`: `entry "later" must be a text`,
	} {
		p := path(t)
		write(t, p, text, 0o600)
		_, err := secretfile.New(p).Read()
		require.ErrorContains(t, err, problem, text)
		_, err = secretfile.New(p).Add(map[string]string{"jwt-secret": "other"})
		require.ErrorContains(t, err, problem, text)
		require.ErrorContains(t, err, "restore it from a backup, or remove it")
		require.NotContains(t, err.Error(), "mine")
		kept, err := os.ReadFile(p)
		require.NoError(t, err)
		require.Equal(t, text, string(kept))
	}
	_, err := secretfile.New(t.TempDir()).Read()
	require.ErrorContains(t, err, "not a regular file")
}

// A process died before the rename.
func TestFile_WriterCrashed_NextOneFinishes(t *testing.T) {
	for _, text := range []string{"", `{"worker-token":"two"}`} {
		p := path(t)
		want := map[string]any{"jwt-secret": "one"}
		if text != "" {
			write(t, p, text, 0o600)
			want["worker-token"] = "two"
		}
		write(t, p+".new", `{"jwt-sec`, 0o600)
		write(t, p+".lock", "", 0o600)
		all, err := secretfile.New(p).Add(map[string]string{"jwt-secret": "one"})
		require.NoError(t, err)
		require.Equal(t, "one", all["jwt-secret"])
		require.Equal(t, want, read(t, p))
		entries, err := os.ReadDir(filepath.Dir(p))
		require.NoError(t, err)
		require.Len(t, entries, 1, "nothing else is left")
	}
}

// A crash leaves what a reader sees at that moment: no file, or one that is whole.
func TestFile_FirstAdd_ReadersSeeNothingOrAll(t *testing.T) {
	for range 20 {
		p := path(t)
		added := make(chan error, 1)
		go func() {
			_, err := secretfile.New(p).Add(map[string]string{"jwt-secret": "one"})
			added <- err
		}()
		for isDone := false; !isDone; {
			all, err := secretfile.New(p).Read()
			require.NoError(t, err)
			select {
			case err := <-added:
				require.NoError(t, err)
				isDone = true
			default:
				require.Contains(t, []int{0, 1}, len(all))
			}
		}
		require.Equal(t, map[string]any{"jwt-secret": "one"}, read(t, p))
	}
}

// Locks belong to open files, so goroutines take turns here as processes do.
func TestFile_FirstStartsAtOnce_AllGetTheSameSecret(t *testing.T) {
	for range 20 {
		p := path(t)
		results := make([]map[string]string, 8)
		var wg sync.WaitGroup
		for i := range results {
			wg.Go(func() {
				mine := fmt.Sprint("secret of ", i)
				all, err := secretfile.New(p).Add(map[string]string{"jwt-secret": mine, fmt.Sprint("own-", i): mine})
				if err == nil {
					results[i] = all
				}
			})
		}
		wg.Wait()
		kept, err := secretfile.New(p).Read()
		require.NoError(t, err)
		require.Len(t, kept, 1+len(results), "no entry is lost")
		for _, all := range results {
			require.Equal(t, kept["jwt-secret"], all["jwt-secret"])
		}
	}
}

func TestFile_BehindALink_LinkStays(t *testing.T) {
	p := path(t)
	link := filepath.Join(t.TempDir(), "link")
	write(t, p, `{"a":"1"}`, 0o600)
	require.NoError(t, os.Symlink(p, link))
	_, err := secretfile.New(link).Add(map[string]string{"b": "2"})
	require.NoError(t, err)
	require.Equal(t, map[string]any{"a": "1", "b": "2"}, read(t, p))
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink)
}

func TestFile_BehindALinkToNoFile_LinkStays(t *testing.T) {
	directory := t.TempDir()
	link := filepath.Join(directory, "link")
	require.NoError(t, os.Mkdir(filepath.Join(directory, "secrets"), 0o700))
	require.NoError(t, os.Symlink("secrets/file", link))
	_, err := secretfile.New(link).Add(map[string]string{"a": "1"})
	require.NoError(t, err)
	require.Equal(t, map[string]any{"a": "1"}, read(t, filepath.Join(directory, "secrets", "file")))
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink)
}

func TestFile_CannotBeWritten_SaysWhy(t *testing.T) {
	_, err := secretfile.New(filepath.Join(t.TempDir(), "no such directory", "file")).Add(map[string]string{"a": "1"})
	require.ErrorContains(t, err, "cannot be written")
	require.ErrorContains(t, err, "no such file or directory")
}
