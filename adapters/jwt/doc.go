// Package jwt signs and verifies access tokens as JSON Web Tokens. It implements
// [ports.Tokens].
//
// The only algorithm is HS256, whatever the header of a token names. Issuer and
// audience are "switchyard". All replicas of a service share the secret. A new
// secret invalidates every token at once.
package jwt
