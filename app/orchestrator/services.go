package orchestrator

// The services share the state of the orchestrator.
type (
	sessionService   struct{ *Orchestrator }
	apiKeyService    struct{ *Orchestrator }
	messageService   struct{ *Orchestrator }
	workerService    struct{ *Orchestrator }
	operationService struct{ *Orchestrator }
	userService      struct{ *Orchestrator }
	workerProtocol   struct{ *Orchestrator }
)
