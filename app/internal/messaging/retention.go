package messaging

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// usersPerRound is how many users one Housekeep trims. Ten thousand users take less than
// an hour.
const usersPerRound = 200

// trimmer visits the users in turn, oldest account first. Only Housekeep uses it.
type trimmer struct {
	next int // users of this round that were trimmed already
}

// trimHistories deletes messages of the next users that are older than the retention of
// their tiers.
func (m *Messages) trimHistories(ctx context.Context, now time.Time) error {
	users, err := m.usersToTrim(ctx)
	if err != nil {
		return err
	}
	for _, u := range users {
		retention := m.Limits(u.Tier).MessageRetention
		if retention <= 0 {
			continue
		}
		if err := m.trimUser(ctx, u.ID, now.Add(-retention)); err != nil {
			return err
		}
	}
	m.trimmer.next += len(users)
	if len(users) < usersPerRound {
		m.trimmer.next = 0
	}
	return nil
}

func (m *Messages) usersToTrim(ctx context.Context) (users []*domain.User, err error) {
	err = m.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		users, _, err = tx.Users.List(ctx, ports.UserFilter{Asc: true}, ports.Page{Offset: m.trimmer.next, Limit: usersPerRound})
		return err
	})
	return users, err
}

// trimUser deletes a user's messages from before a time.
func (m *Messages) trimUser(ctx context.Context, userID string, before time.Time) error {
	ids, err := m.sessionsWithMessagesBefore(ctx, userID, before)
	if err != nil {
		return err
	}
	for _, id := range ids {
		for deleted := rowsPerPass; deleted == rowsPerPass; {
			err := m.Update(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
				deleted, err = tx.Messages.DeleteBefore(ctx, id, before, rowsPerPass)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// sessionsWithMessagesBefore returns the sessions of a user with messages from before a
// time. Most rounds find none, and then write nothing.
func (m *Messages) sessionsWithMessagesBefore(ctx context.Context, userID string, before time.Time) (ids []string, err error) {
	err = m.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		ids = nil
		sessions, _, err := tx.Sessions.List(ctx, ports.SessionFilter{UserID: userID}, ports.Page{})
		if err != nil {
			return err
		}
		for _, s := range sessions {
			old, err := tx.Messages.List(ctx, s.ID, domain.MessageFilter{Until: before, Limit: 1})
			if err != nil {
				return err
			}
			if len(old) > 0 {
				ids = append(ids, s.ID)
			}
		}
		return nil
	})
	return ids, err
}
