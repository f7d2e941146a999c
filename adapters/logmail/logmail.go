package logmail

import (
	"context"
	"errors"
	"log/slog"
	netmail "net/mail"
	"strings"
	"unicode"

	"github.com/switchyard-wa/switchyard/ports"
)

// Mailer writes mail to a log. It is safe for concurrent use.
type Mailer struct{ log *slog.Logger }

var _ ports.Mailer = (*Mailer)(nil)

// New returns a mailer that writes to the log at level INFO.
func New(log *slog.Logger) *Mailer { return &Mailer{log: log} }

// Send writes the mail to the log. It fails if the context has ended. Like a mail
// server, it requires one bare address as the recipient and one line as the
// subject.
func (m *Mailer) Send(ctx context.Context, mail ports.Mail) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	to, err := netmail.ParseAddress(mail.To)
	if err != nil || to.Address != mail.To || strings.ContainsFunc(mail.To, unicode.IsControl) {
		return errors.New("logmail: the recipient is not one bare address")
	}
	if strings.ContainsFunc(mail.Subject, unicode.IsControl) {
		return errors.New("logmail: the subject is not one line of text")
	}
	m.log.InfoContext(ctx, "mail logged, not sent",
		"to", mail.To, "subject", mail.Subject, "text", mail.Text)
	return nil
}
