// Package jwt signs and checks access tokens as JSON Web Tokens. It implements
// [ports.Tokens].
//
// The algorithm is HS256 and nothing else, whatever a token's header says;
// issuer and audience are "switchyard". All replicas of a service share the
// secret; another secret ends every token at once.
package jwt
