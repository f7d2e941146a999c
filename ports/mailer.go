package ports

import "context"

//go:generate go tool mockgen -source mailer.go -destination mocks/mailer.go -package mocks

// Mail is one message to a person.
type Mail struct {
	To      string // one bare address
	Subject string // one line
	Text    string // plain text
}

// Mailer sends mail.
type Mailer interface {
	// Send hands one mail to the delivering system and returns when that system has accepted it. After
	// an error the mail may have been accepted. Send does not retry.
	Send(ctx context.Context, m Mail) error
}
