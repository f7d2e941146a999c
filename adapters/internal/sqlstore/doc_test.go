package sqlstore

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The package comment states a bound for each table that a migration creates and none drops.
func TestBounds_EachTable_IsStated(t *testing.T) {
	comment, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	files, err := migrationFiles.ReadDir("migrations")
	require.NoError(t, err)
	var all string
	for _, f := range files {
		script, err := migrationFiles.ReadFile("migrations/" + f.Name())
		require.NoError(t, err)
		all += string(script)
	}
	for _, created := range regexp.MustCompile(`CREATE TABLE (\w+)`).FindAllStringSubmatch(all, -1) {
		if !strings.Contains(all, "DROP TABLE "+created[1]+";") && !strings.Contains(all, "ALTER TABLE "+created[1]+" RENAME TO ") {
			require.Regexp(t, `(?m)^//\t`+created[1]+` {2,}\S`, string(comment))
		}
	}
}
