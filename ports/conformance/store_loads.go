package conformance

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var loadClauses = []clause{
	{"samples are listed by worker, oldest first", loadOrder},
	{"a sample of the same time is dropped", loadTwice},
	{"DeleteBefore removes old samples", loadDeleteBefore},
	{"a rollback leaves no sample", loadUndone},
}

func (d *db) loads(workerID string, since time.Time) []domain.LoadSample {
	d.Helper()
	return read(d, func(ctx context.Context, tx *ports.Tx) ([]domain.LoadSample, error) {
		return tx.LoadSamples.Since(ctx, workerID, since)
	})
}

func (d *db) appendLoads(samples ...domain.LoadSample) {
	d.Helper()
	d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.LoadSamples.Append(ctx, samples...) })
}

func loadAt(workerID string, minute int) domain.LoadSample {
	return domain.LoadSample{WorkerID: workerID, At: at(minute), Sessions: minute, CPU: 12.5, Memory: -1}
}

func loadOrder(d *db) {
	d.appendLoads(loadAt("w1", 3), loadAt("w2", 2), loadAt("w1", 1))
	d.appendLoads(loadAt("w1", 2))
	d.appendLoads()
	require.Equal(d.T, []domain.LoadSample{loadAt("w1", 1), loadAt("w1", 2), loadAt("w1", 3)}, d.loads("w1", at(0)))
	require.Equal(d.T, []domain.LoadSample{loadAt("w1", 2), loadAt("w1", 3)}, d.loads("w1", at(2)))
	require.Empty(d.T, d.loads("w1", at(4)))
	require.Empty(d.T, d.loads("nobody", at(0)))
}

func loadTwice(d *db) {
	again := loadAt("w1", 1)
	again.Sessions = 99
	d.appendLoads(loadAt("w1", 1), again)
	require.Equal(d.T, []domain.LoadSample{loadAt("w1", 1)}, d.loads("w1", at(0)))
}

func loadDeleteBefore(d *db) {
	d.appendLoads(loadAt("w1", 1), loadAt("w1", 2), loadAt("w2", 1))
	d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.LoadSamples.DeleteBefore(ctx, at(2)) })
	require.Equal(d.T, []domain.LoadSample{loadAt("w1", 2)}, d.loads("w1", at(0)))
	require.Empty(d.T, d.loads("w2", at(0)))
}

func loadUndone(d *db) {
	d.appendLoads(loadAt("w1", 1))
	d.refuse(errOurs, func(ctx context.Context, tx *ports.Tx) error {
		return firstError(tx.LoadSamples.Append(ctx, loadAt("w1", 2)), tx.LoadSamples.DeleteBefore(ctx, at(9)), errOurs)
	})
	require.Equal(d.T, []domain.LoadSample{loadAt("w1", 1)}, d.loads("w1", at(0)))
}
