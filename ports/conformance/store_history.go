package conformance

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var historyClauses = []clause{
	{"newest first", newestFirst},
	{"messages are filtered", messagesFiltered},
	{"filters are combined", filtersCombined},
	{"every word of a search begins a word", messagesSearched},
	{"a search finds content, caption and filename", searchedTexts},
	{"a search follows changes and deletions", searchFollows},
	{"a search is combined with filters and pages", searchCombined},
	{"a search finds frequent words page by page, and old messages", searchPaged},
	{"a cursor continues where the page ended", cursorPages},
	{"a cursor holds its place while messages come and change", cursorStands},
}

func (d *db) history(sessionID string, f domain.MessageFilter) []string {
	d.Helper()
	return messageIDs(read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Message, error) {
		return tx.Messages.List(ctx, sessionID, f)
	}))
}

func messageIDs(all []*domain.Message) (ids []string) {
	for _, m := range all {
		ids = append(ids, m.ID)
	}
	return ids
}

func newestFirst(d *db) {
	d.put(user("u1"), session("s1", "u1"), session("s2", "u1"))
	for i, id := range []string{"c", "a", "e", "b", "d"} {
		d.put(sent(id, "s1", "u1", []int{3, 1, 5, 2, 4}[i]))
	}
	d.put(sent("x", "s2", "u1", 3), received("f", "X", "s1", "u1", 6))
	require.Equal(d.T, []string{"f", "e", "d", "c", "b", "a"}, d.history("s1", domain.MessageFilter{}))
	require.Equal(d.T, []string{"f", "e"}, d.history("s1", domain.MessageFilter{Limit: 2}))
	require.Equal(d.T, []string{"x"}, d.history("s2", domain.MessageFilter{Limit: 2}))

	m := reload(d, sent("c", "s1", "u1", 0))
	m.Status, m.SentAt = domain.MessageSent, at(9)
	d.put(m)
	require.Equal(d.T, []string{"f", "e", "d", "c", "b", "a"}, d.history("s1", domain.MessageFilter{}), "a change does not move a message")
}

func messagesFiltered(d *db) {
	d.put(user("u1"), session("s1", "u1"))
	a, b, c := sent("a", "s1", "u1", 1), sent("b", "s1", "u1", 2), received("c", "X", "s1", "u1", 3)
	b.Type, b.Status, b.Content, b.Caption, b.To = domain.TypeImage, domain.MessageSent, "", "A fine Day", "120363025246125486@g.us"
	e := sent("e", "s1", "u1", 5)
	e.Type, e.Content, e.Status = domain.TypeContact, `{"name":"Ann"}`, domain.MessageFailed
	d.put(a, b, c, e)
	type filter = domain.MessageFilter
	for _, t := range []struct {
		filter filter
		want   []string
	}{
		{filter{}, []string{"e", "c", "b", "a"}},
		{filter{Direction: domain.Outbound}, []string{"e", "b", "a"}},
		{filter{Direction: domain.Inbound}, []string{"c"}},
		{filter{Type: domain.TypeImage}, []string{"b"}},
		{filter{Type: domain.TypePoll}, nil},
		{filter{Status: domain.MessageFailed}, []string{"e"}},
		{filter{To: "6281234567890@s.whatsapp.net"}, []string{"e", "a"}},
		{filter{To: "120363025246125486@g.us"}, []string{"b"}},
		{filter{To: "6281234567890"}, nil},
		{filter{To: "%"}, nil},
		{filter{Search: "day fine"}, []string{"b"}},
		{filter{Search: "HELLO"}, []string{"a"}},
		{filter{Search: "ann"}, []string{"e"}},
		{filter{Since: at(3)}, []string{"e", "c"}},
		{filter{Since: at(3).Add(time.Microsecond)}, []string{"e"}},
		{filter{Until: at(2)}, []string{"a"}},
		{filter{Until: at(2).Add(time.Microsecond)}, []string{"b", "a"}},
		{filter{Since: at(2), Until: at(4)}, []string{"c", "b"}},
		{filter{Since: at(4), Until: at(2)}, nil},
		{filter{Direction: domain.Outbound, Since: at(2), Limit: 1}, []string{"e"}},
		{filter{Direction: domain.Outbound, Limit: 2, After: domain.Cursor{At: at(5), ID: "e"}}, []string{"b", "a"}},
		{filter{Type: domain.TypeText, Status: domain.MessagePending, Direction: domain.Outbound, To: "6281234567890@s.whatsapp.net", Search: "hello a"}, []string{"a"}},
	} {
		require.Equal(d.T, t.want, d.history("s1", t.filter), "%+v", t.filter)
	}
}

