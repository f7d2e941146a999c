package ports

import "context"

//go:generate go tool mockgen -source mailer.go -destination mocks/mailer.go -package mocks

// Mail is one message to a person.
type Mail struct {
	To      string
	Subject string
	Text    string
}

// Mailer sends mail.
type Mailer interface {
	Send(ctx context.Context, m Mail) error
}
