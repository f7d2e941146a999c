// Package service holds the driving ports: the services that the core offers.
//
// Inbound adapters and embedding programs call them. Package app/orchestrator
// implements all but [Accounts], which package app/accounts implements.
//
//	Accounts        people: sign-in, passwords, administration of users
//	Users           users that an embedding program manages itself
//	Sessions        the sessions of one owner: create, connect, disconnect, delete
//	APIKeys         API keys, and what the owner's tier still allows
//	Messages        sending, actions on messages, the history
//	Scheduled       messages that are sent later: list, change, cancel
//	Webhooks        URLs that receive events of a session, and their deliveries
//	Events          the event log of one user: pages and live streams
//	Workers         an administrator's view of the fleet: drain, activate, probe
//	Operations      migrations, rebalancing and bulk actions of an administrator
//	WorkerProtocol  what workers call: register, heartbeat, reports
//	Audit           the audit trail: who did what, from where, and how it ended
//
// # Contract of every service
//
// Every error is a *domain.Error or an error of the context. An object that
// belongs to another user is reported as not found.
//
// Every method may be called concurrently and on any replica. What one replica
// records holds on all replicas. API keys, sign-ins and tiers are cached: a
// replica may go by what it read within the last second.
//
// Results are copies. The caller may keep and change them.
package service
