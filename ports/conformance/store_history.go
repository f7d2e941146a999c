package conformance

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var historyClauses = []clause{
	{"newest first", newestFirst},
	{"messages are filtered", messagesFiltered},
	{"messages are searched literally", messagesSearched},
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
		{filter{To: "6281234567890"}, []string{"e", "a"}},
		{filter{To: "g.us"}, []string{"b"}},
		{filter{To: "_"}, nil},
		{filter{Search: "fine day"}, []string{"b"}},
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
		{filter{Type: domain.TypeText, Status: domain.MessagePending, Direction: domain.Outbound, To: "628", Search: "a"}, []string{"a"}},
	} {
		require.Equal(d.T, t.want, d.history("s1", t.filter), "%+v", t.filter)
	}
}

func messagesSearched(d *db) {
	d.put(user("u1"), session("s1", "u1"))
	for i, text := range texts {
		m := sent(fmt.Sprintf("m%02d", i), "s1", "u1", i)
		m.Content = text
		if i%2 == 1 {
			m.Type, m.Content, m.Caption = domain.TypeImage, "", text
		}
		d.put(m)
	}
	requireLiteral(d.T, func(text string) (found []string) {
		for _, m := range read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Message, error) {
			return tx.Messages.List(ctx, "s1", domain.MessageFilter{Search: text})
		}) {
			found = append(found, m.Content+m.Caption)
		}
		return found
	})
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
		{}, {Status: domain.MessageSent}, {Search: "hello m1"}, {Since: at(1)}, {Until: at(2)},
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
