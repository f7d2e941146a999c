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

// New makes a mailer that writes to the log, at level INFO.
func New(log *slog.Logger) *Mailer { return &Mailer{log: log} }

// Send writes the mail to the log. It fails if the context has ended, and if a
// mail server would not be given the mail either: the recipient must be one
// bare address, the subject one line.
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
	m.log.InfoContext(ctx, "mail, not sent because no mail server is configured",
		"to", mail.To, "subject", mail.Subject, "text", mail.Text)
	return nil
}
