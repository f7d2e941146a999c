package postgres

import (
	"context"

	"github.com/switchyard-wa/switchyard/ports"
)

// UpdateIndividually is Update without group commit: each call is a transaction of its own.
func (s *Store) UpdateIndividually(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	return s.transact(ctx, mode{write: true}, fn)
}
