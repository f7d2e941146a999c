package domain_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
)

const (
	pngStart  = "\x89PNG\r\n\x1a\n"
	pngPrefix = "data:image/png;base64,"
)

var qrNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func pngURL(image string) string {
	return pngPrefix + base64.StdEncoding.EncodeToString([]byte(image))
}

func TestParseQR_TextOrPicture_QR(t *testing.T) {
	const raw = "2@abc/DEF+123==,key,id"
	largest := pngStart + strings.Repeat("x", 256<<10-len(pngStart))
	expires := qrNow.Add(time.Minute)
	for name, c := range map[string]struct {
		qrCode, qrString string
		want             domain.QR
	}{
		"nothing":            {"", "", domain.QR{}},
		"blanks":             {" ", "\n", domain.QR{}},
		"raw code":           {raw, "", domain.QR{Code: raw, ExpiresAt: expires}},
		"raw string":         {"", " " + raw + "\n", domain.QR{Code: raw, ExpiresAt: expires}},
		"string wins":        {pngURL(pngStart), raw, domain.QR{Code: raw, ExpiresAt: expires}},
		"string hides junk":  {"data:junk", raw, domain.QR{Code: raw, ExpiresAt: expires}},
		"picture":            {pngURL(pngStart + "x"), "", domain.QR{Image: []byte(pngStart + "x"), ExpiresAt: expires}},
		"picture for string": {"", pngURL(pngStart), domain.QR{Image: []byte(pngStart), ExpiresAt: expires}},
		"longest code":       {strings.Repeat("~", 4096), "", domain.QR{Code: strings.Repeat("~", 4096), ExpiresAt: expires}},
		"largest picture":    {pngURL(largest), "", domain.QR{Image: []byte(largest), ExpiresAt: expires}},
	} {
		got, err := domain.ParseQR(c.qrCode, c.qrString, qrNow, time.Minute)
		require.NoError(t, err, name)
		require.Equal(t, c.want, got, name)
		require.Equal(t, c.want.Code == "" && c.want.Image == nil, got.IsZero(), name)
	}
}

func TestParseQR_OtherText_Refused(t *testing.T) {
	for qrCode, message := range map[string]string{
		strings.Repeat("x", 4097):     "at most 4096",
		"2@abc\x00":                   "printable",
		"2@abc\ndef":                  "printable",
		"2@é":                         "printable",
		"data:":                       "PNG",
		"data:image/jpeg;base64,AAAA": "PNG",
		"data:text/html,<script>":     "PNG",
		pngPrefix:                     "PNG",
		pngPrefix + "%%%":             "PNG",
		pngURL("GIF89a..."):           "PNG",
		pngURL(pngStart[:7]):          "PNG",
		pngURL(pngStart + strings.Repeat("x", 256<<10)):   "256 KiB",
		pngURL(pngStart + strings.Repeat("x", 256<<10-7)): "256 KiB",
		pngPrefix + strings.Repeat("A", 1<<20):            "256 KiB",
	} {
		got, err := domain.ParseQR(qrCode, "", qrNow, time.Minute)
		requireRefused(t, err, message)
		require.NotContains(t, err.Error(), "2@abc", "a QR is a credential")
		require.Zero(t, got)
	}
	_, err := domain.ParseQR("fine", "not\x00fine", qrNow, time.Minute)
	requireRefused(t, err, "printable")
}

func TestParseQR_AnyPicture_Unchanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		image := append([]byte(pngStart), rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "image")...)
		qr, err := domain.ParseQR(pngURL(string(image)), "", qrNow, time.Minute)
		require.NoError(t, err)
		require.Equal(t, image, qr.Image)
		require.Empty(t, qr.Code)
	})
}

func FuzzParseQR(f *testing.F) {
	f.Add("", "")
	f.Add("2@abc,def", "")
	f.Add(pngURL(pngStart), "2@abc")
	f.Add("data:image/png;base64,AAAA", " ")
	f.Fuzz(func(t *testing.T, qrCode, qrString string) {
		qr, err := domain.ParseQR(qrCode, qrString, qrNow, time.Minute)
		if err != nil {
			requireRefused(t, err, "QR ")
			require.Zero(t, qr)
			return
		}
		if qr.IsZero() {
			require.Zero(t, qr)
			return
		}
		require.Equal(t, qrNow.Add(time.Minute), qr.ExpiresAt)
		require.NotEqual(t, qr.Code == "", len(qr.Image) == 0, "text or picture, not both")
		if qr.Code != "" {
			require.LessOrEqual(t, len(qr.Code), 4096)
			again, err := domain.ParseQR("", qr.Code, qrNow, time.Minute)
			require.NoError(t, err)
			require.Equal(t, qr, again)
			return
		}
		require.LessOrEqual(t, len(qr.Image), 256<<10)
		require.Equal(t, pngStart, string(qr.Image[:8]))
	})
}
