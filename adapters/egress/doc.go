// Package egress decides which addresses this system may call for others: the
// endpoints of workers, and the media, links and thumbnails that users name. A URL
// that leads inside, to an address that is not public, would let a user read what only
// this network can reach, such as the metadata service of a cloud.
//
// There is one policy, with two ways in:
//
//	Policy.CheckURL   judges a URL when it is given: its form, its host, and the
//	                  addresses to which the host resolves here
//	Control           judges the address to which a net.Dialer connects, after
//	                  every resolution
//
// # What it promises
//
//   - An address is public unless IANA lists it for a special purpose. IPv6 addresses
//     outside 2000::/3 are not public. An IPv4 address in IPv6 form is judged as IPv4,
//     and an address of NAT64 by the IPv4 address in it.
//   - A host is read as browsers and Node.js read it: 2130706433, 0x7f.1, 127.1 and
//     full-width digits are addresses. This package and the worker that fetches the
//     URL see the same host.
//   - localhost, names for local networks, names without a dot and the metadata
//     services of clouds are refused without a resolution. So is a user name or a
//     password in a URL.
//   - A name is refused if one of its addresses is. A name that does not resolve here
//     within half a second is passed on: the worker may see another DNS.
//
// A refusal tells a user that a name leads inside, but not to which address. The
// contract of the HTTP API demands the refusal.
//
// A name may resolve to another address later, and then lead inside after all. Whoever
// connects has to judge again. This process does so with Control. Workers have a
// policy of their own.
//
// # Cost
//
// A message without a URL costs nothing. Parsing a URL takes 25 µs. Answers of DNS,
// good and bad, are cached for 30 s, for 4,096 names at most. At most 32 names are
// resolved at the same time. A further name waits, and is passed on at the time limit.
// A slow DNS therefore delays each message by half a second at most.
//
// # Libraries
//
// code.dny.dev/ssrf has the networks. They are generated from IANA's registries.
// nlnwa/whatwg-url parses as the URL standard says, and passes its tests; net/url
// knows neither numbers as hosts nor full-width digits.
package egress
