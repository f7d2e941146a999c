// Package server composes the reference server. It is the only package that knows every
// adapter. The command wraps it, and end-to-end tests run it.
//
//	s, err := server.New(ctx, server.Config{Store: "sqlite:gateway.db"})
//	err = s.Run(ctx)
//
// # Parts
//
//	server.go     Server: composition, serving, shutdown
//	handler.go    Handler: the HTTP API for the mux of a program that embeds an orchestrator
//	config.go     Config and its problems, in the words of the command line; limits of tiers
//	secrets.go    the JWT secret, the fleet token and the webhook key, their file, agreement of replicas on them
//	admin.go      accounts and the fleet token of a store, for the command line
//	health.go     what the server depends on, checked at most once a second
//	warnings.go   what is dangerous in production, logged once at the start
//	simulate.go   simulated workers, in this process or in their own
//
// The files connections_*.go return how many connections the system allows.
//
// # Start
//
// New opens the store, resolves the secrets, composes the services, listens, and creates the
// first administrator. The administrator comes last: its generated password is shown once, and
// a start that fails later would lose it. Run then serves and prints the banner.
//
// # Shutdown
//
// When ctx ends, the server reports that it is not ready, finishes requests for up to ten
// seconds, ends the background work and closes the store.
//
// # Secrets
//
// What one replica signs or hands out, the others accept, so all of them need the same secrets.
// A secret is given, or generated once and kept in the secrets file (package secretfile), in no
// table. A store in memory keeps it in the process. Earlier versions kept generated secrets in
// the settings table. They move at the first start:
//
//	write the file, fsync ──► delete the settings
//
// After a crash in between the next start finds both, and the file wins.
//
// A secrets file that is empty or damaged is refused. A secret that is missing, from the file or
// with it, is generated. If the store is in use by then, the start warns once, with the path, and
// goes on:
//
//   - It reveals nothing. Access tokens and the tokens of workers end, so nobody gains access.
//   - It loses nothing but secrets of webhooks, which their owners rotate. No other value in the
//     store needs a former secret. Clients
//     refresh their access tokens; workers need the new fleet token, or the former file back.
//   - A refusal would help nobody: workers with a lease stop their sessions without a server too.
//
// While the server runs, it looks at the secrets file every 10 s (secrets_watch.go). It goes on without
// the file, and warns once, because the next start would generate other secrets. The detailed health
// names the file while it is missing.
//
// The store keeps a bcrypt hash of each secret. A replica whose secret does not match the hash
// starts only if no other replica is alive, and replaces the hash:
//
//	secret        hash in the store   other replicas   outcome
//	matches       -                   -                start
//	differs       present             alive            error: use one secret
//	differs       present             none             start, replace the hash
//	not given     -                   coordinated      use the secret in the file, else error
//
// The webhook key differs in one row: where it is not given and cannot be generated, the server
// runs without webhooks and warns, so that an upgrade needs no new flag.
//
// The hash is slow to compute, and the store does not reveal a short secret through it.
//
// # Two servers on one PostgreSQL store
//
// Without a shared Coordination they would count limits apart and keep routes apart. The server
// that finds an older replica therefore stops.
package server
