package messaging

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/domain"
)

// validate checks the message, its URLs and its content, and returns every problem at
// once. It returns the message with the type of its media.
func (m *Messages) validate(ctx context.Context, out *domain.Outgoing) (*domain.Outgoing, error) {
	err := out.Validate()
	var p domain.Problems
	if m.urls != nil {
		for _, u := range out.URLs() {
			p.Check(u.Field, m.urls.CheckURL(ctx, u.URL))
		}
	}
	out, unread := m.checkContent(out, err, &p)
	if err != nil || p.Err() != nil {
		m.mergeSchedule(&p, out)
	}
	switch {
	case unread != nil:
		return nil, apperr.Public(unread)
	case p.Err() == nil:
		return out, err
	}
	var all domain.Problems
	if err != nil {
		all.Merge(err)
	}
	all.Merge(p.Err())
	return nil, all.Err()
}

// mergeSchedule adds what is wrong with the schedule of a message that is refused anyway. The
// schedule of a valid message is judged when the message is recorded: the repeat of a send
// is answered although its time has passed.
func (m *Messages) mergeSchedule(p *domain.Problems, out *domain.Outgoing) {
	if out.Schedule == nil {
		return
	}
	if _, _, err := out.Schedule.Resolve(m.Now()); err != nil {
		p.Merge(err)
	}
}

// checkContent checks the media and the thumbnail that the message carries by what they
// are. It adds their problems, and returns the message with the type of its media. It
// leaves out media that validation refuses already. The error says that an upload cannot
// be read.
func (m *Messages) checkContent(out *domain.Outgoing, refused error, p *domain.Problems) (*domain.Outgoing, error) {
	if m.types == nil {
		return out, nil
	}
	if head := out.Link.ThumbnailHead(); out.Type == domain.TypeLink && head != nil && !hasProblem(refused, "thumbnail") {
		p.Merge(domain.CheckThumbnail(m.types.DetectType(head)))
	}
	if out.Type.MaxMedia() == 0 || !out.HasContent() || hasProblem(refused, "media", "mediaUrl") {
		return out, nil
	}
	head, err := out.ContentHead()
	if err != nil {
		return nil, fmt.Errorf("reading an upload: %w", err)
	}
	kind, err := out.CheckContent(m.types.DetectType(head))
	if err != nil {
		p.Merge(err)
		return out, nil
	}
	checked := *out // the caller's message stays as it is
	checked.MediaType = kind
	return &checked, nil
}

// hasProblem reports whether err lists a problem of one of the fields.
func hasProblem(err error, fields ...string) bool {
	var e *domain.Error
	return errors.As(err, &e) && slices.ContainsFunc(e.Fields, func(f domain.FieldError) bool { return slices.Contains(fields, f.Field) })
}
