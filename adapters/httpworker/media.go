package httpworker

import (
	"cmp"
	"encoding/base64"
	"mime"
	"net/url"
	"path"
	"strings"

	"github.com/gabriel-vasile/mimetype"

	"github.com/switchyard-wa/switchyard/domain"
)

// sniffedMax bounds the base64 characters that are decoded to find the media type.
const sniffedMax = 4096

// appendMedia appends the reference to the file. Content goes as a data URL, the only
// form of mediaUrl that needs no second fetch. fileAt is where the content of an upload
// goes; 0 without an upload.
func appendMedia(b []byte, m *domain.Outgoing) (_ []byte, fileAt int) {
	kind := ""
	switch {
	case m.Upload != nil:
		kind = typeByName(cmp.Or(m.MediaType, m.Upload.Type), m.Filename)
		b = append(b, `,"mediaUrl":"`...)
		b = appendDataURL(b, kind, "")
		fileAt = len(b)
		b = append(b, '"')
	case m.Media == "":
		b = appendField(b, "mediaUrl", m.MediaURL)
	default:
		var text string
		kind, text = domain.CutDataURL(m.Media)
		switch {
		case m.MediaType != "":
			kind = typeByName(m.MediaType, m.Filename)
		case kind == "":
			kind = mediaType(m.Type, text, m.Filename)
		}
		b = append(b, `,"mediaUrl":"`...)
		b = append(appendDataURL(b, kind, text), '"')
	}
	if m.Caption != "" {
		b = appendField(b, "caption", m.Caption)
	}
	name := m.Filename
	if name == "" && m.Type == domain.TypeDocument { // legacy workers demand a name
		name = domain.DeriveFilename(pathOf(m.MediaURL), extension(kind))
	}
	if name != "" {
		b = appendField(b, "filename", name)
	}
	return b, fileAt
}

// appendDataURL appends content as a data URL, for the inside of a JSON string.
func appendDataURL(b []byte, kind, text string) []byte {
	b = append(b, "data:"...)
	b = appendEscaped(b, kind)
	b = append(b, ";base64,"...)
	return domain.AppendBase64(b, text)
}

// linkBody returns the link with an uploaded thumbnail in canonical base64.
func linkBody(l *domain.Link) *domain.Link {
	if l == nil || l.Thumbnail == "" || l.HasThumbnailURL() {
		return l
	}
	out := *l
	kind, text := domain.CutDataURL(l.Thumbnail)
	if kind == "" {
		out.Thumbnail = string(domain.AppendBase64(nil, text))
	} else {
		out.Thumbnail = "data:" + kind + ";base64," + string(domain.AppendBase64(nil, text))
	}
	return &out
}

// pathOf returns the decoded path of a URL, or "".
func pathOf(mediaURL string) string {
	u, err := url.Parse(mediaURL)
	if err != nil {
		return ""
	}
	return u.Path
}

// extension returns the extension of a media type, with its dot. It returns "" for
// an unknown type.
func extension(kind string) string {
	kind, _, _ = strings.Cut(kind, ";")
	if known := mimetype.Lookup(strings.TrimSpace(kind)); known != nil {
		return known.Extension()
	}
	return ""
}

// mediaType returns the media type of base64 text. It looks at the first bytes, and at
// the name of the file where the bytes are ambiguous.
func mediaType(as domain.MessageType, text, filename string) string {
	head := text[:min(len(text), sniffedMax)]
	canonical := domain.AppendBase64(make([]byte, 0, sniffedMax+4), head)
	content := make([]byte, base64.StdEncoding.DecodedLen(len(canonical)))
	n, _ := base64.StdEncoding.Decode(content, canonical) // what was decoded before an error counts
	found, _, _ := strings.Cut(mimetype.Detect(content[:n]).String(), ";")
	switch {
	case as == domain.TypeAudio && found == "application/ogg":
		return "audio/ogg"
	case as == domain.TypeAudio && strings.HasPrefix(found, "video/"):
		return "audio/" + strings.TrimPrefix(found, "video/") // the container holds either
	}
	return typeByName(found, filename)
}

// typeByName returns a media type, or the type that the name of the file tells if the
// media type fits many formats.
func typeByName(found, filename string) string {
	if !domain.IsVagueType(found) {
		return found
	}
	named, _, _ := strings.Cut(mime.TypeByExtension(path.Ext(filename)), ";")
	return cmp.Or(named, found, "application/octet-stream")
}
