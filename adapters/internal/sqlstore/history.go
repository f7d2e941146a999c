package sqlstore

import (
	"context"
	"slices"
	"strconv"
	"strings"

	sq "github.com/Masterminds/squirrel"

	"github.com/switchyard-wa/switchyard/adapters/internal/words"
	"github.com/switchyard-wa/switchyard/domain"
)

// messagePuts returns the statements that put a message and, on PostgreSQL, the message's words.
func (b *Queries) messagePuts() putStatements {
	p := b.putStatements(messagesTable)
	if b.dialect.indexWords == nil {
		return p
	}
	for _, s := range []*Statement{p.insert, p.replace} {
		withWords := b.dialect.indexWords(s.SQL, messagesTable.columns())
		withWords.Index, withWords.Rev = s.Index, s.Rev
		*s = *withWords
	}
	p.derive = func(values []any) []any {
		value := func(column string) string {
			text, _ := values[slices.Index(messagesTable.columns(), column)].(string)
			return text
		}
		return []any{WordsOf(value("session_id"), value("type"), value("content"), value("caption"), value("filename"))}
	}
	return p
}

// indexedAtOnce is how many messages IndexMessages reads at once.
const indexedAtOnce = 500

// IndexMessages stores the words of all messages, in a database whose words are stored by statements. They have none yet.
func (b *Queries) IndexMessages(ctx context.Context, c Conn) error {
	t := b.Begin(ctx, c, b, ReadWrite)
	defer t.done.Store(true)
	read := selectFrom("messages", "id", "session_id", "type", "content", "caption", "filename").order("id")
	for last := ""; ; {
		s, args, err := b.list(read.all([]sq.Sqlizer{sq.Expr("id > ?", last)}).limit(indexedAtOnce))
		if err != nil {
			return err
		}
		var ids, texts []string
		err = t.eachRow(ctx, s, t.args(args), func(r row) {
			last = r.text(0)
			ids = append(ids, last)
			texts = append(texts, "\t"+WordsOf(r.text(1), r.text(2), r.text(3), r.text(4), r.text(5))) // no element may be empty
		})
		if err == nil && len(ids) > 0 {
			err = t.run(ctx, b.messages.index, strings.Join(ids, "\n"), strings.Join(texts, "\n"))
		}
		if err != nil || len(ids) < indexedAtOnce {
			return err
		}
	}
}

// indexWordsSQL stores the words of messages. Its arguments are lines of ids and of words.
const indexWordsSQL = "INSERT INTO message_words (message_id, words)" +
	" SELECT id, array_to_tsvector(string_to_array(ltrim(words, chr(9)), ' '))" +
	" FROM unnest(string_to_array($1, chr(10)), string_to_array($2, chr(10))) AS given (id, words)"

// IndexNew enters the messages that are not in the full-text index of SQLite yet, if there are at least atLeast of them. An adapter
// calls it before it commits. Until then a search reads these messages itself.
func (b *Queries) IndexNew(ctx context.Context, c Conn, atLeast int64) error {
	n, err := c.Exec(ctx, b.messages.indexNew, []any{atLeast})
	if err == nil && n > 0 {
		_, err = c.Exec(ctx, b.messages.advanceIndexed, nil)
	}
	return err
}

const (
	isNew       = "rowid > (SELECT value FROM counters WHERE name = 'indexed')" // not in the full-text index of SQLite
	areManyNew  = "(SELECT MAX(n) FROM messages) >= ? + (SELECT value FROM counters WHERE name = 'indexed')"
	hasWordLike = "instr(' ' || " + WordsFunction + "(session_id, type, content, caption, filename), ?) > 0"
)

// addIndexNew adds the statements of [Queries.IndexNew].
func (b *Queries) addIndexNew() {
	b.messages.indexNew = b.write(sqlText("INSERT INTO message_words (docid, words)" +
		" SELECT rowid, words FROM message_texts WHERE " + isNew + " AND " + areManyNew))
	b.messages.advanceIndexed = b.write(b.update("counters", []set{{"value", "(SELECT MAX(n) FROM messages)"}}, "name = 'indexed'"))
}

// hasWordsOnSQLite returns the condition that each of the given words begins a word of the message. It asks the index, and reads the
// messages that are not in the index yet.
func hasWordsOnSQLite(sessionID string, words []string) sq.Sqlizer {
	found := "n IN (SELECT docid FROM message_words WHERE words MATCH ? UNION ALL SELECT n FROM messages WHERE " + isNew +
		" AND +session_id = ?" + strings.Repeat(" AND "+hasWordLike, len(words)) + ")"
	args := []any{strings.Join(words, "* ") + "*", sessionID}
	for _, word := range words {
		args = append(args, " "+word)
	}
	return sq.Expr(found, args...)
}

// hasWordsOnPostgres returns the condition that each of the given words begins a word of the message. It has an array of ids, because
// the planner would otherwise walk the history and look for the words of each message.
func hasWordsOnPostgres(_ string, words []string) sq.Sqlizer {
	return sq.Expr("id = ANY(ARRAY(SELECT message_id FROM message_words WHERE words @@ ?::tsquery))", "'"+strings.Join(words, "':* & '")+"':*")
}

