package view

import (
	"net/url"

	"github.com/switchyard-wa/switchyard/domain"
)

// MediaView is what a worker reported of the media of a received message.
type MediaView struct {
	Type   String `json:"type" doc:"Media type" example:"image/jpeg"`
	Size   int64  `json:"size" doc:"Bytes; 0 if it is not known" example:"48213"`
	SHA256 String `json:"sha256" doc:"Of the content, in hexadecimal digits" example:"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"`
}

// media returns the view of a message's media.
func media(m *domain.Message) Nullable[MediaView] {
	if m.Media.IsZero() {
		return Nullable[MediaView]{}
	}
	return Nullable[MediaView]{&MediaView{Type: String(m.Media.Type), Size: m.Media.Size, SHA256: String(m.Media.SHA256)}}
}

// mediaURL returns the URL of a message's media for the owner of its session. The media of
// a received message are behind a route of the API. URLs that workers have reported are
// shown unless they lead inside.
func mediaURL(m *domain.Message) String {
	switch {
	case m.Direction != domain.Inbound:
		return String(m.MediaURL)
	case !m.Media.IsZero():
		return String("/api/v1/sessions/" + url.PathEscape(m.SessionID) + "/messages/" + url.PathEscape(m.ID) + "/media")
	case domain.IsShowableURL(m.MediaURL, ""):
		return String(m.MediaURL)
	}
	return ""
}