// filtersCombined compares every combination of filters, and its pages, with the messages that it has to find.
func filtersCombined(d *db) {
	d.put(user("u1"), session("s1", "u1"), session("s2", "u1"))
	var all []*domain.Message
	n := 0
	for _, direction := range []domain.Direction{domain.Outbound, domain.Inbound} {
		for _, kind := range []domain.MessageType{domain.TypeText, domain.TypeImage, domain.TypePoll} {
			for _, status := range []domain.MessageStatus{domain.MessagePending, domain.MessageSent, domain.MessageRead, domain.MessageFailed} {
				for i := range 3 {
					m := sent(fmt.Sprintf("m%03d", n*37%101), "s1", "u1", n%11) // several messages for each time
					m.Direction, m.Type, m.Status, m.To = direction, kind, status, fmt.Sprint("to", i%2)
					d.put(m)
					all = append(all, m)
					n++
				}
			}
		}
	}
	d.put(sent("x", "s2", "u1", 1))
	slices.SortFunc(all, func(a, b *domain.Message) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.ID, a.ID))
	})
	for _, direction := range []domain.Direction{"", domain.Outbound, domain.Inbound} {
		for _, kind := range []domain.MessageType{"", domain.TypeImage, domain.TypeSticker} {
			for _, status := range []domain.MessageStatus{"", domain.MessagePending, domain.MessageRead, domain.MessageDelivered} {
				for _, to := range []string{"", "to1"} {
					for _, since := range []time.Time{{}, at(4)} {
						f := domain.MessageFilter{Direction: direction, Type: kind, Status: status, To: to, Since: since, Until: at(9)}
						var want []string
						for _, m := range all {
							if (direction == "" || m.Direction == direction) && (kind == "" || m.Type == kind) &&
								(status == "" || m.Status == status) && (to == "" || m.To == to) &&
								!m.CreatedAt.Before(since) && m.CreatedAt.Before(at(9)) {
								want = append(want, m.ID)
							}
						}
						require.Equal(d.T, want, d.history("s1", f), "%+v", f)
						f.Limit = 4
						require.Equal(d.T, want, d.pages(f, nil), "%+v", f)
					}
				}
			}
		}
	}
}

// bury stores many newer messages. A store may search the newest messages without its full-text index.
func bury(d *db, sessionID, userID string) {
	var newer []any
	for i := range 1200 {
		m := sent(fmt.Sprintf("newer%04d", i), sessionID, userID, 10_000+i)
		m.Content, m.Status = "zzz", domain.MessageRead
		newer = append(newer, m)
	}
	d.put(newer...)
}

// messagesSearched shows the rules of a search in many scripts.
func messagesSearched(d *db) {
	d.put(user("u1"), session("s1", "u1"), session("s2", "u1"))
	for i, text := range []string{
		"The Invoice, please: 100% paid", "Größe und Straße", "cafe\u0301 au lait", "Привет, мир", "東京都へ行く", "สวัสดีครับ",
		"مرحبا بالعالم", "O'Neil said \"hi\" c\\d a_b", "👍 done", "NOT x OR y AND z NEAR w", "' : * & | ! <-> ) (",
	} {
		m := sent(fmt.Sprintf("m%02d", i), "s1", "u1", i)
		m.Content = text
		d.put(m)
	}
	other := sent("other", "s2", "u1", 1)
	other.Content = "The invoice"
	d.put(other)
	rules := map[string][]string{
		"invoice": {"m00"}, "INV": {"m00"}, "voice": nil, "paid the": {"m00"}, "invoice unpaid": nil, "100": {"m00"}, "100%": {"m00"},
		"grösse": {"m01"}, "GRÖSSE STRASSE": {"m01"}, "grosse": {"m01"}, "café": {"m02"}, "CAFE\u0301": {"m02"}, "мир": {"m03"}, "ПРИВ": {"m03"},
		"東京": {"m04"}, "京": {"m04"}, "京都へ": {"m04"}, "都京": nil, "สวัส": {"m05"}, "ครับ": {"m05"}, "مرحبا": {"m06"},
		"o'neil": {"m07"}, "neil": {"m07"}, "a_b": {"m07"}, `c\d`: {"m07"}, "hi": {"m07"}, "👍": {"m08"}, "or": {"m09"}, "x y": {"m09"},
		"NOT": {"m09"}, "x OR invoice": nil, "near": {"m09"}, "": {"m10", "m09", "m08", "m07", "m06", "m05", "m04", "m03", "m02", "m01", "m00"},
		"%": nil, "*": nil, "'": nil, "\"": nil, ":*": nil, "&": nil, " ": nil, "a* b": {"m07"}, "paid'": {"m00"}, "paid\x00": {"m00"},
	}
	for _, isBuried := range []bool{false, true} {
		if isBuried {
			bury(d, "s1", "u1")
			delete(rules, "") // not a search
		}
		for search, want := range rules {
			require.Equal(d.T, want, d.history("s1", domain.MessageFilter{Search: search}), "search for %q, buried: %v", search, isBuried)
		}
	}
	require.Equal(d.T, []string{"other"}, d.history("s2", domain.MessageFilter{Search: "invoice"}))
	require.Empty(d.T, d.history("none", domain.MessageFilter{Search: "invoice"}))
}

