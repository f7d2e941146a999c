// Package webhook posts events to the URLs of customers, signed as Standard Webhooks says.
//
//	POST <url>
//	content-type:      application/json
//	webhook-id:        id of the delivery, the same in all attempts
//	webhook-timestamp: seconds since 1970, of the attempt
//	webhook-signature: v1,<base64 of HMAC-SHA256(key, id.timestamp.body)>, one for each key, separated by blanks
//
//	{"position":…,"type":"message.sent","timestamp":"…","sessionId":"…","data":{…}}
//
// The body has the form of an event in the HTTP API (package view).
//
// # What it promises
//
//   - One call is one request. Redirects are not followed: a redirect could lead inside, and to
//     somebody who never agreed to receive events.
//   - The call ends within its time limit, whatever the receiver does. The status line decides: a body
//     that does not arrive within a second is cut off.
//   - Nothing is sent after the time that the call names, not even by a process that was paused meanwhile.
//     Each connection therefore serves one request at a time: HTTP/2 is not used.
//   - At most 4 KiB of a body and 16 KiB of headers are read.
//   - A call uses at most one connection. The caller bounds the calls, and therefore the connections in use.
//     A bound for each host would let hanging receivers of one customer delay those of another at the same
//     host. Idle connections are bounded for each host and in all.
//   - A proxy of the environment is not used: it would dial in place of [Config.Dial], and check no address.
//   - No message for people contains an address. Errors of TLS say what is wrong with the certificate.
//
// [Config.Dial] has to check the address after each resolution. A name may lead to another address than when
// the URL was saved.
package webhook
