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
		since:        b.read(pick("worker_loads", loadColumns...).where("worker_id = ? AND at >= ?").order("at")),
		deleteBefore: b.write(b.remove("worker_loads", "at < ?")),
	}
}

type loadSamples Tx

func (t *loadSamples) Append(ctx context.Context, samples ...domain.LoadSample) error {
	for _, l := range samples {
		err := (*Tx)(t).done(ctx, t.body.loadSamples.append, l.WorkerID, micros(l.At), l.Sessions, percent(l.CPU), percent(l.Memory))
		if err != nil {
			return err
		}
	}
	return (*Tx)(t).allow(ctx, true)
}

func (t *loadSamples) Since(ctx context.Context, workerID string, since time.Time) ([]domain.LoadSample, error) {
	return many(ctx, (*Tx)(t), t.body.loadSamples.since, scanLoad, workerID, ceiling(since))
}

func (t *loadSamples) DeleteBefore(ctx context.Context, before time.Time) error {
	return (*Tx)(t).done(ctx, t.body.loadSamples.deleteBefore, ceiling(before))
}
