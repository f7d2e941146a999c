// Package server puts the reference server together: it is the one place that
// knows every part. The command wraps it, and end-to-end tests reuse it.
package server
