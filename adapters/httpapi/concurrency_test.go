package httpapi

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Requests share buffers, one after the other: no answer may hold a piece of
// another.
func TestServe_ConcurrentRequests_AnswersDoNotMix(t *testing.T) {
	server := httptest.NewServer(New(config(&stub{})))
	defer server.Close()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				id := fmt.Sprintf("message-%d-%d", i, j)
				body := fmt.Sprintf(`{"sessionId":"support","messageId":"%s","status":"SENT","x":"%s"}`, id, strings.Repeat("y", i*j*10))
				r, err := http.NewRequest("POST", server.URL+"/api/webhooks/message-status", strings.NewReader(body))
				if !assert.NoError(t, err) {
					return
				}
				r.Header.Set("Authorization", "Bearer "+fleetToken)
				answer, err := server.Client().Do(r)
				if !assert.NoError(t, err) {
					return
				}
				got, _ := io.ReadAll(answer.Body)
				answer.Body.Close()
				assert.Contains(t, string(got), `"messageId":"`+id+`"`)
			}
		})
	}
	wg.Wait()
}

// What a service was given stays as it was when the buffers are used again.
func TestDecode_BufferReused_ValuesAreCopies(t *testing.T) {
	s := &stub{}
	h := New(config(s))
	serve(t, h, request("POST", "/api/v1/auth/refresh", "", `{"refreshToken":"the first token"}`))
	first := s.last
	for range 10 {
		serve(t, h, request("POST", "/api/v1/auth/refresh", "", `{"refreshToken":"another token..."}`))
	}
	require.Equal(t, "the first token", first)
}
