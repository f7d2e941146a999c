package accounts_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/switchyard-wa/switchyard/adapters/bcrypt"
	"github.com/switchyard-wa/switchyard/adapters/jwt"
	"github.com/switchyard-wa/switchyard/app/accounts"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/ports"
)

// printer is a mailer of one's own. A real one hands the mail to a provider.
type printer struct{}

func (printer) Send(_ context.Context, m ports.Mail) error {
	fmt.Println("to", m.To)
	fmt.Println("has the link:", strings.Contains(m.Text, "https://example.com/reset?token="))
	return nil
}

// Accounts send mail through any ports.Mailer. Spawn runs the sending in place here. Without
// it mail is sent in the background.
func Example_customMailer() {
	ctx := context.Background()
	store, err := backend.Open(ctx, "memory:")
	check(err)
	tokens, err := jwt.New([]byte("a secret of at least 32 bytes, kept"))
	check(err)
	passwords, err := bcrypt.New(bcrypt.Config{Cost: 4}) // the least; leave it out in a real program
	check(err)
	a, err := accounts.New(accounts.Config{
		Store: store, Tokens: tokens, Passwords: passwords, Mailer: printer{},
		ResetURL: "https://example.com/reset?token=", Spawn: func(send func()) { send() },
	})
	check(err)

	_, err = a.Register(ctx, "Ada", "ada@example.com", "correct-horse-1")
	check(err)
	check(a.ForgotPassword(ctx, "ada@example.com"))
	check(a.Close(ctx))
	check(store.Close())
	// Output:
	// to ada@example.com
	// has the link: true
}

// check ends an example that fails.
func check(err error) {
	if err != nil {
		panic(err)
	}
}
