// Package consoletest tests the console in headless Chromium against the reference server with simulated workers.
//
// A test makes a fleet ([newFleet]), opens a page of it (chromiumtest.Open) and goes its way by what people read.
// Each page is also looked at by axe-core and drawn by `make screenshots`: the table in pages_test.go lists them.
package consoletest
