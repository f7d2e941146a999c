package sqlstore

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDialects_Statements_DifferOnlyInPlaceholders(t *testing.T) {
	a, b := SQLite(), Postgres()
	require.Equal(t, []*Statement{a.messages.indexNew, a.messages.advanceIndexed}, a.all[len(b.all):])
	dollar := regexp.MustCompile(`\$\d+`)
	for i, s := range b.all {
		require.NotContains(t, s.SQL, "?")
		for n, p := range dollar.FindAllString(s.SQL, -1) {
			require.Equal(t, fmt.Sprintf("$%d", n+1), p, s.SQL)
		}
		switch s {
		case b.schema.owner:
		case b.outbox.append, b.outbox.last: // PostgreSQL numbers events by a counter
		case b.messages.insert, b.messages.replace: // PostgreSQL is told the words of the message
			require.Contains(t, dollar.ReplaceAllString(s.SQL, "?"), a.all[i].SQL)
		default:
			require.Equal(t, a.all[i].SQL, dollar.ReplaceAllString(s.SQL, "?"))
		}
	}
}

func TestContains_WildcardsAndCase_AreLiteral(t *testing.T) {
	tooLong, _, err := sqlite.contains("name", strings.Repeat("%", 60_000)).ToSql()
	require.NoError(t, err)
	require.Equal(t, "1 = 0", tooLong)
	for text, want := range map[string]struct {
		sql string
		arg string
	}{
		"Ann":     {`name LIKE ? ESCAPE '\'`, "%ann%"},
		`5%_\`:    {`name LIKE ? ESCAPE '\'`, `%5\%\_\\%`},
		"Größe":   {`fold(name) LIKE ? ESCAPE '\'`, "%größe%"},
		"o'Brien": {`name LIKE ? ESCAPE '\'`, "%o'brien%"},
	} {
		got, args, err := sqlite.contains("name", text).ToSql()
		require.NoError(t, err)
		require.Equal(t, want.sql, got)
		require.Equal(t, []any{want.arg}, args)
	}
}
