package service

// Services holds the services that an orchestrator offers.
type Services struct {
	Sessions   Sessions
	APIKeys    APIKeys
	Messages   Messages
	Workers    Workers
	Operations Operations
	Users      Users
	Protocol   WorkerProtocol
	Access     WorkerAccess
	Audit      Audit
	Events     Events
	Webhooks   Webhooks
	Scheduled  Scheduled
}
