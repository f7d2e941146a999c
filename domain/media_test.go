package domain_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestCheckContent_TypesOfMessages_TakeWhatWhatsAppTakes(t *testing.T) {
	for kind, c := range map[domain.MessageType]struct {
		taken   map[string]string // by content, what it is sent as
		refused []string
	}{
		domain.TypeImage:   {map[string]string{"image/jpeg": "image/jpeg", "image/png": "image/png", "image/webp": "image/webp"}, []string{"image/gif", "image/heic", "image/svg+xml", "text/html", "video/mp4", ""}},
		domain.TypeSticker: {map[string]string{"image/webp": "image/webp"}, []string{"image/png", "image/gif"}},
		domain.TypeAudio: {map[string]string{
			"audio/ogg; codecs=opus": "audio/ogg", "audio/mpeg": "audio/mpeg", "audio/x-m4a": "audio/mp4", "video/mp4": "audio/mp4",
			"audio/aac": "audio/aac", "audio/amr": "audio/amr", "video/3gpp": "audio/3gpp",
		}, []string{"audio/ogg", "application/ogg", "audio/wav", "video/webm", "image/png"}},
		domain.TypeVideo:    {map[string]string{"video/mp4": "video/mp4", "video/3gpp": "video/3gpp", "video/x-m4v": "video/mp4"}, []string{"video/webm", "video/quicktime", "image/gif", "audio/mpeg"}},
		domain.TypeDocument: {map[string]string{"text/html": "text/html", "application/pdf": "application/pdf", "application/octet-stream": "application/octet-stream"}, nil},
	} {
		m := domain.Outgoing{Type: kind, Media: "aGVsbG8="}
		for found, want := range c.taken {
			got, err := m.CheckContent(found)
			require.NoError(t, err, "%s %s", kind, found)
			require.Equal(t, want, got, "%s %s", kind, found)
		}
		for _, found := range c.refused {
			_, err := m.CheckContent(found)
			require.Error(t, err, "%s %s", kind, found)
		}
	}
}

func TestCheckContent_Size_BoundedByType(t *testing.T) {
	for kind, c := range map[domain.MessageType]struct {
		found string
		most  int64
	}{
		domain.TypeImage: {"image/png", 16 << 20}, domain.TypeAudio: {"audio/aac", 16 << 20}, domain.TypeVideo: {"video/mp4", 16 << 20},
		domain.TypeSticker: {"image/webp", 1 << 20}, domain.TypeDocument: {"application/pdf", 100 << 20},
	} {
		require.Equal(t, c.most, kind.MaxMedia())
		upload := &domain.Upload{Size: c.most}
		m := domain.Outgoing{Type: kind, Upload: upload}
		_, err := m.CheckContent(c.found)
		require.NoError(t, err, kind)
		upload.Size++
		_, err = m.CheckContent(c.found)
		require.ErrorContains(t, err, "at most", kind)
	}
	text := base64.StdEncoding.EncodeToString(make([]byte, 1<<20+1))
	m := domain.Outgoing{Type: domain.TypeSticker, Media: "data:image/webp;base64," + text}
	_, err := m.CheckContent("image/webp")
	require.ErrorContains(t, err, "WhatsApp takes a sticker of at most 1 MiB; this one has 1.0 MiB")
}

func TestCheckContent_DocumentThatSaysLittle_IsOfItsDeclaredType(t *testing.T) {
	for _, c := range []struct{ found, declared, want string }{
		{"text/plain", "text/csv", "text/csv"},
		{"application/zip", "application/vnd.example", "application/vnd.example"},
		{"application/pdf", "image/png", "application/pdf"},
		{"text/html", "text/plain", "text/html"},
		{"application/octet-stream", "", "application/octet-stream"},
		{"text/plain", "application/octet-stream", "text/plain"},
	} {
		byUpload := domain.Outgoing{Type: domain.TypeDocument, Upload: &domain.Upload{Size: 1, Type: c.declared}}
		got, err := byUpload.CheckContent(c.found)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "%+v", c)
		byURL := domain.Outgoing{Type: domain.TypeDocument, Media: "data:" + c.declared + ";base64,AAAA"}
		got, err = byURL.CheckContent(c.found)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "%+v", c)
	}
}

func TestContentHead_AnyForm_IsTheBeginning(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 1024)
	plain := base64.StdEncoding.EncodeToString([]byte(content))
	for name, m := range map[string]domain.Outgoing{
		"upload":   {Upload: &domain.Upload{Content: strings.NewReader(content), Size: int64(len(content))}},
		"base64":   {Media: plain},
		"data URL": {Media: "data:text/plain;base64," + plain},
		"short":    {Upload: &domain.Upload{Content: bytes.NewReader([]byte("0123")), Size: 4}},
	} {
		head, err := m.ContentHead()
		require.NoError(t, err, name)
		require.NotEmpty(t, head, name)
		require.True(t, strings.HasPrefix(content, string(head)), name)
		require.LessOrEqual(t, len(head), 3072, name)
	}
	torn := domain.Outgoing{Upload: &domain.Upload{Content: strings.NewReader("ab"), Size: 10}}
	head, err := torn.ContentHead()
	require.Error(t, err)
	require.Equal(t, "ab", string(head))
}

func TestValidate_MediaInSeveralForms_Refused(t *testing.T) {
	upload := &domain.Upload{Content: strings.NewReader("x"), Size: 1}
	for name, c := range map[string]struct {
		m     domain.Outgoing
		field string
	}{
		"upload":         {domain.Outgoing{Upload: upload}, ""},
		"empty upload":   {domain.Outgoing{Upload: &domain.Upload{}}, "media"},
		"upload and URL": {domain.Outgoing{Upload: upload, MediaURL: "https://e.com/a"}, "mediaUrl"},
		"both contents":  {domain.Outgoing{Upload: upload, Media: "AAAA"}, "media"},
	} {
		c.m.To, c.m.Type = someone, domain.TypeImage
		err := c.m.Validate()
		if c.field == "" {
			require.NoError(t, err, name)
			continue
		}
		var e *domain.Error
		require.ErrorAs(t, err, &e, name)
		require.Len(t, e.Fields, 1, name)
		require.Equal(t, c.field, e.Fields[0].Field, name)
	}
}
