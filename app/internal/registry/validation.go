package registry

import (
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

const (
	maxCapacity = 1000
	maxTextSize = 50 // of version and environment
)

// reservedIDs are fixed paths of the HTTP API. They would hide a worker of that id.
var reservedIDs = []string{"available", "health-check", "register", "statistics", "test", "unregister"}

// normalizeRegistration normalises a registration, fills in defaults, and reports every
// problem.
func normalizeRegistration(r *domain.Registration) error {
	var p domain.Problems
	id, err := domain.NormalizeWorkerID(r.WorkerID)
	p.Check("workerId", err)
	if slices.Contains(reservedIDs, id) {
		p.Add("workerId", "Worker ID %s is the name of a route; choose another", id)
	}
	endpoint, err := domain.ParseEndpoint(r.Endpoint)
	p.Check("endpoint", err)
	r.WorkerID, r.Endpoint = id, endpoint
	r.ApplyDefaults()
	checkCapacity(&p, r.Capacity)
	checkTexts(&p, r.Description, r.Version, r.Environment)
	p.Check("labels", domain.CheckLabels(r.Labels))
	r.StateGroup, err = domain.CheckStateGroup(r.StateGroup)
	p.Check("stateGroup", err)
	if r.Interval < 0 || r.Interval > time.Hour {
		p.Add("heartbeatInterval", "Heartbeat interval must be between 0 and 3600000 ms")
	}
	return p.Err()
}

func checkCapacity(p *domain.Problems, n int) {
	if n < 1 || n > maxCapacity {
		p.Add("maxSessions", "Max sessions must be between 1 and %d", maxCapacity)
	}
}

func checkTexts(p *domain.Problems, description, version, environment string) {
	_, err := domain.CheckDescription(description)
	p.Check("description", err)
	if len(version) > maxTextSize {
		p.Add("version", "Version must have at most %d characters", maxTextSize)
	}
	if len(environment) > maxTextSize {
		p.Add("environment", "Environment must have at most %d characters", maxTextSize)
	}
}
