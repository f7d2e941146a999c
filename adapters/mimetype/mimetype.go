package mimetype

import (
	"bytes"
	"strings"

	"github.com/gabriel-vasile/mimetype"

	"github.com/switchyard-wa/switchyard/ports"
)

// Types implements [ports.MediaTypes]. The zero value works.
type Types struct{}

var _ ports.MediaTypes = Types{}

const (
	oggPage  = 28         // bytes of the head of the first page in an OGG container
	opusHead = "OpusHead" // RFC 7845: begins an Opus stream
)

// DetectType implements [ports.MediaTypes].
func (Types) DetectType(head []byte) string {
	found, _, _ := strings.Cut(mimetype.Detect(head).String(), ";")
	if strings.HasSuffix(found, "/ogg") && len(head) > oggPage && bytes.HasPrefix(head[oggPage:], []byte(opusHead)) {
		return "audio/ogg; codecs=opus"
	}
	return found
}

// extensions holds endings that users expect where the library has others.
var extensions = map[string]string{"audio/ogg": ".ogg", "audio/mp4": ".m4a", "audio/3gpp": ".3gp"}

// Extension implements [ports.MediaTypes].
func (Types) Extension(mediaType string) string {
	name, _, _ := strings.Cut(mediaType, ";")
	name = strings.ToLower(strings.TrimSpace(name))
	if e := extensions[name]; e != "" {
		return e
	}
	if known := mimetype.Lookup(name); known != nil {
		return known.Extension()
	}
	return ""
}
