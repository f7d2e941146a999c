package httpapi

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// mediaPiece is how many bytes of a download are in memory.
const mediaPiece = 32 << 10

// inboundMedia is a worker's reference to media. Anything but an object with an id counts
// as missing.
type inboundMedia struct {
	ID     lenientString `json:"id"`
	MIME   lenientString `json:"mime,omitempty" example:"\"image/jpeg\""`
	Size   lenientNumber `json:"size,omitempty" example:"48213"`
	SHA256 lenientString `json:"sha256,omitempty" doc:"In hexadecimal digits or base64"`
}

// UnmarshalJSONFrom reads the reference.
func (m *inboundMedia) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != jsontext.KindBeginObject {
		return dec.SkipValue()
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() == jsontext.KindString {
		name, err := dec.ReadToken()
		if err != nil {
			return err
		}
		switch name.String() {
		case "id":
			err = m.ID.UnmarshalJSONFrom(dec)
		case "mime":
			err = m.MIME.UnmarshalJSONFrom(dec)
		case "size":
			err = m.Size.UnmarshalJSONFrom(dec)
		case "sha256":
			err = m.SHA256.UnmarshalJSONFrom(dec)
		default:
			err = dec.SkipValue()
		}
		if err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// Schema describes the reference.
func (inboundMedia) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "Reference to media that the worker keeps: an object with id, mime, size and sha256",
		Examples:    []any{map[string]any{"id": "m-1", "mime": "image/jpeg", "size": 48213, "sha256": strings.Repeat("0", 64)}},
	}
}

// ref returns the reference. It is zero without an id that can be kept as it is.
func (m *inboundMedia) ref() domain.MediaRef {
	id := whatsAppID(m.ID)
	if id == "" {
		return domain.MediaRef{}
	}
	ref := domain.MediaRef{ID: id, Type: safeType(m.MIME.cut(maxID)), SHA256: sha256Digits(string(m.SHA256))}
	if m.Size.isWhole(1, maxExact) {
		ref.Size = int64(m.Size.value)
	}
	return ref
}

// safeType returns a media type in its canonical form, or "" if it is malformed.
func safeType(s string) string {
	name, params, err := mime.ParseMediaType(s)
	if err != nil || !strings.Contains(name, "/") {
		return ""
	}
	return mime.FormatMediaType(name, params)
}

// sha256Digits returns a hash in hexadecimal digits. WhatsApp itself writes hashes in
// base64. It returns "" for anything else.
func sha256Digits(s string) string {
	const size = 32
	if sum, err := hex.DecodeString(s); err == nil && len(sum) == size {
		return hex.EncodeToString(sum)
	}
	if sum, err := base64.StdEncoding.DecodeString(s); err == nil && len(sum) == size {
		return hex.EncodeToString(sum)
	}
	return ""
}

// noContent stands for the JSON that a stream does not have.
type noContent = noData

// media answers with the media of a received message, which is streamed. Neither side can
// stall it: the port bounds the worker's waits, and [streamWriter] the client's.
func (a *api) media(ctx context.Context, c *requestContext, in *messageInput) (noContent, error) {
	release, err := a.queues[downloading].Acquire(ctx, c.shareKey())
	if err != nil {
		return noContent{}, err
	}
	part := service.MediaPart{}
	if r, ok := domain.ParseByteRange(c.r.Header.Get("Range")); ok && c.r.Method == http.MethodGet {
		part = service.MediaPart{Range: &r, IfRange: c.r.Header.Get("If-Range")}
		if part.IfRange != "" && !strings.HasPrefix(part.IfRange, `"`) {
			part = service.MediaPart{} // a date or a weak ETag: nothing proves that the media is the same
		}
	}
	media, err := a.Messages.OpenMedia(ctx, c.principal.UserID, c.sessionRef(), clean(in.MessageID, maxID), part)
	if err != nil {
		release()
		return noContent{}, rangeError(err)
	}
	c.media = &mediaStream{c, media, release}
	c.success = c.writeMediaHead(media)
	c.streamed = &streamedAnswer{contentType: c.w.Header().Get("Content-Type"), write: c.media.write}
	return noContent{}, nil
}

