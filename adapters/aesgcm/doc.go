// Package aesgcm encrypts secrets for a store, with AES-256-GCM.
//
// The key is derived from a text that the server keeps in its secrets file, or that is given to it. A
// stolen database, or a backup of it, shows no secret.
//
//	sealed = version (1 byte) ‖ nonce (12 bytes, random) ‖ ciphertext and tag
//
// The bound value, such as the id of the row, is authenticated and not stored. A sealed secret that is
// copied into another row does not open there.
//
// A random nonce repeats with a probability of 2^-32 after 2^32 secrets under one key, which is the
// limit of NIST SP 800-38D. Secrets of webhooks are sealed a few times in their life.
package aesgcm