// List includes messages at Since and excludes messages at Until.
func (t *messages) List(ctx context.Context, sessionID string, f domain.MessageFilter) ([]*domain.Message, error) {
	if f.Search == "" {
		return t.list(ctx, sessionID, f)
	}
	found, isComplete, err := t.searchNewest(ctx, sessionID, f)
	if isComplete || err != nil {
		return found, err
	}
	return t.list(ctx, sessionID, f)
}

const (
	searchedDirectly = 1000 // newest messages that a search reads itself, before it asks the full-text index
	searchedAtOnce   = 250  // of them, with one query
)

// searchNewest searches the newest messages that meet the other conditions of a filter. The full-text index would return every
// message with a frequent word, and all of them would be sorted for one page. isComplete means that found is the whole page;
// otherwise the caller asks the index.
func (t *messages) searchNewest(ctx context.Context, sessionID string, f domain.MessageFilter) (found []*domain.Message, isComplete bool, err error) {
	search, limit := words.ParseSearch(f.Search), f.Limit
	if len(search) == 0 {
		return nil, true, nil
	}
	f.Search, f.Limit = "", searchedAtOnce
	for range searchedDirectly / searchedAtOnce {
		list, err := t.list(ctx, sessionID, f)
		if err != nil {
			return nil, false, err
		}
		for _, m := range list {
			if !search.Finds(m) {
				continue
			}
			found = append(found, m)
			if len(found) == limit {
				return found, true, nil
			}
		}
		if len(list) < searchedAtOnce {
			return found, true, nil
		}
		last := list[len(list)-1]
		f.After = domain.Cursor{At: last.CreatedAt, ID: last.ID}
	}
	return nil, false, nil
}

// list runs the query of a filter.
func (t *messages) list(ctx context.Context, sessionID string, f domain.MessageFilter) ([]*domain.Message, error) {
	s, args, err := t.queries.HistoryQuery(sessionID, f)
	if err != nil || s == nil {
		return nil, err
	}
	return queryAll(ctx, (*Tx)(t), s, scanMessage, args...)
}

// HistoryQuery builds the query of a list of messages. The query is nil if no message can match.
//
// Each filter has a way that reads no more rows than the page has, apart from search and from further filters beside a
// recipient:
//
//	none                       messages_history
//	recipient                  messages_recipient; reads the messages to the recipient until the page is full
//	direction, type, status    messages_kind, for each kind that the filter admits; the newest of all of them are the page
//	search                     the newest messages by the ways above; then the full-text index, all messages that match
func (b *Queries) HistoryQuery(sessionID string, f domain.MessageFilter) (*Statement, []any, error) {
	switch {
	case f.Search != "":
		found := words.ParseSearch(f.Search).Within(sessionID)
		if len(found) == 0 {
			return nil, nil, nil
		}
		conditions := append(historyConditions(b.dialect.noIndex, sessionID, f), b.dialect.hasWords(sessionID, found))
		return b.list(historyOf("messages", conditions, f))
	case f.To == "" && (f.Direction != "" || f.Type != "" || f.Status != ""):
		return b.historyOfKinds(sessionID, f)
	}
	from := "messages"
	if f.To != "" {
		from += b.dialect.byIndex("messages_recipient")
	}
	return b.list(historyOf(from, historyConditions("", sessionID, f), f))
}

// historyOf returns the query of the newest messages that meet the conditions.
func historyOf(from string, conditions []sq.Sqlizer, f domain.MessageFilter) query {
	return selectFrom(from, messagesTable.columns()...).all(conditions).
		order("created_at DESC", "id DESC").limit(limitArgument(f.Limit))
}

// historyConditions returns the conditions of a filter, without its search. prefix precedes columns that begin an index.
func historyConditions(prefix, sessionID string, f domain.MessageFilter) []sq.Sqlizer {
	conditions := append([]sq.Sqlizer{sq.Expr(prefix+"session_id = ?", sessionID)}, timeConditions(f)...)
	equals := func(column, value string) {
		if value != "" {
			conditions = append(conditions, sq.Expr(column+" = ?", value))
		}
	}
	equals("to_jid", f.To)
	equals("direction", string(f.Direction))
	equals("type", string(f.Type))
	equals("status", string(f.Status))
	return conditions
}

// timeConditions returns the conditions of a filter that bound the times of its rows.
func timeConditions(f domain.MessageFilter) (conditions []sq.Sqlizer) {
	if !f.Since.IsZero() {
		conditions = append(conditions, sq.Expr("created_at >= ?", ceilMicros(f.Since)))
	}
	switch {
	case endsAtCursor(f):
		conditions = append(conditions, sq.Expr("(created_at, id) < (?, ?)", micros(f.After.At), f.After.ID))
	case !f.Until.IsZero():
		conditions = append(conditions, sq.Expr("created_at < ?", ceilMicros(f.Until)))
	}
	return conditions
}

