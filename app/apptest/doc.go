// Package apptest runs a whole fleet inside a test: the real orchestrator on
// the store in memory, simulated workers without sockets, and a clock that
// moves only when the test moves it. Nothing waits, so a day takes
// milliseconds, and the same test does the same thing every time.
//
//	h := apptest.New(t).Workers("w1", 50, "w2", 50)
//	user := h.User(domain.TierPro)
//	s := h.Connected(user, "support")
//	h.Crash(s.WorkerID)
//	h.Advance(time.Minute)
//	require.Equal(t, domain.Connected, h.Session(s.ID).Status)
//
// A Harness is used by one goroutine; the use cases of its Orchestrator may be
// called from any.
package apptest
