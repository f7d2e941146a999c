// Package httpapi is the HTTP side of Switchyard. Users, programs with an API key,
// administrators and workers call it.
//
// [New] returns one http.Handler for the services of package ports/service. Every
// operation is declared once: routing, decoding, validation, credentials, limits,
// the OpenAPI document and the page at /docs come from that declaration.
//
// # The path of a request
//
//	ServeHTTP          request id, headers of every answer, CORS          httpapi.go
//	   │               /api → /api/v1, HEAD → GET, slash at the end       router.go
//	gorilla/mux        404; 405 and OPTIONS with Allow                    router.go
//	   │
//	go-kit endpoint    data present → credential → rate limit → queue     health.go, auth.go, limits.go, admission.go
//	   │
//	huma               body limit, content type → decode → schema         request_body.go, json.go
//	   │               → Resolve: the rules of the domain
//	   ├─ problems ──→ all of them at once, by field                      validation.go
//	   │
//	handler            calls one service                                  sessions.go, sends.go, …
//	   │
//	huma               envelope or error, buffered                        response.go, errors.go
//	   │
//	finish             panic → 500, access log, buffers released          httpapi.go
//
// Around all of this, large answers to GET are compressed (compression.go).
//
// The endpoint stands around huma, not between huma and the handler: a caller
// without a credential hears so before its body is read.
//
// # What it promises
//
//   - The contract of the HTTP API: envelopes, codes, messages and bytes. Golden
//     files in testdata hold the answers of every route.
//   - All problems of one request are reported together, with the field and the
//     remedy. Problems of type and limit come in the order of the body. Rules of the
//     domain and missing members follow in the order of the declaration.
//   - The document describes every operation, with every error code that it can
//     answer. The tests of this package and of cmd/switchyard hold each request and
//     each response against it (package openapitest).
//   - An authenticated heartbeat that names a known worker is a sign of life, whatever
//     it holds.
//   - Only errors.go knows status codes. An internal cause goes to the log with the
//     request id, never to the caller.
//
// # To add a route
//
// Write one declaration beside its siblings (for a worker's route in workers.go, for
// example), with an input type, an output type and a handler that calls one service
// method:
//
//	operation(route{
//		id: "pingWorker", method: get, path: "/workers/{workerId}/ping", tag: tagFleet,
//		credential: admin, limit: perUser, message: "Worker answered",
//		summary:     "Ping a worker",
//		description: "Calls the worker. Fails with WORKER_NOT_FOUND for an unknown one.",
//		errors:      []domain.Code{domain.CodeWorkerNotFound},
//	}, (*api).pingWorker)
//
// The input's fields carry tags: path, query or, within Body, json; doc, example,
// minLength, minimum and others. A member without omitempty is required. A route that
// hashes, draws, calls or reads many rows has a cost, which puts it into a queue. A method
// Resolve on the input applies rules of the domain and returns the problems. Codes
// of the credential, the limit and the input need not be listed. Then add a body to
// answers_test.go, if the route reads one, and run go test -update.
//
// # Decisions
//
// One surface for all handlers. huma derives schemas by reflection, which takes 15 ms
// for all routes. Operations, router and document are made once and shared; a
// handler differs by its services alone, which the request's context carries.
//
// One mux.Router for each first segment of a path. A router tries one regular
// expression after the other: with a single router POST /sessions/{id}/send takes
// 11 µs in this package, with one for each segment 6 µs.
//
// The bodies of sends are validated by huma only when they cannot be decoded, since
// the service checks every limit anyway. Without that validation sendText takes 3.3 µs
// and 17 allocations. The codec that was written by hand took 1.4 µs and 10, of about
// 65 µs that a whole send takes with the store in memory.
//
// No replaced hooks. huma.NewError and huma.ValidateStrictCasing are variables of
// the huma package, which an embedding program may use itself. Instead, a
// transformer turns huma's errors into the envelope, the context of the operation
// ignores huma's statuses for errors (422), and inspect (json.go) finds members
// that huma takes for present or known because it ignores their case.
//
// A form (multipart/form-data) is turned into the JSON body of the route and a file, and
// goes the same way from there (form.go). huma's own forms know neither our limits nor our
// errors, and keep what mime/multipart keeps: up to 10 MiB of heads for each part. The
// bound of 16 MiB in the contract is for base64 in JSON; a form goes through disk, so a
// document may have the 100 MiB that WhatsApp takes.
//
// Beside huma stand the things that it cannot do: the body is read by requestBody,
// which tells 408, 413 and 415 apart and refuses by Content-Length; members are
// decoded by go-json-experiment/json, which refuses names that are there twice and
// text that is not UTF-8; images of QR codes bypass the JSON format; nullable
// structs and examples of whole bodies are added to the document as JSON
// (document.go).
//
// Ids of sessions are unique among all users, since workers know a session by its id
// alone. POST /sessions therefore tells whether an id is taken, by whomever; ids that
// the server derives cannot be guessed. Every other route answers alike for another user's
// session and for a missing session.
//
// Bodies of workers are not validated by huma. Their types in lenient.go and
// heartbeat.go implement json.UnmarshalerFrom and huma.SchemaProvider. Workers never
// repeat a report that was refused, and a heartbeat that is refused often enough costs
// a live worker its sessions. Hence these bodies are read as far as they can be read,
// whatever their headers say: up to 1 MiB, to the first error of syntax, the first
// 5,000 items of a list. Items that cannot be used are skipped, counted and named. Only
// a report that names nothing is a 400. A heartbeat of 50 sessions takes 170
// allocations, and 169 if it is decoded strictly.
//
// # Bounds
//
// Nothing that a caller sends makes the server work or remember without a bound:
//
//   - Connections: 100 of one client network on which no request has authenticated. A new
//     one closes the oldest silent one. The file descriptors of the process bound the total
//     (connections.go).
//   - Headers: 32 KiB (the server) in at most 128 lines. At most 128 parameters.
//   - Bodies: 1 MiB, or 16 MiB with media. Memory grows as bytes arrive. All bodies under
//     way share 128 MiB. A caller holds at most as much as is free. A body that arrives too
//     slowly is a 408 (body_memory.go).
//   - Downloads: 4 of one user and 256 in all. One piece of 32 KiB is in memory. A client
//     that takes nothing for half a minute loses the connection, and so does one whose worker
//     sends nothing (media.go).
//   - Streams of events: 100 of one user and 500 of one client network, beyond it a 429. 20,000
//     in all. Loopback addresses and trusted proxies are exempt from the second (stream_count.go).
//   - Costly work: queues with a share for each caller, for passwords, QR codes, pictures,
//     calls to workers and searches (admission.go). A full queue is a 503 OVERLOADED.
//
// 100 connections that announced 16 MiB and sent a byte took 1.6 GB before.
//
// Exports are written while they are read, a page of rows at a time (download.go). At most 16
// run, 2 of one caller, and a client that reads nothing for a minute is cut off.
//
// The handler limits only how long a body takes to arrive. All other time limits are the
// server's. A connect may wait for 30 s: the write timeout of a server has to be longer.
package httpapi
