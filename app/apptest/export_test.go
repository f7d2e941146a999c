package apptest

import "github.com/switchyard-wa/switchyard/adapters/simworker"

// All gives all workers, also those of one id.
func (h *Harness) All() []*simworker.Worker { return h.workers }
