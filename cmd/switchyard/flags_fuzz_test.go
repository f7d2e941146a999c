package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	plainLine    = regexp.MustCompile(`(?m)^([a-z][a-z-]*) [a-z0-9]+$`) // a name and its value, without doubt
	namedProblem = regexp.MustCompile(`^--[a-z-]+(: | must | and )`)
)

// FuzzConfigFile reads any file as the configuration of serve. Each problem names its flag, and
// each name that no command has is a problem.
func FuzzConfigFile(f *testing.F) {
	for _, text := range []string{
		"", "addr :8000\nlease 45s # comment\n", "addr=:8000", "stroe memory\nlease never", "config other.conf", "config s.conf",
		"allow-private-workers perhaps", "message-retention BASIC=1d,PRO=forever", "SWITCHYARD_ADDR :8000", "\xef\xbb\xbfaddr :1",
		"worker-token-file none.txt", "rate-limits {\"BASIC\":{}}", "help", "-addr x", "addr", "\x00 \xff", "lease 99999999999d",
		"worker-token x\nworker-token-file none.txt",
	} {
		f.Add([]byte(text))
	}
	known := everyFlag()
	path := filepath.Join(f.TempDir(), "s.conf")
	f.Fuzz(func(t *testing.T, text []byte) {
		require.NoError(t, os.WriteFile(path, text, 0o600))
		s := newServeFlags(io.Discard)
		require.NoError(t, s.parse([]string{"--config", path}))
		isRead := true
		for _, problem := range s.problems {
			require.Regexp(t, namedProblem, problem.Error())
			isRead = isRead && problem.Error() != "--config: bufio.Scanner: token too long"
		}
		for _, line := range plainLine.FindAllSubmatch(text, -1) {
			if name := string(line[1]); isRead && !known[name] {
				require.Contains(t, fmt.Sprint(s.problems), fmt.Sprintf("%q", name))
			}
		}
	})
}
