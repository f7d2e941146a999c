package simworker

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// mediaTypes holds the media types of pretended media, by type of message.
var mediaTypes = map[domain.MessageType]string{
	domain.TypeImage: "image/jpeg", domain.TypeDocument: "application/pdf", domain.TypeAudio: "audio/ogg; codecs=opus",
	domain.TypeVideo: "video/mp4", domain.TypeSticker: "image/webp",
}

// MediaID returns the id of pretended media. It tells their type and size, so that every
// process of a worker has them. The token tells media of one type and size apart.
func MediaID(kind domain.MessageType, size int64, token string) string {
	return fmt.Sprintf("%s-%d-%s", kind, size, token)
}

// parseMediaID returns the media type and the size of pretended media.
func parseMediaID(id string) (mediaType string, size int64, ok bool) {
	parts := strings.SplitN(id, "-", 3)
	if len(parts) != 3 || mediaTypes[domain.MessageType(parts[0])] == "" || parts[2] == "" {
		return "", 0, false
	}
	size, err := strconv.ParseInt(parts[1], 10, 40)
	return mediaTypes[domain.MessageType(parts[0])], size, err == nil && size > 0
}

// MediaContent returns the bytes of pretended media, which follow from the id alone.
func MediaContent(id string) io.ReaderAt { return mediaContent(sha256.Sum256([]byte(id))) }

// mediaContent is content made of blocks, each of them a hash of its number.
type mediaContent [sha256.Size]byte

// ReadAt implements [io.ReaderAt]. The content has no end.
func (c mediaContent) ReadAt(p []byte, offset int64) (int, error) {
	var seed [sha256.Size + 8]byte
	copy(seed[:], c[:])
	for n := 0; n < len(p); {
		place := offset + int64(n)
		binary.BigEndian.PutUint64(seed[sha256.Size:], uint64(place/sha256.Size))
		block := sha256.Sum256(seed[:])
		n += copy(p[n:], block[place%sha256.Size:])
	}
	return len(p), nil
}

// ReceiveMedia simulates a message with media to the session's phone, and passes it to
// the control plane at once. It returns the reference that it reported. A legacy worker
// reports no reference.
func (w *Worker) ReceiveMedia(ctx context.Context, sessionID, from string, kind domain.MessageType, size int64) (domain.MediaRef, error) {
	ref := domain.MediaRef{}
	err := w.receive(ctx, sessionID, func(m *service.InboundMessage, token string) {
		m.From, m.Type = from, kind
		if w.cfg.Legacy {
			return
		}
		ref = domain.MediaRef{ID: MediaID(kind, size, token), Type: mediaTypes[kind], Size: size}
		sum := sha256.New()
		_, _ = io.Copy(sum, io.NewSectionReader(MediaContent(ref.ID), 0, size)) // neither can fail
		ref.SHA256 = hex.EncodeToString(sum.Sum(nil))
		m.Media = ref
	})
	return ref, err
}

// ForgetMedia makes the worker lose media, as real ones do after some weeks.
func (w *Worker) ForgetMedia(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.forgotten == nil {
		w.forgotten = make(map[string]bool)
	}
	w.forgotten[id] = true
}

// Media returns media of a session that the worker has started.
func (w *Worker) Media(ctx context.Context, sessionID, id string) (content *io.SectionReader, mediaType string, err error) {
	if _, refused := w.begin(ctx, true); refused != nil {
		return nil, "", refused
	}
	defer w.mu.Unlock()
	if w.cfg.Legacy {
		return nil, "", failure(ports.WorkerRouteMissing, 404, "The worker does not know this call")
	}
	if w.sessions[domain.NormalizeSessionRef(sessionID)] == nil {
		return nil, "", sessionNotFound()
	}
	mediaType, size, ok := parseMediaID(id)
	if !ok || w.forgotten[id] {
		return nil, "", failure(ports.WorkerMediaNotFound, 404, "The worker does not have this media")
	}
	return io.NewSectionReader(MediaContent(id), 0, size), mediaType, nil
}

// media answers the route of media. http.ServeContent answers ranges.
func (h *handler) media(rw http.ResponseWriter, r *http.Request) {
	session, id, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/api/"), "/media/")
	if !ok || strings.Contains(session+id, "/") {
		http.NotFound(rw, r)
		return
	}
	if !h.isAuthorized(r) {
		writeJSON(rw, http.StatusUnauthorized, map[string]any{"success": false, "error": "Invalid or missing worker token"})
		return
	}
	if !sleep(r.Context(), h.cfg.Latency) {
		return
	}
	content, mediaType, err := h.w.Media(r.Context(), session, id)
	if err != nil {
		h.fail(rw, r, err)
		return
	}
	rw.Header().Set("Content-Type", mediaType)
	rw.Header().Set("ETag", strconv.Quote(id))
	http.ServeContent(rw, r, "", time.Time{}, content)
}

// OpenMedia implements ports.WorkerGateway.
func (f *Fleet) OpenMedia(ctx context.Context, ref ports.WorkerRef, r ports.MediaRequest) (*ports.Media, error) {
	w, refused := f.worker(ref.Endpoint)
	if refused != nil {
		return nil, refused
	}
	if !slices.Contains(ref.Capabilities, domain.CapMedia) {
		return nil, failure(ports.WorkerRouteMissing, 404, "The worker does not know this call")
	}
	content, mediaType, err := w.Media(ctx, r.SessionID, r.MediaID)
	if err != nil {
		return nil, err
	}
	media := &ports.Media{Content: io.NopCloser(content), Length: content.Size(), Type: mediaType, ETag: strconv.Quote(r.MediaID)}
	if r.Range == nil || r.IfRange != "" && r.IfRange != media.ETag {
		return media, nil
	}
	offset, length, ok := r.Range.Within(content.Size())
	if !ok {
		return nil, failure(ports.WorkerRangeInvalid, 416, "The media has no such part")
	}
	media.Part = &ports.MediaPart{Offset: offset, Size: content.Size()}
	media.Content, media.Length = io.NopCloser(io.NewSectionReader(content, offset, length)), length
	return media, nil
}
