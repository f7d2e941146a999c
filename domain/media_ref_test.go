package domain_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestIsShowableURL_InsideAddress_Hidden(t *testing.T) {
	const endpoint = "http://workers.example.com:8001"
	for _, shown := range []string{"https://media.example.com/a.jpg", "http://93.184.216.34/a", "https://[2606:2800:220:1::1]/a", "https://mmg.whatsapp.net/x?y=z"} {
		require.True(t, domain.IsShowableURL(shown, endpoint), shown)
	}
	for _, hidden := range []string{
		"", "data:image/png;base64,AAAA", "file:///etc/passwd", "/media/1", "https:///a", "https://user:pw@media.example.com/a",
		"http://10.0.0.5:8001/media/1", "http://127.0.0.1/a", "http://[::1]/a", "http://192.168.1.2/a", "http://169.254.169.254/a", "http://100.64.1.1/a",
		"http://0.0.0.0/a", "http://[::ffff:10.0.0.1]/a", "http://2130706433/a", "http://0x7f.1/a", "http://127.1/a", "http://[fd00::1]/a",
		"http://worker-1:8001/a", "http://localhost/a", "http://x.localhost./a", "http://worker.default.svc/a", "http://worker.internal/a", "http://printer.lan/a",
		"https://WORKERS.example.com/media/1",
	} {
		require.False(t, domain.IsShowableURL(hidden, endpoint), hidden)
	}
	require.True(t, domain.IsShowableURL("https://workers.example.com/a", ""))
}

func TestParseByteRange_Header_OneRangeOrNone(t *testing.T) {
	for header, want := range map[string]domain.ByteRange{
		"bytes=0-99": {0, 99}, "bytes=5-": {5, -1}, "bytes=-5": {-1, 5}, "BYTES = 1-1 ": {1, 1}, "bytes=0-9223372036854775807": {0, 1<<63 - 1},
	} {
		got, ok := domain.ParseByteRange(header)
		require.True(t, ok, header)
		require.Equal(t, want, got, header)
		again, ok := domain.ParseByteRange(got.String())
		require.True(t, ok)
		require.Equal(t, got, again)
	}
	for _, header := range []string{"", "bytes", "bytes=", "bytes=-", "bytes=5-4", "bytes=a-b", "bytes=-1-2", "bytes=0-1,3-4", "items=0-1", "bytes=99999999999999999999-", "bytes=+1-2"} {
		_, ok := domain.ParseByteRange(header)
		require.False(t, ok, header)
	}
}

func TestByteRangeWithin_Size_ClampsOrRefuses(t *testing.T) {
	for _, c := range []struct {
		r              domain.ByteRange
		offset, length int64
		ok             bool
	}{
		{domain.ByteRange{First: 0, Last: 9}, 0, 10, true}, {domain.ByteRange{First: 5, Last: -1}, 5, 95, true},
		{domain.ByteRange{First: 99, Last: 200}, 99, 1, true}, {domain.ByteRange{First: 100, Last: -1}, 0, 0, false},
		{domain.ByteRange{First: -1, Last: 10}, 90, 10, true}, {domain.ByteRange{First: -1, Last: 1000}, 0, 100, true},
		{domain.ByteRange{First: -1, Last: 0}, 0, 0, false},
	} {
		offset, length, ok := c.r.Within(100)
		require.Equal(t, c.ok, ok, c.r.String())
		if ok {
			require.Equal(t, c.offset, offset, c.r.String())
			require.Equal(t, c.length, length, c.r.String())
		}
	}
}
