// Package bcrypt hashes passwords with bcrypt. It implements
// [ports.Passwords].
//
// A comparison takes the same time whatever is compared: with no hash, or
// text that is none, the password is compared with a stand-in. Only so many
// hashes are worked on at once, so that a flood of sign-ins makes people wait
// for their sign-in and leaves the rest of the service its processors.
package bcrypt
