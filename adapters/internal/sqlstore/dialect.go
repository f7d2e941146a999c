package sqlstore

import (
	"regexp"
	"strings"
	"sync"

	sq "github.com/Masterminds/squirrel"
)

// Dialect is what differs between databases in the SQL itself.
type Dialect struct {
	placeholder sq.PlaceholderFormat
	// types are the words that the migrations leave open.
	types types
	// folded gives a column in lower case. If ascii holds, only ASCII letters
	// are going to be compared.
	folded func(column string, ascii bool) string
	// tables asks whether there is a table of a name.
	tables string
	// batched makes a statement that puts one row into one that puts many; nil:
	// one after the other costs no more.
	batched func(sql string) string
}

type types struct {
	Text, Integer, Real, Bytes, Bool string
	False                            string
	Plain                            string // options of a table
	Clustered                        string // options of a table of small rows, kept in the order of its key
}

// FoldFunction is the SQL function that an adapter for SQLite has to give its
// connections: it returns a text in lower case, of any script.
const FoldFunction = "fold"

var sqlite = Dialect{
	placeholder: sq.Question,
	types: types{
		Text: "TEXT", Integer: "INTEGER", Real: "REAL", Bytes: "BLOB", Bool: "INTEGER", False: "0",
		Plain: "STRICT", Clustered: "STRICT, WITHOUT ROWID",
	},
	folded: func(column string, ascii bool) string {
		if ascii {
			return column // LIKE ignores the case of ASCII letters
		}
		return FoldFunction + "(" + column + ")"
	},
	tables: "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = ?",
}

var postgres = Dialect{
	placeholder: sq.Dollar,
	types: types{
		Text: `TEXT COLLATE "C"`, Integer: "BIGINT", Real: "DOUBLE PRECISION", Bytes: "BYTEA", Bool: "BOOLEAN", False: "FALSE",
	},
	folded:  func(column string, _ bool) string { return `lower(` + column + ` COLLATE "und-x-icu")` },
	tables:  "SELECT COUNT(*) FROM pg_catalog.pg_tables WHERE schemaname = current_schema() AND tablename = ?",
	batched: unnested,
}

var argument = regexp.MustCompile(`\$(\d+)`)

// unnested has an INSERT of values, or an UPDATE, take arrays, and give revs.
func unnested(sql string) string {
	args := argument.FindAllString(sql, -1)
	arrays := "unnest(" + strings.Join(args, ", ") + ")"
	if before, after, insert := strings.Cut(sql, " VALUES ("); insert {
		_, after, _ = strings.Cut(after, ")")
		return before + " SELECT * FROM " + arrays + after + " RETURNING rev"
	}
	each := " FROM " + arrays + " AS many (" + argument.ReplaceAllString(strings.Join(args, ", "), "a$1") + ") WHERE "
	return strings.Replace(argument.ReplaceAllString(sql, "many.a$1"), " WHERE ", each, 1) + " RETURNING rev"
}

// SQLite returns the body in the dialect of SQLite 3.37 or later.
var SQLite = sync.OnceValue(func() *Queries { return compile(sqlite) })

// Postgres returns the body in the dialect of PostgreSQL, built with ICU.
var Postgres = sync.OnceValue(func() *Queries { return compile(postgres) })

// longestSearch is how many bytes may be searched for: SQLite refuses patterns
// of 50 000 bytes, with an error.
const longestSearch = 20_000

// contains is the condition that a column contains a text, whatever the case.
func (d *Dialect) contains(column, text string) sq.Sqlizer {
	return d.like(column, text, "%")
}

// is is the condition that a column is a text, whatever the case.
func (d *Dialect) is(column, text string) sq.Sqlizer { return d.like(column, text, "") }

func (d *Dialect) like(column, text, around string) sq.Sqlizer {
	if len(text) > longestSearch {
		return sq.Expr("1 = 0")
	}
	ascii := true
	for i := range len(text) {
		ascii = ascii && text[i] < 0x80
	}
	return sq.Expr(d.folded(column, ascii)+` LIKE ? ESCAPE '\'`, around+likeEscaper.Replace(strings.ToLower(text))+around)
}

var likeEscaper = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)
