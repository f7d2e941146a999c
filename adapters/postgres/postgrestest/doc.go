// Package postgrestest runs real PostgreSQL servers for tests, as httptest
// runs servers of HTTP: each on a free port of the loopback interface, with a
// data directory of its own that goes with it. It needs PostgreSQL's programs,
// which `make servers` installs, and a Unix system.
//
// A server ends with the test or process that started it, however that ends.
package postgrestest
