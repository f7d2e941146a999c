package sqlstore

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// The package comment states a bound for each table that a migration creates.
func TestBounds_EachTable_IsStated(t *testing.T) {
	comment, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	files, err := migrationFiles.ReadDir("migrations")
	require.NoError(t, err)
	for _, f := range files {
		script, err := migrationFiles.ReadFile("migrations/" + f.Name())
		require.NoError(t, err)
		for _, created := range regexp.MustCompile(`CREATE TABLE (\w+)`).FindAllStringSubmatch(string(script), -1) {
			require.Regexp(t, `(?m)^//\t`+created[1]+` {2,}\S`, string(comment), f.Name())
		}
	}
}
