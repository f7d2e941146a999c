package ports

import "context"

// URLPolicy judges URLs that users give and that a worker or this process will fetch. It is safe for
// concurrent use.
type URLPolicy interface {
	// CheckURL returns nil if url may be fetched. Otherwise the error is a domain.Error of kind Invalid,
	// whose message says what is wrong with the URL, without a field's name. Only http and https may be
	// fetched. A host name that cannot be resolved in a short time is no reason to refuse a URL, and
	// neither is the end of ctx.
	CheckURL(ctx context.Context, url string) error
}