func searchedTexts(d *db) {
	d.put(user("u1"), session("s1", "u1"))
	m := sent("a", "s1", "u1", 1)
	m.Type, m.Content, m.Caption, m.Filename, m.MediaURL = domain.TypeDocument, "", "Your bill", "may_2024.pdf", "https://example.com/secret"
	poll := sent("b", "s1", "u1", 2)
	poll.Type, poll.Content = domain.TypePoll, `{"question":"Lunch?","options":["Soup","Rice"]}`
	d.put(m, poll)
	bury(d, "s1", "u1")
	for search, want := range map[string][]string{
		"bill": {"a"}, "may": {"a"}, "pdf bill": {"a"}, "secret": nil, "lunch soup": {"b"}, "question": nil,
	} {
		require.Equal(d.T, want, d.history("s1", domain.MessageFilter{Search: search}), "search for %q", search)
	}
}

func searchFollows(d *db) {
	d.put(user("u1"), session("s1", "u1"), session("s2", "u1"))
	find := func(search string) []string { return d.history("s1", domain.MessageFilter{Search: search}) }
	bury(d, "s1", "u1")
	for i, id := range []string{"a", "b", "c"} {
		d.put(sent(id, "s1", "u1", i)) // "hello a"
	}
	b := reload(d, sent("b", "s1", "u1", 0))
	b.Status, b.SentAt, b.WhatsAppID = domain.MessageSent, at(5), "B"
	d.put(b)
	require.Equal(d.T, []string{"c", "b", "a"}, find("hello"), "after a change of the status")
	b.Content, b.Caption = "goodbye", "moon"
	d.put(b)
	require.Equal(d.T, []string{"c", "a"}, find("hello"))
	require.Equal(d.T, []string{"b"}, find("goodbye moon"))

	d.refuse(errOurs, func(ctx context.Context, tx *ports.Tx) error {
		m := sent("d", "s1", "u1", 9)
		c, err := tx.Messages.Get(ctx, "s1", "c")
		if err == nil {
			c.Content = "goodbye too"
			err = firstError(tx.Messages.Put(ctx, m), tx.Messages.Put(ctx, c))
		}
		found, listErr := tx.Messages.List(ctx, "s1", domain.MessageFilter{Search: "hello"})
		require.Equal(d.T, []string{"d", "a"}, messageIDs(found), "reads its own writes")
		return firstError(err, listErr, errOurs)
	})
	require.Equal(d.T, []string{"c", "a"}, find("hello"), "rolled back")
	require.Equal(d.T, []string{"b"}, find("goodbye"), "rolled back")
	require.ErrorIs(d.T, d.tryPut(sent("a", "s1", "u1", 7)), ports.ErrExists)
	stale := *b
	stale.Rev, stale.Content = 1, "hello stale"
	require.ErrorIs(d.T, d.tryPut(&stale), ports.ErrConflict)
	require.Equal(d.T, []string{"c", "a"}, find("hello"), "refused writes")

	d.update(func(ctx context.Context, tx *ports.Tx) error {
		_, err := tx.Messages.DeleteBefore(ctx, "s1", at(1), 9)
		return err
	})
	require.Equal(d.T, []string{"c"}, find("hello"), "deleted")
	s := reload(d, session("s1", "u1"))
	d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Sessions.Delete(ctx, "s1", s.Rev) })
	d.put(session("s1", "u1"), sent("e", "s1", "u1", 1))
	bury(d, "s1", "u1")
	require.Equal(d.T, []string{"e"}, find("hello"), "a session that began again")
	require.Empty(d.T, find("goodbye"))
}

