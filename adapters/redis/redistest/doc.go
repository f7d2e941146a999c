// Package redistest runs real Redis servers for tests, as httptest runs HTTP servers. Each server has a free port of the
// loopback interface and keeps nothing on disk. The package needs a Unix system and the program redis-server, which
// `make servers` installs.
//
// A server ends with the test or process that started it, however that ends.
package redistest
