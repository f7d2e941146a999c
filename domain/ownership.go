package domain

import (
	"hash/fnv"
	"time"
)

// Replica is one process of the control plane. Replicas work on the same store.
type Replica struct {
	ID        string // new for each run of the process
	Name      string // for people, such as the host name
	Version   string
	StartedAt time.Time
	SeenAt    time.Time // by the replica's own clock; a change proves that the replica is alive
}

// OwnsWork reports whether a replica runs a piece of background work, for the ids of the replicas that
// are alive. Replicas that know the same ids agree on the owner. When a replica goes, only its own work
// changes owners. This is rendezvous hashing: the replica with the highest score for the work owns it.
func OwnsWork(replicaID string, alive []string, work string) bool {
	own := rendezvousScore(replicaID, work)
	for _, other := range alive {
		if rendezvousScore(other, work) > own {
			return false
		}
	}
	return true
}

// rendezvousScore returns a hash of the replica and the work.
func rendezvousScore(replicaID, work string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(replicaID)) // never fails
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(work))
	x := h.Sum64() // FNV alone mixes its last bytes too little for comparisons
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return x
}