func searchCombined(d *db) {
	d.put(user("u1"), session("s1", "u1"))
	var want []string
	for i := range 30 {
		m := sent(fmt.Sprintf("m%02d", i*7%30), "s1", "u1", i/4)
		m.Content = []string{"red apple", "green apple", "pear"}[i%3]
		if i%2 == 0 {
			m.Status = domain.MessageRead
		}
		d.put(m)
	}
	for _, id := range d.history("s1", domain.MessageFilter{Status: domain.MessageRead}) {
		if strings.HasSuffix(reload(d, sent(id, "s1", "u1", 0)).Content, "apple") {
			want = append(want, id)
		}
	}
	bury(d, "s1", "u1")
	f := domain.MessageFilter{Status: domain.MessageRead, Search: "app"}
	require.Equal(d.T, want, d.history("s1", f))
	for _, limit := range []int{1, 3, 50} {
		f.Limit = limit
		require.Equal(d.T, want, d.pages(f, nil))
	}
	require.Empty(d.T, d.history("s1", domain.MessageFilter{Search: "app", To: "nobody"}))
	require.Empty(d.T, d.history("s1", domain.MessageFilter{Search: "app", Until: at(0)}))
	require.NotEmpty(d.T, d.history("s1", domain.MessageFilter{Search: "app", Since: at(3), Until: at(5)}))
}

func searchPaged(d *db) {
	d.put(user("u1"), session("s1", "u1"))
	rare := sent("rare", "s1", "u1", 0)
	rare.Content = "one needle"
	d.put(rare)
	bury(d, "s1", "u1")
	require.Equal(d.T, []string{"rare"}, d.history("s1", domain.MessageFilter{Search: "needle", Limit: 1}))
	require.Equal(d.T, []string{"newer1199", "newer1198"}, d.history("s1", domain.MessageFilter{Search: "zzz", Limit: 2}))
	require.Len(d.T, d.history("s1", domain.MessageFilter{Search: "zzz"}), 1200)
	pages := d.pages(domain.MessageFilter{Search: "zzz", Limit: 90}, nil)
	require.Equal(d.T, d.history("s1", domain.MessageFilter{})[:1200], pages)
}

// pages reads a history page by page, and calls between after each page.
func (d *db) pages(f domain.MessageFilter, between func(page int)) (ids []string) {
	d.Helper()
	for page := 0; ; page++ {
		found := read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Message, error) {
			return tx.Messages.List(ctx, "s1", f)
		})
		ids = append(ids, messageIDs(found)...)
		if len(found) < f.Limit {
			return ids
		}
		require.Len(d.T, found, f.Limit)
		last := found[len(found)-1]
		f.After = domain.Cursor{At: last.CreatedAt, ID: last.ID}
		cursor, err := domain.ParseCursor(f.After.String()) // as clients return it
		require.NoError(d.T, err)
		f.After = cursor
		if between != nil {
			between(page)
		}
	}
}

func cursorPages(d *db) {
	d.put(user("u1"), session("s1", "u1"), session("s2", "u1"))
	for i := range 23 {
		m := sent(fmt.Sprintf("m%02d", i*7%23), "s1", "u1", i/10) // ten messages for each time
		if i%3 == 0 {
			m.Status = domain.MessageSent
		}
		d.put(m)
	}
	d.put(sent("x", "s2", "u1", 0))
	for _, f := range []domain.MessageFilter{
		{}, {Status: domain.MessageSent}, {Search: "hello"}, {Since: at(1)}, {Until: at(2)},
	} {
		whole := d.history("s1", f)
		require.Greater(d.T, len(whole), 5)
		for _, limit := range []int{1, 3, 7, 23, 100} {
			f.Limit = limit
			require.Equal(d.T, whole, d.pages(f, nil), "pages of %d, %+v", limit, f)
		}
	}
	require.Len(d.T, d.history("s1", domain.MessageFilter{}), 23)
}

func cursorStands(d *db) {
	d.put(user("u1"), session("s1", "u1"))
	var want []string
	for i := range 12 {
		id := fmt.Sprintf("m%02d", i)
		d.put(sent(id, "s1", "u1", i/4))
		want = append(want, id)
	}
	slices.Reverse(want)
	got := d.pages(domain.MessageFilter{Limit: 3}, func(page int) {
		d.put(sent(fmt.Sprint("new", page), "s1", "u1", 100+page))
		m := reload(d, sent("m05", "s1", "u1", 0))
		m.Content = fmt.Sprint("changed ", page)
		d.put(m)
	})
	require.Equal(d.T, want, got)
}
