package sqlstore

import (
	"regexp"
	"strconv"
	"strings"
	"sync"

	sq "github.com/Masterminds/squirrel"

	"github.com/switchyard-wa/switchyard/adapters/internal/words"
	"github.com/switchyard-wa/switchyard/domain"
)

// Dialect describes how the SQL of a database differs from the SQL of other databases.
type Dialect struct {
	placeholder sq.PlaceholderFormat
	// types fills the templates of the migrations.
	types types
	// folded returns the expression of a column in lower case. ascii means that the column is compared with ASCII text.
	folded func(column string, ascii bool) string
	// findOwner is a query for the schemaOwner of the database.
	findOwner string
	// indexWords turns a statement that puts a message into a statement that takes the message's words as one more argument
	// and stores them. Nil means that the database stores words by itself.
	indexWords func(sql string, columns []string) *Statement
	// hasWords is the condition that each word begins a word of a message of the session.
	hasWords func(sessionID string, words []string) sq.Sqlizer
	byIndex  func(name string) string // follows a table whose rows are read by an index, where the planner has to be told
	noIndex  string                   // precedes a column for which the database shall use no index
	lateral  bool                     // knows CROSS JOIN LATERAL, which takes less planning than many parts of a UNION
	// batched turns a statement that puts one row into a statement that puts many. Nil means that batches save nothing.
	batched func(sql string) string
}

// types are the column types and table options of a dialect.
type types struct {
	Text, Integer, Real, Bytes, Bool string
	False                            string
	Plain                            string // options of an ordinary table
	Clustered                        string // options of a table of small rows that is stored in the order of its key
	IsSQLite                         bool   // for the parts of a schema that have no common form
}

// WordsFunction names another one. It is called with the session, the type and the texts of a message, and returns the words
// of the message; see [WordsOf].
const WordsFunction = "message_words_of"

// FoldFunction names the SQL function that an adapter for SQLite registers on its connections. The function returns a text
// in lower case, for all scripts of Unicode.
const FoldFunction = "fold"

var sqlite = Dialect{
	placeholder: sq.Question,
	types: types{
		Text: "TEXT", Integer: "INTEGER", Real: "REAL", Bytes: "BLOB", Bool: "INTEGER", False: "0",
		Plain: "STRICT", Clustered: "STRICT, WITHOUT ROWID", IsSQLite: true,
	},
	folded: func(column string, ascii bool) string {
		if ascii {
			return column // LIKE ignores the case of ASCII letters
		}
		return FoldFunction + "(" + column + ")"
	},
	// SQLite has a database for each program: any table but ours is another program's.
	findOwner: `SELECT CASE
		WHEN (SELECT COUNT(*) FROM pragma_table_info('schema_migrations') WHERE name IN ('version', 'name', 'applied_at')) = 3 THEN 1
		WHEN EXISTS (SELECT 1 FROM sqlite_master WHERE name NOT LIKE 'sqlite\_%' ESCAPE '\') THEN 2
		ELSE 0 END`,
	byIndex:  func(name string) string { return " INDEXED BY " + name },
	noIndex:  "+",
	hasWords: hasWordsOnSQLite,
}

var postgres = Dialect{
	placeholder: sq.Dollar,
	types: types{
		Text: `TEXT COLLATE "C"`, Integer: "BIGINT", Real: "DOUBLE PRECISION", Bytes: "BYTEA", Bool: "BOOLEAN", False: "FALSE",
	},
	folded: func(column string, _ bool) string { return `lower(` + column + ` COLLATE "und-x-icu")` },
	// Programs may share a database of PostgreSQL, but not the table with the versions.
	findOwner: `SELECT CAST(COALESCE((
		SELECT CASE WHEN COUNT(a.attname) = 3 THEN 1 ELSE 2 END FROM pg_catalog.pg_class t
		LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attname IN ('version', 'name', 'applied_at') AND NOT a.attisdropped
		WHERE t.relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = current_schema()) AND t.relname = 'schema_migrations'
		GROUP BY t.oid), 0) AS BIGINT)`,
	batched:    unnested,
	hasWords:   hasWordsOnPostgres,
	indexWords: storeWords,
	lateral:    true,
	byIndex:    func(string) string { return "" }, // it knows which one is better from its statistics
}

var argument = regexp.MustCompile(`\$(\d+)`)

// unnested turns an INSERT of values, or an UPDATE, into a statement that takes arrays and returns the revs of its rows.
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

// storeWords turns an INSERT of a message, or its UPDATE, into a statement that also stores the words of the message. The
// words are the last argument.
func storeWords(sql string, columns []string) *Statement {
	args := argument.FindAllString(sql, -1)
	store := func(sql, source string) string {
		return "WITH stored AS (" + sql + " RETURNING id, rev), indexed AS (INSERT INTO message_words (message_id, words)" +
			" SELECT id, array_to_tsvector(string_to_array(" + source + " ON CONFLICT (message_id) DO UPDATE SET words = excluded.words)" +
			" SELECT rev FROM stored"
	}
	last := "$" + strconv.Itoa(len(args)+1)
	s := &Statement{SQL: store(sql, last+", ' ')) FROM stored"), Write: true, columns: 1}
	if before, after, insert := strings.Cut(sql, " VALUES ("); insert {
		_, after, _ = strings.Cut(after, ")")
		list := strings.Join(columns, ", ")
		given := "WITH given AS (SELECT * FROM unnest(" + strings.Join(append(args, last), ", ") + ") AS many (" + list + ", words)), "
		many := store(before+" SELECT "+list+" FROM given"+after, "given.words, ' ')) FROM stored JOIN given USING (id)")
		// Two puts of one id store one row. An INSERT may not change a row twice.
		many = strings.Replace(many, " SELECT id, array", " SELECT DISTINCT ON (id) id, array", 1)
		s.Batched = &Statement{SQL: given + strings.TrimPrefix(many, "WITH "), Write: true, columns: 1}
	}
	return s
}

// WordsOf implements [WordsFunction].
func WordsOf(sessionID, kind, content, caption, filename string) string {
	return words.Index(sessionID, domain.MessageType(kind), content, caption, filename)
}

// SQLite returns the queries in the dialect of SQLite 3.37 or later.
var SQLite = sync.OnceValue(func() *Queries { return compile(sqlite) })

// Postgres returns the queries in the dialect of PostgreSQL 13 or later, built with ICU.
var Postgres = sync.OnceValue(func() *Queries { return compile(postgres) })

// longestSearch is the length in bytes of the longest text to search for. SQLite refuses patterns of 50 000 bytes.
const longestSearch = 20_000

// contains returns the condition that a column contains a text, in any case.
func (d *Dialect) contains(column, text string) sq.Sqlizer {
	return d.like(column, text, "%")
}

// is returns the condition that a column equals a text, in any case.
func (d *Dialect) is(column, text string) sq.Sqlizer { return d.like(column, text, "") }

// like returns a LIKE condition for a literal text with a wildcard, or nothing, on both sides. No column matches a text that
// is too long.
func (d *Dialect) like(column, text, wildcard string) sq.Sqlizer {
	if len(text) > longestSearch {
		return sq.Expr("1 = 0")
	}
	ascii := true
	for i := range len(text) {
		ascii = ascii && text[i] < 0x80
	}
	return sq.Expr(d.folded(column, ascii)+` LIKE ? ESCAPE '\'`, wildcard+likeEscaper.Replace(strings.ToLower(text))+wildcard)
}

var likeEscaper = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)
