package sqlstore

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

var loadColumns = []string{"worker_id", "at", "sessions", "cpu", "memory"}

func scanLoad(r row) domain.LoadSample {
	return domain.LoadSample{WorkerID: r.text(0), At: r.time(1), Sessions: r.int(2), CPU: r.float(3), Memory: r.float(4)}
}

type loadStatements struct{ append, since, deleteBefore *Statement }

func (b *Queries) loadStatements() loadStatements {
	return loadStatements{
		append:       b.insert("worker_loads", loadColumns...),
		since:        b.read(selectFrom("worker_loads", loadColumns...).where("worker_id = ? AND at >= ?").order("at")),
		deleteBefore: b.write(b.deleteFrom("worker_loads", "at < ?")),
	}
}

type loadSamples Tx

func (t *loadSamples) Append(ctx context.Context, samples ...domain.LoadSample) error {
	for _, l := range samples {
		err := (*Tx)(t).run(ctx, t.queries.loadSamples.append, l.WorkerID, micros(l.At), l.Sessions, numberOrUnknown(l.CPU), numberOrUnknown(l.Memory))
		if err != nil {
			return err
		}
	}
	return (*Tx)(t).checkAllowed(ctx, true)
}

func (t *loadSamples) Since(ctx context.Context, workerID string, since time.Time) ([]domain.LoadSample, error) {
	return queryAll(ctx, (*Tx)(t), t.queries.loadSamples.since, scanLoad, workerID, ceilMicros(since))
}

func (t *loadSamples) DeleteBefore(ctx context.Context, before time.Time) error {
	return (*Tx)(t).run(ctx, t.queries.loadSamples.deleteBefore, ceilMicros(before))
}
