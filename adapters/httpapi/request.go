package httpapi

import (
	"errors"
	"mime"
	"net/http"
	"os"
	"strings"

	"github.com/switchyard-wa/switchyard/domain"
)

const (
	maxBody  = 1 << 20
	maxMedia = 16 << 20
)

// read reads the request's body and begins to decode it.
func (c *call) read() (*body, error) {
	b := &c.scratch.in
	b.src.Reset()
	if c.r.ContentLength != 0 {
		if err := c.fill(b); err != nil {
			return nil, err
		}
	}
	b.open()
	return b, nil
}

func (c *call) fill(b *body) error {
	most := int64(maxBody)
	if c.route.media {
		most = maxMedia
	}
	if c.r.ContentLength > most {
		return errTooLarge(most)
	}
	if c.r.ContentLength > 0 {
		b.src.Grow(int(c.r.ContentLength) + 512) // Buffer reads on until there is nothing more
	}
	b.limited.R, b.limited.N = c.r.Body, most+1
	n, err := b.src.ReadFrom(&b.limited)
	b.limited.R = nil
	switch {
	case n > most:
		return errTooLarge(most)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(http.StatusRequestTimeout, domain.CodeValidation, "body", "Request body did not arrive in time; send it again")
	case err != nil:
		return malformed("body", "Request body could not be read to its end; send it again")
	case n > 0:
		return checkType(c.r.Header)
	}
	return nil
}

func errTooLarge(most int64) error {
	message := "Request body must be at most 1 MiB"
	if most == maxMedia {
		message = "Request body must be at most 16 MiB; send larger media by URL"
	}
	return refuse(http.StatusRequestEntityTooLarge, domain.CodeValidation, "body", message)
}

// checkType refuses what says that it is no JSON. A body that does not say what
// it is is taken for JSON.
func checkType(h http.Header) error {
	if coding := h.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return refuse(http.StatusUnsupportedMediaType, domain.CodeValidation, "body", "Send the body without Content-Encoding")
	}
	values := h["Content-Type"]
	if len(values) == 0 || values[0] == "application/json" || values[0] == "" {
		return nil
	}
	media, params, err := mime.ParseMediaType(values[0])
	if err == nil && media == "application/json" {
		if charset := params["charset"]; charset == "" || strings.EqualFold(charset, "utf-8") {
			return nil
		}
	}
	return refuse(http.StatusUnsupportedMediaType, domain.CodeValidation, "body",
		"Send JSON in UTF-8, with Content-Type: application/json")
}
