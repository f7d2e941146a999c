package domain

import (
	"encoding/base64"
	"fmt"
	"io"
	"strings"
)

// The sizes of media that WhatsApp takes, in bytes.
const (
	MaxMediaSize    = 16 << 20  // of an image, audio or video
	MaxDocumentSize = 100 << 20 // of a document
	// MaxStickerSize is twice the size of the largest stickers that WhatsApp's own apps make: 500 KB if
	// they move, 100 KB if they do not.
	MaxStickerSize = 1 << 20
)

// mediaHeadSize is how many bytes of content are looked at to find its type.
const mediaHeadSize = 3072

// Upload is the content of a message that was uploaded as it is. Content can be read any number of times
// until the send returns.
type Upload struct {
	Content io.ReaderAt
	Size    int64  // bytes of Content
	Type    string // the media type that the sender declared; may be empty or wrong
	SHA256  string // of Content, in lower-case hexadecimal digits; may be empty
}

// mediaRule is what WhatsApp takes for one type of message.
type mediaRule struct {
	name  string
	size  int64
	takes string
	// sentAs maps types of content to the types by which WhatsApp knows them. Nil: any type is taken.
	sentAs map[string]string
}

// sameTypes returns the map of types that keep their names.
func sameTypes(types ...string) map[string]string {
	all := make(map[string]string, len(types))
	for _, t := range types {
		all[t] = t
	}
	return all
}

// imageTypes holds the types of pictures that WhatsApp shows.
var imageTypes = sameTypes("image/jpeg", "image/png", "image/webp")

// mediaRules holds the rules by type of message. The containers of MP4 and 3GPP hold audio or video; their
// first bytes do not tell which.
var mediaRules = map[MessageType]mediaRule{
	TypeImage:   {"an image", MaxMediaSize, "JPEG, PNG or WebP", imageTypes},
	TypeSticker: {"a sticker", MaxStickerSize, "WebP", sameTypes("image/webp")},
	TypeAudio: {"audio", MaxMediaSize, "OGG with Opus, MP3, M4A, AAC or AMR", map[string]string{
		"audio/ogg; codecs=opus": "audio/ogg", "audio/mpeg": "audio/mpeg", "audio/aac": "audio/aac", "audio/amr": "audio/amr",
		"audio/mp4": "audio/mp4", "audio/x-m4a": "audio/mp4", "video/mp4": "audio/mp4", "video/3gpp": "audio/3gpp",
	}},
	TypeVideo: {"a video", MaxMediaSize, "MP4 or 3GPP", map[string]string{
		"video/mp4": "video/mp4", "video/x-m4v": "video/mp4", "video/3gpp": "video/3gpp",
	}},
	TypeDocument: {"a document", MaxDocumentSize, "", nil},
}

// MaxMedia returns the size of media that WhatsApp takes in a message of the type, in bytes. It is 0 for
// types without media.
func (t MessageType) MaxMedia() int64 { return mediaRules[t].size }

// HasContent reports whether the message carries its media, and not only a URL of it.
func (m *Outgoing) HasContent() bool { return m.Media != "" || m.Upload != nil }

// ContentSize returns the size of the message's media in bytes. It is 0 if the message carries none.
func (m *Outgoing) ContentSize() int64 {
	if m.Upload != nil {
		return m.Upload.Size
	}
	_, text := CutDataURL(m.Media)
	return base64Size(text)
}

// ContentHead returns the first bytes of the message's media, from which its type can be told. It returns
// what it could read, even with an error.
func (m *Outgoing) ContentHead() ([]byte, error) {
	if m.Upload == nil {
		_, text := CutDataURL(m.Media)
		return base64Head(text), nil
	}
	head := make([]byte, min(mediaHeadSize, m.Upload.Size))
	n, err := m.Upload.Content.ReadAt(head, 0)
	if n == len(head) {
		err = nil
	}
	return head[:n], err
}

// CheckContent checks the message's media by what it is, whatever it is declared to be. found is the type
// of its content. CheckContent returns the type by which WhatsApp knows the content.
func (m *Outgoing) CheckContent(found string) (mediaType string, err error) {
	rule, ok := mediaRules[m.Type]
	if !ok {
		return "", nil
	}
	var p Problems
	size := m.ContentSize()
	if size > rule.size {
		p.Add("media", "WhatsApp takes %s of at most %s; this one has %s", rule.name, mebibytes(rule.size), mebibytes(size))
	}
	if rule.sentAs == nil {
		return m.documentType(found), p.Err()
	}
	mediaType, ok = rule.sentAs[found]
	if !ok {
		p.Add("media", "WhatsApp takes %s as %s; this is %s by its content", rule.name, rule.takes, describeType(found))
	}
	return mediaType, p.Err()
}

// CheckThumbnail checks the picture of a link by what it is. found is the type of its content.
func CheckThumbnail(found string) error {
	var p Problems
	if imageTypes[found] == "" {
		p.Add("thumbnail", "Thumbnail must be JPEG, PNG or WebP; this is %s by its content", describeType(found))
	}
	return p.Err()
}

// ThumbnailHead returns the first bytes of an uploaded thumbnail, or nil if the link has none.
func (l *Link) ThumbnailHead() []byte {
	if l == nil || l.Thumbnail == "" || l.HasThumbnailURL() {
		return nil
	}
	_, text := CutDataURL(l.Thumbnail)
	return base64Head(text)
}

// documentType returns the type of a document. The declared type counts if the content does not tell.
func (m *Outgoing) documentType(found string) string {
	declared := ""
	if m.Upload != nil {
		declared = m.Upload.Type
	} else {
		declared, _ = CutDataURL(m.Media)
	}
	if IsVagueType(found) && declared != "" && !IsVagueType(declared) {
		return declared
	}
	return found
}

// IsVagueType reports whether a type fits so many formats that a name tells more: bytes, text, or an
// archive.
func IsVagueType(mediaType string) bool {
	name, _, _ := strings.Cut(mediaType, ";")
	switch strings.ToLower(strings.TrimSpace(name)) {
	case "", "application/octet-stream", "binary/octet-stream", "application/zip", "text/plain":
		return true
	}
	return false
}

// describeType names a type of content for people.
func describeType(found string) string {
	switch found {
	case "", "application/octet-stream":
		return "of an unknown type"
	case "audio/ogg", "application/ogg":
		return found + " without Opus"
	}
	return found
}

// mebibytes writes a size for people.
func mebibytes(size int64) string {
	if size%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", size>>20)
	}
	return fmt.Sprintf("%.1f MiB", float64(size)/(1<<20))
}

// base64Size returns the size of the content of base64 text.
func base64Size(text string) int64 {
	digits := int64(0)
	for i := range len(text) {
		if class := base64Classes[text[i]]; class == base64Digit || class == base64URL {
			digits++
		}
	}
	return digits * 3 / 4
}

// base64Head returns the first bytes of the content of base64 text. What stands in front of an error
// counts.
func base64Head(text string) []byte {
	const most = mediaHeadSize / 3 * 4
	canonical := AppendBase64(make([]byte, 0, most+4), text[:min(len(text), most)])
	content := make([]byte, base64.StdEncoding.DecodedLen(len(canonical)))
	n, _ := base64.StdEncoding.Decode(content, canonical)
	return content[:n]
}
