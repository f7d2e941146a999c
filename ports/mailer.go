package ports

import "context"

//go:generate go tool mockgen -source mailer.go -destination mocks/mailer.go -package mocks

// Mail is one message to a person.
type Mail struct {
	To      string // one bare address
	Subject string // one line
	Text    string // plain
}

// Mailer sends mail.
type Mailer interface {
	// Send hands one mail over to who delivers it, and returns when that has it. After
	// an error it may have been taken all the same. It does not try again.
	Send(ctx context.Context, m Mail) error
}
