package domain

// The bounds of a generation that a worker states, beyond the generation that the store knows.
//
// A store that was restored from a backup knows lower generations than the workers run. The bounds let
// such a store catch up, and keep a worker from using up the numbers: at the largest step a worker needs
// four billion reports to reach maxGeneration.
const (
	maxGenerationLead = 1_000_000
	maxGeneration     = 1 << 52 // JSON numbers are exact up to twice as many
)

// IsPlausibleGeneration reports whether a worker may state a generation of a session, of which the store knows
// another one.
func IsPlausibleGeneration(stated, known int64) bool {
	return stated <= known || stated <= maxGeneration && stated-known <= maxGenerationLead
}

// RaiseGeneration raises the generation to a generation that a worker runs, or was told to stop. It ignores a
// lower generation, and a generation that is not plausible.
func (s *Session) RaiseGeneration(stated int64) {
	if IsPlausibleGeneration(stated, s.Generation) {
		s.Generation = max(s.Generation, stated)
	}
}

// admit reports whether a report is of the assigned worker and of its generation, and adopts a higher
// generation. If ok is false, refused is the outcome of the report.
//
// The assigned worker may run a higher generation than the session has: the store was restored from a
// backup, and the worker was given the session again after the backup. The session then adopts the
// generation. The worker gains nothing by a false one: it has the session already, and every later
// assignment has a generation above it. A report without a worker id may be of a former worker, and
// raises nothing.
func (s *Session) admit(r Report) (refused Outcome, ok bool) {
	switch {
	case !s.IsAssigned(), r.WorkerID != "" && r.WorkerID != s.WorkerID:
		return NotOwner, false
	case s.IsCurrent(r.WorkerID, r.Generation):
		s.Generation = max(s.Generation, r.Generation)
		return 0, true
	case r.WorkerID != "" && r.Generation > s.Generation:
		return Implausible, false
	}
	return NotOwner, false
}

// IsCurrent reports whether what a worker says of a session is about its present generation: the worker
// states that one, or none, or it is the assigned worker and states a higher one. An empty worker id is a
// worker that does not name itself.
func (s *Session) IsCurrent(workerID string, generation int64) bool {
	if generation == 0 || generation == s.Generation {
		return true
	}
	isOwner := workerID != "" && workerID == s.WorkerID
	return isOwner && generation > s.Generation && IsPlausibleGeneration(generation, s.Generation)
}

// GenerationRefused raises the generation after the assigned worker has refused to start the session in
// it. A worker refuses a generation that it was told to stop. A store that was restored from a backup cannot
// know how far the worker is ahead. The first failure therefore raises the generation by 1, the second by 256
// and each later one by 65,536.
func (s *Session) GenerationRefused() {
	const maxFailures = 2
	s.Generation += 1 << (8 * min(s.Attempts+s.FailedStarts, maxFailures))
}
