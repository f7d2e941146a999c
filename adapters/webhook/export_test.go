package webhook

import (
	"io"
	"strings"
	"time"
)

// NewPunctual returns a body that fails once late has passed.
func NewPunctual(text string, late time.Time) io.Reader {
	return &punctual{io.NopCloser(strings.NewReader(text)), late}
}
