package ports

import "context"

// ForLongRead returns a context for a View that may read many rows, such as a search through a history. A store
// with connections reserves a few of them for long reads. Other Views therefore do not wait for long reads.
// The store ends the statements of a long read when ctx ends. The caller sets a deadline.
func ForLongRead(ctx context.Context) context.Context {
	return context.WithValue(ctx, longReadKey{}, true)
}

// IsLongRead reports whether ctx comes from [ForLongRead].
func IsLongRead(ctx context.Context) bool {
	is, _ := ctx.Value(longReadKey{}).(bool)
	return is
}

type longReadKey struct{}
