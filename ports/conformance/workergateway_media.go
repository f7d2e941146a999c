package conformance

import (
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// media tests the stream of an inbound message's media.
func (g gatewaySuite) media(t *testing.T, hasMedia bool) {
	gateway, w := g.started(t)
	if !hasMedia {
		_, err := gateway.OpenMedia(t.Context(), w.Ref, ports.MediaRequest{SessionID: "one", MediaID: "any"})
		gatewayFails(t, w, err, ports.WorkerRouteMissing)
		return
	}
	if w.Media == nil {
		return
	}
	id, content := w.Media(t, "one")
	size := int64(len(content))
	open := func(r ports.MediaRequest) *ports.Media {
		r.SessionID, r.MediaID = "one", id
		media, err := gateway.OpenMedia(t.Context(), w.Ref, r)
		require.NoError(t, err)
		return media
	}
	read := func(media *ports.Media) string {
		got, err := io.ReadAll(media.Content)
		require.NoError(t, err)
		require.NoError(t, media.Content.Close())
		require.NoError(t, media.Content.Close(), "a second Close does nothing")
		if media.Length >= 0 {
			require.Len(t, got, int(media.Length))
		}
		return string(got)
	}

	whole := open(ports.MediaRequest{})
	require.Nil(t, whole.Part)
	require.Equal(t, string(content), read(whole))
	for r, want := range map[domain.ByteRange][2]int64{
		{First: 0, Last: 0}: {0, 1}, {First: 10, Last: 99}: {10, 100}, {First: 100, Last: -1}: {100, size},
		{First: -1, Last: 7}: {size - 7, size}, {First: 5, Last: 10 * size}: {5, size},
	} {
		part := open(ports.MediaRequest{Range: &r})
		require.Equal(t, &ports.MediaPart{Offset: want[0], Size: size}, part.Part, r.String())
		require.Equal(t, string(content[want[0]:want[1]]), read(part), r.String())
	}
	other := open(ports.MediaRequest{Range: &domain.ByteRange{First: 1, Last: 2}, IfRange: `"another"`})
	require.Nil(t, other.Part, "other media comes as a whole")
	require.Equal(t, string(content), read(other))
	if whole.ETag != "" {
		same := open(ports.MediaRequest{Range: &domain.ByteRange{First: 1, Last: 2}, IfRange: whole.ETag})
		require.Equal(t, string(content[1:3]), read(same))
	}

	_, err := gateway.OpenMedia(t.Context(), w.Ref, ports.MediaRequest{SessionID: "one", MediaID: id, Range: &domain.ByteRange{First: size, Last: -1}})
	gatewayFails(t, w, err, ports.WorkerRangeInvalid)
	_, err = gateway.OpenMedia(t.Context(), w.Ref, ports.MediaRequest{SessionID: "one", MediaID: "missing"})
	gatewayFails(t, w, err, ports.WorkerMediaNotFound)
	_, err = gateway.OpenMedia(t.Context(), w.Ref, ports.MediaRequest{SessionID: "another", MediaID: id})
	gatewayFails(t, w, err, ports.WorkerSessionNotFound)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = gateway.OpenMedia(ended, w.Ref, ports.MediaRequest{SessionID: "one", MediaID: id})
	require.Error(t, err)
}
