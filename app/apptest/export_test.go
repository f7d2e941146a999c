package apptest

import "github.com/switchyard-wa/switchyard/adapters/simworker"

// All returns all workers, including those with the same id.
func (h *Harness) All() []*simworker.Worker { return h.workers }
