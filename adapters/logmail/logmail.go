package logmail

import (
	"context"
	"log/slog"

	"github.com/switchyard-wa/switchyard/ports"
)

// Mailer writes mail to a log. It is safe for concurrent use.
type Mailer struct{ log *slog.Logger }

var _ ports.Mailer = (*Mailer)(nil)

// New makes a mailer that writes to the log, at level INFO.
func New(log *slog.Logger) *Mailer { return &Mailer{log: log} }

// Send writes the mail to the log. It fails only if the context has ended.
func (m *Mailer) Send(ctx context.Context, mail ports.Mail) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.log.InfoContext(ctx, "mail, not sent because no mail server is configured",
		"to", mail.To, "subject", mail.Subject, "text", mail.Text)
	return nil
}
