// Package httpworker calls workers over HTTP, as the worker protocol says.
//
// A [Client] implements ports.WorkerGateway. It keeps connections alive for a
// shorter time than workers do, looks at an idle one before it uses it, bounds
// every call in time, repeats what is safe to repeat, and leaves a worker alone
// for a moment that keeps failing to communicate. Fields that older workers do
// not know go only to workers that announced them.
//
// # What is repeated
//
// Up to three tries, with growing and jittered waits, within the one time limit
// of the call: after a connection that was never made for every call; after one
// that broke, and after a 5xx, for every call but Restart and a Send to a worker
// without dedupe. A 4xx and an answer that makes no sense are final. Health is
// a measurement and is not repeated.
//
// # Secrets
//
// The worker token goes to the endpoint that is called and nowhere else:
// redirects are not followed, no proxy is asked, and no error holds it.
package httpworker
