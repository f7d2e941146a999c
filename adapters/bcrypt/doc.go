// Package bcrypt hashes passwords with bcrypt. It implements
// [ports.Passwords].
//
// A comparison takes the same time for every input: if the hash is empty or
// malformed, the password is compared with a fixed hash instead.
//
// Parallel bounds the hashes that are computed at once. Under a flood of sign-ins
// people wait for their sign-in, and the rest of the service keeps its processors.
//
// The queue is bounded in number and in time. Without these bounds 236 abandoned
// sign-ins made the next one take 17 s. A caller beyond the bounds receives OVERLOADED.
// A caller whose context ends leaves the queue.
//
// Known callers ([ports.WithKnownCaller]) do not wait for a flood of strangers. Among known
// callers one hash for each account runs and two wait; more are refused at once. Accounts take
// turns. Thus a user with many sign-ins under way delays another account by one hash.
package bcrypt
