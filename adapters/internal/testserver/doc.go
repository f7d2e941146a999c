// Package testserver runs the process of a server for tests, such as a PostgreSQL or a Redis server. The packages
// postgrestest and redistest describe their servers with a [Config] and add their protocols.
//
// Each server has a free port of the loopback interface, a private folder, and a guardian. The guardian is a small shell
// process that survives the test. When the test or its process ends, however that happens, the guardian kills the server
// and removes the folder:
//
//	test process ──starts──▶ server (and its child processes)
//	     │                      ▲
//	     └──pipe──▶ guardian ───┘ kills once the pipe is closed
//
// A server survives [Server.Kill], [Server.Stop] and [Server.Pause] in the sense that [Server.Restart] starts it again
// with the same port and folder. Signals reach all processes of the server. The package needs a Unix system.
package testserver
