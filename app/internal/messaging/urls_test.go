package messaging_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/messaging"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// insidePolicy refuses URLs that contain the word inside, and records what it was asked.
type insidePolicy struct{ asked []string }

func (p *insidePolicy) CheckURL(_ context.Context, url string) error {
	p.asked = append(p.asked, url)
	if strings.Contains(url, "inside") {
		return domain.Errorf(domain.Invalid, domain.CodeValidation, "The URL leads inside")
	}
	return nil
}

func newPolicyFixture(t *testing.T) (*replica, *insidePolicy) {
	policy := &insidePolicy{}
	r := newReplicaWith(coretest.New(t), service.Sender{}, func(p *messaging.Parts) { p.URLs = policy })
	return r.start(t), policy
}

func TestSend_URLThatThePolicyRefuses_IsAProblemOfItsField(t *testing.T) {
	for name, c := range map[string]struct {
		out    domain.Outgoing
		fields []string
	}{
		"image":     {domain.Outgoing{Type: domain.TypeImage, MediaURL: "https://inside/a.png"}, []string{"mediaUrl"}},
		"document":  {domain.Outgoing{Type: domain.TypeDocument, MediaURL: "https://inside/a.pdf"}, []string{"mediaUrl"}},
		"audio":     {domain.Outgoing{Type: domain.TypeAudio, MediaURL: "https://inside/a.ogg"}, []string{"mediaUrl"}},
		"video":     {domain.Outgoing{Type: domain.TypeVideo, MediaURL: "https://inside/a.mp4"}, []string{"mediaUrl"}},
		"sticker":   {domain.Outgoing{Type: domain.TypeSticker, MediaURL: "https://inside/a.webp"}, []string{"mediaUrl"}},
		"link":      {domain.Outgoing{Type: domain.TypeLink, Link: &domain.Link{URL: "https://inside", Thumbnail: "http://inside/t"}}, []string{"url", "thumbnail"}},
		"thumbnail": {domain.Outgoing{Type: domain.TypeLink, Link: &domain.Link{URL: "https://e.com", Thumbnail: "http://inside/t"}}, []string{"thumbnail"}},
		"with other problems": {
			domain.Outgoing{Type: domain.TypeImage, MediaURL: "https://inside/a.png", Caption: strings.Repeat("x", 1025)}, []string{"caption", "mediaUrl"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newPolicyFixture(t)
			c.out.To = "6281111111111"

			_, err := r.messages.Send(context.Background(), r.sender, &c.out)

			var e *domain.Error
			require.True(t, errors.As(err, &e), "%v", err)
			require.Equal(t, domain.Invalid, e.Kind)
			var fields []string
			for _, f := range e.Fields {
				fields = append(fields, f.Field)
			}
			require.Equal(t, c.fields, fields)
			require.Zero(t, r.used(t), "a refused message is not counted")
		})
	}
}

func TestSend_NoURL_DoesNotAskThePolicy(t *testing.T) {
	r, policy := newPolicyFixture(t)
	for _, out := range []domain.Outgoing{
		{Type: domain.TypeText, Text: "look at https://inside/"},
		{Type: domain.TypeImage, Media: "aGVsbG8="},
		{Type: domain.TypeImage, MediaURL: "ftp://inside"},
		{Type: domain.TypeText, Text: "x", MediaURL: "https://inside/"},
		{Type: "odd", MediaURL: "https://inside/"},
	} {
		out.To = "6281111111111"
		_, err := r.messages.Send(context.Background(), r.sender, &out)
		require.NotContains(t, errText(err), "leads inside")
	}
	require.Empty(t, policy.asked)
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
