package httpapi

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"sync"

	"github.com/klauspost/compress/gzhttp"
)

// compressFrom is the size in bytes from which an answer is compressed. Smaller ones
// fit a few packets anyway.
const compressFrom = 2048

// compressedTypes holds the media types of answers that become smaller. Streams of
// events are not among them.
var compressedTypes = []string{
	"application/json", "application/yaml", "text/html", "text/css", "text/csv", "text/plain", "image/svg+xml",
}

// compressor returns a middleware that compresses answers for clients that accept gzip.
//
// Only answers to GET are compressed. Tokens and API keys are in answers to other
// methods alone: the length of a compressed answer would tell something about a secret in
// it (BREACH). Sends do not pay for compression.
var compressor = sync.OnceValue(func() func(http.Handler) http.HandlerFunc {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(compressFrom), gzhttp.ContentTypes(compressedTypes), gzhttp.EnableZstd(false))
	if err != nil {
		panic(err) // the options are constants
	}
	return wrap
})

// acceptsGzip reports whether the answer may be compressed.
func (c *requestContext) acceptsGzip() bool {
	_, ok := c.w.(*gzhttp.GzipResponseWriter)
	return ok
}

// compressPage compresses a page as far as gzip can. Each page is compressed once.
func compressPage(content []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}
