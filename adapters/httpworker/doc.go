// Package httpworker calls workers over HTTP, as the worker protocol says.
//
// A [Client] implements ports.WorkerGateway. It bounds every call in time, and
// retries the calls that are safe to repeat. A circuit breaker for each worker
// stops calls to a worker that keeps failing to communicate. Fields that legacy
// workers do not know go only to workers that announced them.
//
// # The path of a call
//
//	Client.Send … Client.Delete      encodes the body behind room for the head
//	  └ do                           sets the deadline, counts the attempts
//	     └ retry                     waits with growing, jittered delays
//	        └ withCircuitBreaker     answers at once while the circuit is open
//	           └ attempt             classifies the status of the response
//	              └ exchange         writes the request, reads the response
//	                 └ acquire       takes a pooled connection, or dials
//
// # Retries
//
// A call has up to three attempts within its one time limit:
//
//   - Every call is retried after a connection that was never made.
//   - Every call but Restart, and but a Send to a worker without dedupe, is also
//     retried after a connection that broke.
//   - These calls are retried after a 5xx too, except a Logout or Delete of a legacy
//     worker: such a worker limits the calls about a session, and repeats its 5xx.
//   - A 4xx and a response that cannot be understood are final.
//   - Health is a measurement. It is not retried.
//
// # Refusals
//
// A worker refuses a call by a 4xx in the error form of the protocol, or by
// notSent in an error. Only these prove that it executed nothing. Everything else
// may come from a proxy in front of it, or after the fact: a page, a 5xx, a 200
// without the id of the message. Such an outcome is unknown.
//
// A 401 to a call token means that the worker is registering and does not know the
// token yet. Such a call fails as busy, and may be made again.
//
// A Logout or Delete succeeds at a 404 in the error form of the protocol: the worker has
// no credentials of the session. The 404 of a proxy proves nothing. Nor does the 404 of
// a legacy worker, which may keep the files of sessions that it has not started.
//
// Responses are decoded leniently. A member of a wrong type counts as missing, and
// an item that is no session is skipped.
//
// # Uploads
//
// The protocol has base64 in JSON alone. The content of an upload is encoded while it is
// written, so a document of 100 MiB takes two buffers of 64 KiB here, not 133 MiB. A
// request that was not written to its end was not executed. If a worker closes the
// connection meanwhile, its answer is read all the same: it may be a 413.
//
// # Media
//
// The media of an inbound message are streamed by net/http, over connections apart from
// those of calls: a download may hold one for hours, and fasthttp streams through its Do
// alone. The time limit of a call applies to the head of the response and then to each
// read. A media request is not repeated, except without its range if the worker cannot
// tell that the content is still the same.
//
// # Idle connections
//
// Node.js closes a connection that has been idle for 5 s. A request that is
// written just then is lost without an answer:
//
//	client                        worker
//	                              closes the idle connection
//	writes the request       →    (nobody reads it)
//	reads EOF                ←    FIN
//
// The client cannot tell this loss from a worker that died with the request in
// its hands. Therefore it closes connections after 4 s of idling, and looks for
// a FIN on an idle connection before it writes. If the race happens all the
// same, a call that is safe to repeat is repeated.
//
// # Why fasthttp without its Do
//
// The client uses the pool, the buffers and the parser of fasthttp. It does not
// use Do: Do does not tell a request that was never written from a request that
// may have arrived, and it knows no context.
//
// # Secrets
//
// A worker that announced ownToken is shown its call token, which is derived from the
// fleet token for this worker and its latest registration. Other workers are shown the
// fleet token. An endpoint that belongs to no worker yet is shown no token: the endpoint
// of a test, or of a registration that is not accepted yet.
//
// A token goes to the called endpoint and nowhere else. The client does not follow
// redirects, uses no proxy, and puts the token into no error.
package httpworker
