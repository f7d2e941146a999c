package sqlstore

import (
	"context"
	"errors"
	"time"
)

// HealthSlots is the number of rows in the table of health checks.
const HealthSlots = 64

type healthStatements struct{ record *Statement }

func (b *Queries) healthStatements() healthStatements {
	return healthStatements{record: b.upsert("health_checks", []string{"slot"}, []string{"at"})}
}

// RecordCheck writes the row of a slot, from 0 to [HealthSlots]-1. ctx is the context of a function that [Tx.Run] calls.
func RecordCheck(ctx context.Context, slot int) error {
	t, ok := ctx.(*Tx)
	if !ok {
		return errors.New("sqlstore: a health check outside a transaction")
	}
	return t.run(ctx, t.queries.health.record, slot, micros(time.Now()))
}
