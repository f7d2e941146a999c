package sqlstore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// dialects holds the queries of each dialect.
var dialects = map[string]*Queries{"sqlite": SQLite(), "postgres": Postgres()}

func TestStatements_UpdatesAndDeletes_HaveAKeyCondition(t *testing.T) {
	for name, b := range dialects {
		for _, s := range b.all {
			verb, _, _ := strings.Cut(s.SQL, " ")
			require.Equal(t, verb != "SELECT", s.Write, s.SQL)
			if verb == "UPDATE" || verb == "DELETE" {
				_, condition, _ := strings.Cut(s.SQL, " WHERE ")
				require.Regexp(t, `^\w+ ((=|<=|<|>) (\?|\$\d+|'outbox(_trimmed)?'|'indexed')|IN \(SELECT )|^\(session_id, idempotency_key\) IN \(SELECT `, condition, "%s: %s", name, s.SQL)
			}
		}
		for _, condition := range []string{"", " \n"} {
			require.Panics(t, func() { b.update("users", sets("name"), condition) })
			require.Panics(t, func() { b.deleteFrom("users", condition) })
		}
	}
}

// TestSources_UpdatesAndDeletes_AreBuiltInOnePlace checks the premise of the test above.
func TestSources_UpdatesAndDeletes_AreBuiltInOnePlace(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range files {
		source, err := os.ReadFile(name)
		require.NoError(t, err)
		n := 0
		if name == "statement.go" {
			n = 1
		}
		if !strings.HasSuffix(name, "_test.go") {
			require.Equal(t, n, strings.Count(string(source), "sq.Update("), name)
			require.Equal(t, n, strings.Count(string(source), "sq.Delete("), name)
			require.NotRegexp(t, `"(UPDATE|DELETE) `, string(source), name)
		}
	}
}
