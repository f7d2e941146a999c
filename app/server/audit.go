package server

import (
	"context"
	"errors"
	"log/slog"

	"github.com/switchyard-wa/switchyard/app/internal/audit"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// AuditTokenShown adds to the audit trail of a store that the command line shows the fleet
// token. It does nothing for a store in memory, whose trail ends with its process.
func AuditTokenShown(ctx context.Context, dsn string) error {
	if dsn == "memory:" {
		return nil
	}
	b, err := openExisting(ctx, dsn)
	if err != nil {
		return err
	}
	trail := audit.Trail{Store: b, IDs: b.IDs(), Now: b.Clock().Now, Log: slog.New(slog.DiscardHandler)}
	err = b.Update(commandLine(ctx), func(ctx context.Context, tx *ports.Tx) error {
		return trail.Record(ctx, tx, domain.AuditTokenShown, "token:fleet")
	})
	return errors.Join(err, b.Close())
}
