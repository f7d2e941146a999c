package main_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// atOnce makes n calls concurrently and counts the responses by status and error
// code.
func atOnce(t *testing.T, n int, do func(i int) (answer, error)) (tally map[string]int, answers []answer) {
	t.Helper()
	answers = make([]answer, n)
	errs := make([]error, n)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			answers[i], errs[i] = do(i)
		})
	}
	close(start)
	all.Wait()
	tally = make(map[string]int)
	for i, a := range answers {
		require.NoError(t, errs[i])
		tally[fmt.Sprint(a.status, " ", a.str("error.code"))]++
	}
	return tally, answers
}

func TestRace_Creates_RespectLimit(t *testing.T) {
	t.Parallel()
	s := serve(t)
	user := s.register()
	tally, _ := atOnce(t, 40, func(i int) (answer, error) {
		return user.call("POST", "/sessions", obj{"name": fmt.Sprint("Line ", i)})
	})
	assert.Equal(t, map[string]int{"201 ": 1, "409 SESSION_LIMIT_EXCEEDED": 39}, tally)
	assert.Len(t, user.get("/sessions").list("data.sessions"), 1)
	assert.Len(t, user.get("/users/api-keys").list("data"), 1, "no key without its session")

	// The same id, by a user whose tier allows them all.
	max := s.registerTier("MAX")
	tally, _ = atOnce(t, 16, func(int) (answer, error) {
		return max.call("POST", "/sessions", obj{"name": "Same", "sessionId": "the-same"})
	})
	assert.Equal(t, map[string]int{"201 ": 1, "409 SESSION_ALREADY_EXISTS": 15}, tally)
	tally, _ = atOnce(t, 40, func(i int) (answer, error) {
		return max.call("POST", "/sessions", obj{"name": fmt.Sprint("Line ", i)})
	})
	assert.Equal(t, map[string]int{"201 ": 19, "409 SESSION_LIMIT_EXCEEDED": 21}, tally)

	tally, _ = atOnce(t, 4, func(int) (answer, error) {
		return s.anonymous().call("POST", "/auth/register", obj{"name": "Twin", "email": "Twin@example.com", "password": password})
	})
	assert.Equal(t, map[string]int{"201 ": 1, "409 EMAIL_ALREADY_REGISTERED": 3}, tally)
}

func TestRace_Connects_RespectCapacity(t *testing.T) {
	t.Parallel()
	s := serve(t)
	small := newNode(s, "Small", capacity(7))
	users := []*person{s.registerTier("MAX"), s.registerTier("MAX")}
	cards := make([]*testSession, 30)
	for i := range cards {
		cards[i] = users[i%len(users)].create(fmt.Sprint("Line ", i))
	}
	tally, answers := atOnce(t, len(cards), func(i int) (answer, error) {
		return cards[i].call("POST", cards[i].path("/connect"), nil)
	})
	assert.Equal(t, map[string]int{"200 ": 7, "503 NO_AVAILABLE_WORKERS": 23}, tally)
	assert.Equal(t, 7, small.live())
	placed := 0
	for i, c := range cards {
		v := c.view()
		if answers[i].status == http.StatusOK {
			assert.Equal(t, small.canonical, v.str("data.workerId"))
			c.await("QR_REQUIRED")
			placed++
			continue
		}
		assert.Equal(t, "DISCONNECTED", v.str("data.status"), "without capacity nothing changes")
		assert.Nil(t, v.at("data.workerId"))
		assert.Empty(t, small.asked(c.id))
	}
	assert.Equal(t, 7, placed)
	fleet := s.admin().get("/workers/statistics")
	assert.Equal(t, obj{"total": 7.0, "used": 7.0, "available": 0.0}, fleet.at("data.capacity"))

	// A free slot is available for the next session.
	var waiting, leaving *testSession
	for i, c := range cards {
		if answers[i].status == http.StatusOK {
			leaving = c
		} else {
			waiting = c
		}
	}
	leaving.post(leaving.path("/disconnect"), nil)
	waitFor(t, "the freed slot is given away", func() (bool, any) {
		a, err := waiting.call("POST", waiting.path("/connect"), nil)
		require.NoError(t, err)
		return a.status == http.StatusOK, a
	})
	assert.Equal(t, 7, small.live())
}

func TestRace_ConnectsOfOneSession_StartOnce(t *testing.T) {
	t.Parallel()
	s := serve(t)
	one, two := newNode(s, "Node_1"), newNode(s, "Node_2")
	c := s.register().create("Line")
	tally, answers := atOnce(t, 16, func(int) (answer, error) {
		return c.call("POST", c.path("/connect"), nil)
	})
	assert.Equal(t, map[string]int{"200 ": 1, "409 SESSION_CONNECTING": 15}, tally)
	c.await("QR_REQUIRED")
	assert.Len(t, append(one.asked(c.id), two.asked(c.id)...), 1, "one start, on one worker")
	assert.EqualValues(t, 1, c.view().at("data.generation"))
	for _, a := range answers {
		if a.status == http.StatusOK {
			assert.Equal(t, c.on(one, two).canonical, a.str("data.workerId"))
		}
	}
}

// A refresh token works once. Concurrent uses of it revoke the family.
func TestRace_Refreshes_OneSucceeds(t *testing.T) {
	t.Parallel()
	s := serve(t)
	user := s.register()
	tally, answers := atOnce(t, 8, func(int) (answer, error) {
		return s.anonymous().call("POST", "/auth/refresh", obj{"refreshToken": user.refresh})
	})
	assert.Equal(t, map[string]int{"200 ": 1, "401 AUTH_TOKEN_INVALID": 7}, tally)
	for _, a := range answers {
		if a.status == http.StatusOK {
			s.anonymous().refused(http.StatusUnauthorized, "AUTH_TOKEN_INVALID", "POST", "/auth/refresh",
				obj{"refreshToken": a.str("data.refreshToken")})
		}
	}
}