// rangeError returns the error for a range without any byte of the media as HTTP has it.
func rangeError(err error) error {
	var f *ports.WorkerError
	if errors.As(err, &f) && f.Failure == ports.WorkerRangeInvalid {
		return refuse(http.StatusRequestedRangeNotSatisfiable, domain.CodeValidation, "Range", "The media has no such part; its size is in the message")
	}
	return err
}

// A mediaStream is media on its way to a client.
type mediaStream struct {
	c       *requestContext
	media   *service.InboundMedia
	release func() // of the queue
}

// close ends the call to the worker, and leaves the queue.
func (m *mediaStream) close() {
	if m != nil {
		_ = m.media.Content.Close() // whatever was wrong with it was an error of Read
		m.release()
	}
}

// writeMediaHead sets the headers of a download and returns its status.
func (c *requestContext) writeMediaHead(media *service.InboundMedia) int {
	h := c.w.Header()
	h["Content-Type"] = []string{"application/octet-stream"}
	if known := safeType(media.Type); known != "" {
		h["Content-Type"] = []string{known}
	}
	h["Content-Disposition"] = []string{attachment(media.Filename)}
	h["Content-Security-Policy"] = []string{"default-src 'none'; frame-ancestors 'none'; sandbox"}
	h["Accept-Ranges"] = []string{"bytes"}
	if isETag(media.ETag) {
		h["Etag"] = []string{media.ETag}
	}
	if media.Length >= 0 {
		h["Content-Length"] = []string{strconv.FormatInt(media.Length, 10)}
	}
	if media.Part == nil || media.Length <= 0 {
		return http.StatusOK
	}
	size := "*"
	if media.Part.Size >= 0 {
		size = strconv.FormatInt(media.Part.Size, 10)
	}
	h["Content-Range"] = []string{fmt.Sprintf("bytes %d-%d/%s", media.Part.Offset, media.Part.Offset+media.Length-1, size)}
	return http.StatusPartialContent
}

// write copies the content to the client, as it comes.
func (m *mediaStream) write(_ context.Context, w flushWriter) error {
	if m.c.r.Method == http.MethodHead {
		return nil
	}
	piece := make([]byte, mediaPiece)
	for sent := int64(0); ; {
		n, err := m.media.Content.Read(piece)
		sent += int64(n)
		if n > 0 {
			if _, err := w.Write(piece[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			if m.media.Length >= 0 && sent != m.media.Length {
				return io.ErrUnexpectedEOF
			}
			return nil
		case err != nil:
			return err
		case n < len(piece):
			if err := w.Flush(); err != nil { // the rest may take long
				return err
			}
		}
	}
}

// isETag reports whether a worker's ETag is safe to repeat: quoted, of visible characters.
func isETag(s string) bool {
	s = strings.TrimPrefix(s, "W/")
	if len(s) < 2 || len(s) > maxID || s[0] != '"' || s[len(s)-1] != '"' {
		return false
	}
	return !strings.ContainsFunc(s[1:len(s)-1], func(r rune) bool { return r <= ' ' || r == '"' || r > '~' })
}

// attachment returns the header Content-Disposition for a file to be saved (RFC 6266). Old
// clients read the ASCII name, all others the one in UTF-8 (RFC 8187).
func attachment(filename string) string {
	ascii := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune(`"\%/;`, r) {
			return '_'
		}
		return r
	}, filename)
	header := `attachment; filename="` + ascii + `"`
	if ascii == filename {
		return header
	}
	var encoded strings.Builder
	for _, b := range []byte(filename) {
		if b < 0x80 && (isWord(b) || b == '.' || b == '-' || b == '_') {
			encoded.WriteByte(b)
			continue
		}
		fmt.Fprintf(&encoded, "%%%02X", b)
	}
	return header + "; filename*=UTF-8''" + encoded.String()
}

// isWord reports whether b is an ASCII letter or digit.
func isWord(b byte) bool { return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' }
