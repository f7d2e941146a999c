package domain

import (
	"hash/fnv"
	"time"
)

// Replica is one process of the control plane, among those that work on the
// same store.
type Replica struct {
	ID        string // of this run of the process
	Name      string // for people, such as its host
	Version   string
	StartedAt time.Time
	SeenAt    time.Time // by its own clock; that it changes is what shows that the replica lives
}

// OwnsWork reports whether a piece of work falls to a replica, given the ids of
// those that live. All replicas that know the same ids agree on who it is, and
// if one goes only its own work changes hands (rendezvous hashing).
func OwnsWork(replicaID string, alive []string, work string) bool {
	own := rendezvousScore(replicaID, work)
	for _, other := range alive {
		if rendezvousScore(other, work) > own {
			return false
		}
	}
	return true
}

func rendezvousScore(replicaID, work string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(replicaID)) // never fails
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(work))
	x := h.Sum64() // FNV alone does not mix its last bytes enough to compare by
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return x
}
