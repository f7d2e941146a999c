package messaging_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/messaging"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// wordTypes takes content for its own media type.
type wordTypes struct{}

func (wordTypes) DetectType(head []byte) string { return string(bytes.TrimRight(head, "\x00")) }
func (wordTypes) Extension(string) string       { return "" }

func newContentFixture(t *testing.T) *replica {
	r := newReplicaWith(coretest.New(t), service.Sender{}, func(p *messaging.Parts) { p.Types = wordTypes{} })
	return r.start(t)
}

func encoded(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func uploaded(s string) *domain.Upload {
	return &domain.Upload{Content: bytes.NewReader([]byte(s)), Size: int64(len(s))}
}

// tornContent is an upload that cannot be read.
type tornContent struct{}

func (tornContent) ReadAt([]byte, int64) (int, error) { return 0, errors.New("the disk is gone") }

func TestSend_ContentOfAnotherType_IsAProblemOfMedia(t *testing.T) {
	for name, c := range map[string]struct {
		out  domain.Outgoing
		want []domain.FieldError
	}{
		"declared type": {
			domain.Outgoing{Type: domain.TypeImage, Media: "data:image/png;base64," + encoded("text/html")},
			[]domain.FieldError{{Field: "media", Message: "WhatsApp takes an image as JPEG, PNG or WebP; this is text/html by its content"}},
		},
		"upload": {
			domain.Outgoing{Type: domain.TypeVideo, Upload: uploaded("image/png")},
			[]domain.FieldError{{Field: "media", Message: "WhatsApp takes a video as MP4 or 3GPP; this is image/png by its content"}},
		},
		"unknown": {
			domain.Outgoing{Type: domain.TypeSticker, Media: encoded("application/octet-stream")},
			[]domain.FieldError{{Field: "media", Message: "WhatsApp takes a sticker as WebP; this is of an unknown type by its content"}},
		},
		"with another problem": {
			domain.Outgoing{Type: domain.TypeAudio, Media: encoded("audio/ogg"), Filename: "a/b"},
			[]domain.FieldError{
				{Field: "filename", Message: "Filename must not contain a path"},
				{Field: "media", Message: "WhatsApp takes audio as OGG with Opus, MP3, M4A, AAC or AMR; this is audio/ogg without Opus by its content"},
			},
		},
		"thumbnail": {
			domain.Outgoing{Type: domain.TypeLink, Link: &domain.Link{URL: "https://e.com", Thumbnail: encoded("text/html")}},
			[]domain.FieldError{{Field: "thumbnail", Message: "Thumbnail must be JPEG, PNG or WebP; this is text/html by its content"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newContentFixture(t)
			c.out.To = "6281111111111"

			_, err := r.messages.Send(context.Background(), r.sender, &c.out)

			var e *domain.Error
			require.True(t, errors.As(err, &e), "%v", err)
			require.Equal(t, domain.Invalid, e.Kind)
			require.Equal(t, c.want, e.Fields)
			require.Zero(t, r.used(t), "a refused message is not counted")
		})
	}
}

func TestSend_UploadUnreadable_IsInternal(t *testing.T) {
	r := newContentFixture(t)

	_, err := r.messages.Send(context.Background(), r.sender, &domain.Outgoing{
		To: "6281111111111", Type: domain.TypeImage, Upload: &domain.Upload{Content: tornContent{}, Size: 10},
	})

	var e *domain.Error
	require.True(t, errors.As(err, &e), "%v", err)
	require.Equal(t, domain.Internal, e.Kind)
}
