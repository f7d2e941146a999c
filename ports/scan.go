package ports

import "context"

// ForScan marks ctx for a View that may read many rows, such as a search through a history. (A scan of rows
// has nothing to do with the scan of a QR code.) A store with connections reserves a few of them for such
// Views, so that other Views do not wait, and ends their statements when ctx ends. The caller gives ctx a
// deadline.
func ForScan(ctx context.Context) context.Context { return context.WithValue(ctx, scanKey{}, true) }

// IsScan reports whether ctx comes from [ForScan].
func IsScan(ctx context.Context) bool {
	is, _ := ctx.Value(scanKey{}).(bool)
	return is
}

type scanKey struct{}
