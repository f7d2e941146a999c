package orchestrator

import (
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Aliases of the types that most programs pass to services. A program that needs no others
// imports neither domain nor ports/service.
type (
	// User is a user, as Users.Add takes one.
	User = domain.User
	// Tier names the limits of a user.
	Tier = domain.Tier
	// CreateSessionParams describes a session, for Sessions.Create.
	CreateSessionParams = service.CreateSessionParams
	// ConnectOptions refines Sessions.Connect.
	ConnectOptions = service.ConnectOptions
	// Sender names who sends a message, for Messages.Send.
	Sender = service.Sender
	// Outgoing is a message to send, for Messages.Send.
	Outgoing = domain.Outgoing
)

// The tiers of the reference service, and the type of a text message.
const (
	TierBasic = domain.TierBasic
	TierPro   = domain.TierPro
	TierMax   = domain.TierMax

	TypeText = domain.TypeText
)
