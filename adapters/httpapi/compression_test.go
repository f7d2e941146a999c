package httpapi

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// getZipped asks for a path as browsers do, and returns the answer and its plain body.
func getZipped(t *testing.T, h http.Handler, path, token string) (*httptest.ResponseRecorder, []byte) {
	r := request("GET", path, token, "")
	r.Header.Set("Accept-Encoding", "gzip, deflate, br")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Header().Get("Content-Encoding") == "" {
		return w, w.Body.Bytes()
	}
	assert.Equal(t, "gzip", w.Header().Get("Content-Encoding"), path)
	zipped, err := gzip.NewReader(w.Body)
	require.NoError(t, err)
	body, err := io.ReadAll(zipped)
	require.NoError(t, err)
	return w, body
}

func TestCompression_Pages_AreSmallerForClientsThatAccept(t *testing.T) {
	h := New(config(&stub{}))
	for _, path := range pagePaths {
		plain := httptest.NewRecorder()
		h.ServeHTTP(plain, request("GET", path, "", ""))
		assert.Empty(t, plain.Header().Get("Content-Encoding"), path)
		assert.Contains(t, plain.Header().Values("Vary"), "Accept-Encoding", path)

		got, body := getZipped(t, h, path, "")
		size := got.Result().ContentLength
		assert.Equal(t, "gzip", got.Header().Get("Content-Encoding"), path)
		assert.Equal(t, plain.Header().Get("Content-Type"), got.Header().Get("Content-Type"))
		assert.Equal(t, plain.Body.Bytes(), body, path)
		assert.Less(t, size, int64(plain.Body.Len()/2), path)
	}
}

func TestCompression_Answers_LargeOnesOnly(t *testing.T) {
	h := New(config(&stub{}))
	got, body := getZipped(t, h, "/api/v1/users/tier", userToken)
	assert.Empty(t, got.Header().Get("Content-Encoding"))
	assert.Contains(t, string(body), `"success":true`)
	got, body = getZipped(t, h, "/api/v1/nothing", userToken)
	assert.Equal(t, http.StatusNotFound, got.Code)
	assert.Contains(t, string(body), `"success":false`)

	large := compressor()(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = jsonType
		_, _ = w.Write(make([]byte, 10_000))
	}))
	got, body = getZipped(t, large, "/", "")
	assert.Equal(t, "gzip", got.Header().Get("Content-Encoding"))
	assert.Len(t, body, 10_000)
}

func TestCompression_SecretsAndHead_AreNotCompressed(t *testing.T) {
	h := New(config(&stub{}))
	for _, r := range []*http.Request{
		request("POST", "/api/v1/auth/login", "", goodLogin), request("POST", "/api/v1/sessions", userToken, `{"name":"Support"}`),
		request("HEAD", "/openapi.json", "", ""),
	} {
		r.Header.Set("Accept-Encoding", "gzip")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		assert.Less(t, w.Code, 300)
		assert.Empty(t, w.Header().Get("Content-Encoding"), r.URL.Path)
	}
}