// endsAtCursor reports whether the cursor of a filter bounds its messages, and not Until. Given both conditions, a planner may
// choose another index.
func endsAtCursor(f domain.MessageFilter) bool {
	return f.After != domain.Cursor{} && (f.Until.IsZero() || micros(f.After.At) < ceilMicros(f.Until))
}

// kind holds the columns by which the index messages_kind orders the messages of a session.
type kind struct {
	direction   domain.Direction
	messageType domain.MessageType
	status      domain.MessageStatus
}

// kindsOf returns the kinds that a filter admits, without those of PENDING messages.
func kindsOf(f domain.MessageFilter) (kinds []kind) {
	for _, d := range oneOrAll(f.Direction, domain.Outbound, domain.Inbound) {
		for _, t := range oneOrAll(f.Type, domain.MessageTypes()...) {
			for _, s := range oneOrAll(f.Status, domain.MessageSent, domain.MessageDelivered, domain.MessageRead, domain.MessageFailed) {
				if s != domain.MessagePending {
					kinds = append(kinds, kind{d, t, s})
				}
			}
		}
	}
	return kinds
}

// oneOrAll returns the value, or else all values.
func oneOrAll[V comparable](value V, all ...V) []V {
	var none V
	if value != none {
		return []V{value}
	}
	return all
}

// historyOfKinds returns the query of messages with a direction, a type or a status. It takes the newest ids of each kind
// from its place in messages_kind, and the rows of the newest of all these ids. PENDING messages are few, in all sessions
// together; they are in messages_pending alone.
func (b *Queries) historyOfKinds(sessionID string, f domain.MessageFilter) (*Statement, []any, error) {
	args := []any{sessionID, limitArgument(f.Limit)}
	argument := func(value any) string {
		args = append(args, value)
		return b.numbered(len(args))
	}
	within := " AND session_id = " + b.numbered(1)
	if !f.Since.IsZero() {
		within += " AND created_at >= " + argument(ceilMicros(f.Since))
	}
	switch {
	case endsAtCursor(f):
		within += " AND (created_at, id) < (" + argument(micros(f.After.At)) + ", " + argument(f.After.ID) + ")"
	case !f.Until.IsZero():
		within += " AND created_at < " + argument(ceilMicros(f.Until))
	}
	newest := " ORDER BY created_at DESC, id DESC LIMIT " + b.numbered(2)
	parts := b.kindSources(f)
	for i, p := range parts {
		parts[i] = "SELECT created_at, id FROM " + p + within + newest + ") kind" + strconv.Itoa(i)
	}
	columns := messagesTable.columns()
	text := "SELECT " + strings.Join(columns, ", ") + " FROM messages WHERE id IN (SELECT id FROM (" + strings.Join(parts, " UNION ALL ") +
		") kinds" + newest + ")" + strings.TrimSuffix(newest, " LIMIT "+b.numbered(2))
	return &Statement{SQL: text, Index: -1, Long: true, columns: len(columns)}, args, nil
}

// kindSources returns the beginnings of queries of the newest messages of kinds: what follows FROM, up to a condition on the kind.
func (b *Queries) kindSources(f domain.MessageFilter) (sources []string) {
	add := func(before, index, condition string) {
		sources = append(sources, before+"(SELECT created_at, id FROM messages"+b.dialect.byIndex(index)+" WHERE "+condition)
	}
	addKind := func(before, direction, kind, status string) {
		add(before, "messages_kind", "direction = "+direction+" AND type = "+kind+" AND status = "+status+" AND status <> 'PENDING'")
	}
	kinds := kindsOf(f)
	if b.dialect.lateral && len(kinds) > 0 {
		values := make([]string, len(kinds))
		for i, k := range kinds {
			values[i] = "(" + literal(k.direction) + ", " + literal(k.messageType) + ", " + literal(k.status) + ")"
		}
		addKind("(VALUES "+strings.Join(values, ", ")+") wanted (d, t, s) CROSS JOIN LATERAL ", "d", "t", "s")
	} else {
		for _, k := range kinds {
			addKind("", literal(k.direction), literal(k.messageType), literal(k.status))
		}
	}
	if f.Status == "" || f.Status == domain.MessagePending {
		condition := isPending
		if f.Direction != "" {
			condition += " AND direction = " + literal(f.Direction)
		}
		if f.Type != "" {
			condition += " AND type = " + literal(f.Type)
		}
		add("", "messages_pending", condition)
	}
	return sources
}

// numbered returns the placeholder of an argument that a statement uses several times.
func (b *Queries) numbered(n int) string {
	if b.dialect.placeholder == sq.Dollar {
		return "$" + strconv.Itoa(n)
	}
	return "?" + strconv.Itoa(n)
}

// literal returns a text as SQL.
func literal[S ~string](s S) string { return "'" + strings.ReplaceAll(string(s), "'", "''") + "'" }
