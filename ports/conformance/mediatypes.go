package conformance

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/ports"
)

// MediaSample returns the first bytes of a file of a media type, or "" for a type without a sample.
func MediaSample(mediaType string) string { return mediaSamples[mediaType] }

// oggPage returns the first page of an OGG container with a stream that begins with head.
func oggPage(head string) string {
	return "OggS\x00\x02" + strings.Repeat("\x00", 20) + "\x01" + string(rune(len(head))) + head
}

var mediaSamples = map[string]string{
	"image/jpeg":             "\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01",
	"image/png":              "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
	"image/webp":             "RIFF\x24\x00\x00\x00WEBPVP8 ",
	"image/gif":              "GIF89a\x01\x00\x01\x00",
	"image/heic":             "\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
	"image/svg+xml":          `<svg xmlns="http://www.w3.org/2000/svg"/>`,
	"audio/ogg; codecs=opus": oggPage("OpusHead\x01\x01\x38\x01\x80\xbb\x00\x00\x00\x00\x00"),
	"audio/ogg":              oggPage("\x01vorbis\x00\x00\x00\x00\x01\x44\xac\x00\x00"),
	"audio/mpeg":             "ID3\x03\x00\x00\x00\x00\x00\x10TIT2\x00\x00\x00\x06\x00\x00\x00title\xff\xfb\x90\x00",
	"audio/aac":              "\xff\xf1\x50\x80\x00\x1f\xfc",
	"audio/amr":              "#!AMR\n\x0c",
	"audio/x-m4a":            "\x00\x00\x00\x18ftypM4A \x00\x00\x00\x00M4A mp42",
	"audio/wav":              "RIFF\x24\x00\x00\x00WAVEfmt ",
	"video/mp4":              "\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom",
	"video/3gpp":             "\x00\x00\x00\x18ftyp3gp4\x00\x00\x00\x003gp4isom",
	"video/webm":             "\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm",
	"application/pdf":        "%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
	"text/html":              "<!DOCTYPE html><html><body>hello</body></html>",
	"text/plain":             "hello",
}

// MediaTypes tests an adapter against the contract of ports.MediaTypes.
func MediaTypes(t *testing.T, types ports.MediaTypes) {
	for want, head := range mediaSamples {
		t.Run("content of "+want, func(t *testing.T) {
			require.Equal(t, want, types.DetectType([]byte(head)))
			padded := head + strings.Repeat("\x00", 8192)
			if want != "text/plain" && want != "text/html" && want != "image/svg+xml" {
				require.Equal(t, want, types.DetectType([]byte(padded)), "more than the head is no obstacle")
			}
		})
	}
	t.Run("unknown content", func(t *testing.T) {
		require.Equal(t, "application/octet-stream", types.DetectType([]byte{0, 1, 2, 3, 0xfe}))
		for _, nothing := range [][]byte{nil, {}} {
			require.NotPanics(t, func() { types.DetectType(nothing) })
		}
	})
	t.Run("extensions", func(t *testing.T) {
		for mediaType, want := range map[string]string{
			"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "audio/ogg; codecs=opus": ".ogg", "AUDIO/OGG": ".ogg",
			"audio/mpeg": ".mp3", "audio/mp4": ".m4a", "video/mp4": ".mp4", "video/3gpp": ".3gp", "application/pdf": ".pdf",
			"no/such-type": "", "": "", "no type": "",
		} {
			require.Equal(t, want, types.Extension(mediaType), mediaType)
		}
	})
}
