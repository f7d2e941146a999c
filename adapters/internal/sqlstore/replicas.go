package sqlstore

import (
	"context"

	"github.com/switchyard-wa/switchyard/domain"
)

var replicaColumns = []string{"id", "name", "version", "started_at", "seen_at"}

func scanReplica(r row) *domain.Replica {
	return &domain.Replica{
		ID: r.text(0), Name: r.text(1), Version: r.text(2), StartedAt: r.time(3), SeenAt: r.time(4),
	}
}

type replicaStatements struct{ put, list, remove *Statement }

func (b *Queries) replicaStatements() replicaStatements {
	return replicaStatements{
		put:    b.upsert("replicas", replicaColumns[:1], replicaColumns[1:]),
		list:   b.read(selectFrom("replicas", replicaColumns...).order("id")),
		remove: b.write(b.deleteFrom("replicas", equal("id"))),
	}
}

type replicas Tx

func (t *replicas) Put(ctx context.Context, r *domain.Replica) error {
	return (*Tx)(t).run(ctx, t.queries.replicas.put, r.ID, r.Name, r.Version, nullableMicros(r.StartedAt), nullableMicros(r.SeenAt))
}

func (t *replicas) List(ctx context.Context) ([]*domain.Replica, error) {
	return queryAll(ctx, (*Tx)(t), t.queries.replicas.list, scanReplica)
}

func (t *replicas) Delete(ctx context.Context, id string) error {
	return (*Tx)(t).run(ctx, t.queries.replicas.remove, id)
}
