// Package redistest runs real Redis servers for tests, as httptest runs servers of
// HTTP: each on a free port of the loopback interface, with nothing kept on disk. It
// needs the program redis-server, which `make servers` installs, and a Unix system.
//
// A server ends with the test or process that started it, however that ends.
package redistest
