// Package postgrestest runs real PostgreSQL servers for tests, as httptest runs HTTP servers. Each server has a free port
// of the loopback interface and its own data directory. The package needs a Unix system and PostgreSQL's programs, which
// `make servers` installs.
//
// A server ends with the test or process that started it, however that ends. Its data directory is then removed.
package postgrestest
