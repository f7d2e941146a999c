package conformance

import (
	"context"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// rowsInRanges stores three users for each time, each with a session of the same time.
func rowsInRanges(d *db) {
	var newest []string
	for i := range 12 {
		id := fmt.Sprintf("r%02d", 11-i)
		u := user(id)
		u.CreatedAt = at(4 - i/3)
		s := session(id, id)
		s.CreatedAt = u.CreatedAt
		d.put(u, s)
		newest = append(newest, id)
	}
	for name, read := range map[string]func(r ports.Range) (ids []string, last domain.Cursor){
		"users": func(r ports.Range) (ids []string, last domain.Cursor) {
			for _, u := range read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.User, error) { return tx.Users.ListRange(ctx, r) }) {
				ids, last = append(ids, u.ID), domain.Cursor{At: u.CreatedAt, ID: u.ID}
			}
			return ids, last
		},
		"sessions": func(r ports.Range) (ids []string, last domain.Cursor) {
			for _, s := range read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Session, error) {
				return tx.Sessions.ListRange(ctx, r)
			}) {
				ids, last = append(ids, s.ID), domain.Cursor{At: s.CreatedAt, ID: s.ID}
			}
			return ids, last
		},
	} {
		list := func(r ports.Range) []string {
			ids, _ := read(r)
			return ids
		}
		require.Equal(d.T, newest, list(ports.Range{}), name)
		require.Equal(d.T, newest[:9], list(ports.Range{Since: at(2)}), name)
		require.Equal(d.T, newest[:6], list(ports.Range{Since: at(2).Add(time.Microsecond)}), name)
		require.Equal(d.T, newest[9:], list(ports.Range{Until: at(2)}), "%s: the time itself is not in the range", name)
		require.Equal(d.T, newest[3:6], list(ports.Range{Since: at(3), Until: at(4)}), name)
		require.Empty(d.T, list(ports.Range{Since: at(4), Until: at(2)}), name)
		for _, limit := range []int{1, 2, 5, 12} {
			var all []string
			for r := (ports.Range{Since: at(2), Until: at(4), Limit: limit}); ; {
				ids, last := read(r)
				all = append(all, ids...)
				if len(ids) < limit {
					break
				}
				r.After = last
			}
			require.Equal(d.T, newest[3:9], all, "%s in pages of %d", name, limit)
		}
	}
}
