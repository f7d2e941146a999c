package main_test

import (
	"net/http"
	"os/exec"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/httpapi/openapitest"
)

// checker holds traffic against the document that the program prints.
var checker = sync.OnceValues(func() (*openapitest.Checker, error) {
	cmd := exec.Command(binary, "openapi", "--format", "3.0")
	cmd.Env = environment()
	document, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	return openapitest.New(document)
})

// documented returns a transport that fails the test when a request or a response
// is not as the document has it. Responses after the test do not count.
func documented(t testing.TB, next http.RoundTripper) http.RoundTripper {
	t.Helper()
	c, err := checker()
	require.NoError(t, err)
	var mu sync.Mutex
	ended := false
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		ended = true
	})
	return c.Transport(next, func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if !ended {
			t.Error(err)
		}
	})
}

// TestOpenAPI_Formats_PrintDocument prints the document of the API in every form.
func TestOpenAPI_Formats_PrintDocument(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{"json": `"openapi": "3.1.0"`, "yaml": "openapi: 3.1.0", "3.0": `"openapi": "3.0.3"`} {
		r := run(t, t.TempDir(), nil, "", "openapi", "--format", format)
		assert.Zero(t, r.code, r.err)
		assert.Contains(t, r.out, want)
		assert.Contains(t, r.out, "/api/v1/sessions/{id}/connect")
	}
	assert.Equal(t, run(t, t.TempDir(), nil, "", "openapi").out, run(t, t.TempDir(), nil, "", "openapi", "--format", "json").out)
	bad := run(t, t.TempDir(), nil, "", "openapi", "--format", "toml", "extra")
	assert.Equal(t, 2, bad.code)
	assert.Contains(t, bad.err, "json, yaml, 3.0")
	assert.Contains(t, bad.err, "extra")
}
