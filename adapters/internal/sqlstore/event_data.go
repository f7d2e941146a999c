package sqlstore

import (
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

// eventData is the stored form of what an event tells of. Released stores hold it: a member is added, never renamed.
type eventData struct {
	Message *storedMessage `json:"message,omitempty"`
	Session *storedSession `json:"session,omitempty"`
}

// storedMessage is a message within an event, which names the session and the user. Times are microseconds.
type storedMessage struct {
	ID          string `json:"id"`
	WhatsAppID  string `json:"whatsappId,omitempty"`
	Direction   string `json:"direction"`
	From        string `json:"from,omitempty"`
	To          string `json:"to,omitempty"`
	Type        string `json:"type"`
	Content     string `json:"content,omitempty"`
	MediaURL    string `json:"mediaUrl,omitempty"`
	Media       string `json:"media,omitempty"` // as in the table of messages
	Filename    string `json:"filename,omitempty"`
	Caption     string `json:"caption,omitempty"`
	Status      string `json:"status"`
	Error       string `json:"error,omitempty"`
	Unreported  bool   `json:"unreported,omitempty"`
	Unforwarded bool   `json:"unforwarded,omitempty"`
	CreatedAt   *int64 `json:"createdAt,omitempty"`
	SentAt      *int64 `json:"sentAt,omitempty"`
	DeliveredAt *int64 `json:"deliveredAt,omitempty"`
	ReadAt      *int64 `json:"readAt,omitempty"`

	Relations *storedRelations `json:"relations,omitempty"`
}

// storedSession is a session within an event.
type storedSession struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	DisplayName string `json:"displayName,omitempty"`
	PhoneNumber string `json:"phoneNumber,omitempty"`
	LastError   string `json:"lastError,omitempty"`
	LastSeenAt  *int64 `json:"lastSeenAt,omitempty"`
	CreatedAt   *int64 `json:"createdAt,omitempty"`
	UpdatedAt   *int64 `json:"updatedAt,omitempty"`
}

// optionalMicros returns a time as a number, or nil for the zero time.
func optionalMicros(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	us := t.UnixMicro()
	return &us
}

// timeOf is the inverse of optionalMicros.
func timeOf(us *int64) time.Time {
	if us == nil {
		return time.Time{}
	}
	return time.UnixMicro(*us).UTC()
}

// encodeEventData returns the data of an event as JSON, or "" if it has none.
func encodeEventData(e *domain.Event) (string, error) {
	var data eventData
	if m := e.Message; m != nil {
		data.Message = &storedMessage{
			ID: m.ID, WhatsAppID: m.WhatsAppID, Direction: string(m.Direction), From: m.From, To: m.To, Type: string(m.Type),
			Content: m.Content, MediaURL: m.MediaURL, Media: mediaRefText(m.Media), Filename: m.Filename, Caption: m.Caption, Status: string(m.Status),
			Error: m.Error, Unreported: m.Unreported, Unforwarded: m.Unforwarded, CreatedAt: optionalMicros(m.CreatedAt), SentAt: optionalMicros(m.SentAt),
			DeliveredAt: optionalMicros(m.DeliveredAt), ReadAt: optionalMicros(m.ReadAt),
		}
		if !m.Relations.IsZero() {
			data.Message.Relations = (*storedRelations)(&m.Relations)
		}
	}
	if s := e.Session; s != nil {
		data.Session = &storedSession{
			Name: s.Name, Description: s.Description, DisplayName: s.DisplayName, PhoneNumber: s.PhoneNumber,
			LastError: s.LastError, LastSeenAt: optionalMicros(s.LastSeenAt), CreatedAt: optionalMicros(s.CreatedAt),
			UpdatedAt: optionalMicros(s.UpdatedAt),
		}
	}
	return toJSON(data, data.Message == nil && data.Session == nil)
}

// addTo adds the data to an event whose other fields are set.
func (data *eventData) addTo(e *domain.Event) {
	if m := data.Message; m != nil {
		e.Message = &domain.Message{
			ID: m.ID, WhatsAppID: m.WhatsAppID, SessionID: e.SessionID, UserID: e.UserID, Direction: domain.Direction(m.Direction),
			From: m.From, To: m.To, Type: domain.MessageType(m.Type), Content: m.Content, MediaURL: m.MediaURL, Media: mediaRefOf(m.Media), Filename: m.Filename,
			Caption: m.Caption, Status: domain.MessageStatus(m.Status), Error: m.Error, Unreported: m.Unreported, Unforwarded: m.Unforwarded,
			CreatedAt: timeOf(m.CreatedAt), SentAt: timeOf(m.SentAt), DeliveredAt: timeOf(m.DeliveredAt), ReadAt: timeOf(m.ReadAt),
		}
		if m.Relations != nil {
			e.Message.Relations = domain.Relations(*m.Relations)
		}
	}
	if s := data.Session; s != nil {
		e.Session = &domain.SessionSnapshot{
			Name: s.Name, Description: s.Description, DisplayName: s.DisplayName, PhoneNumber: s.PhoneNumber, LastError: s.LastError,
			LastSeenAt: timeOf(s.LastSeenAt), CreatedAt: timeOf(s.CreatedAt), UpdatedAt: timeOf(s.UpdatedAt),
		}
	}
}
