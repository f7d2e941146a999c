package domain_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestScheduleResolve_Times_AreDefaultedAndBounded(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	in := func(d time.Duration) time.Time { return now.Add(d) }
	const longest = domain.MaxSendAhead
	for name, c := range map[string]struct {
		schedule         domain.Schedule
		sendAt, deadline time.Time
		problem          string
	}{
		"nothing":                {domain.Schedule{}, now, in(time.Hour), ""},
		"patience":               {domain.Schedule{Patience: time.Minute}, now, in(time.Minute), ""},
		"deadline":               {domain.Schedule{Deadline: in(time.Minute)}, now, in(time.Minute), ""},
		"deadline over patience": {domain.Schedule{Deadline: in(time.Minute), Patience: time.Hour}, now, in(time.Minute), ""},
		"ahead":                  {domain.Schedule{SendAt: in(longest)}, in(longest), in(longest + time.Hour), ""},
		"ahead with patience":    {domain.Schedule{SendAt: in(longest), Patience: longest}, in(longest), in(2 * longest), ""},
		"just past":              {domain.Schedule{SendAt: in(-59 * time.Minute)}, in(-59 * time.Minute), in(time.Minute), ""},
		"past with patience":     {domain.Schedule{SendAt: in(-2 * time.Hour), Patience: 3 * time.Hour}, in(-2 * time.Hour), in(time.Hour), ""},
		"too far ahead":          {domain.Schedule{SendAt: in(longest + 1)}, time.Time{}, time.Time{}, "sendAt"},
		"long past":              {domain.Schedule{SendAt: in(-time.Hour)}, time.Time{}, time.Time{}, "sendAt"},
		"deadline now":           {domain.Schedule{Deadline: now}, time.Time{}, time.Time{}, "deadline"},
		"patience over":          {domain.Schedule{SendAt: in(-time.Minute), Patience: time.Minute}, time.Time{}, time.Time{}, "deadline"},
		"deadline before sendAt": {domain.Schedule{SendAt: in(time.Hour), Deadline: in(time.Minute)}, time.Time{}, time.Time{}, "deadline"},
		"too patient":            {domain.Schedule{Patience: longest + 1}, time.Time{}, time.Time{}, "deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			sendAt, deadline, err := c.schedule.Resolve(now)
			if c.problem != "" {
				var e *domain.Error
				require.ErrorAs(t, err, &e)
				require.Equal(t, domain.CodeValidation, e.Code)
				require.Len(t, e.Fields, 1)
				require.Equal(t, c.problem, e.Fields[0].Field)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.sendAt, sendAt)
			require.Equal(t, c.deadline, deadline)
		})
	}
}

func TestFingerprint_Schedule_Counts(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	seen := make(map[[32]byte]int)
	for i, s := range []*domain.Schedule{
		nil, {}, {SendAt: at}, {Deadline: at}, {SendAt: at, Deadline: at}, {Patience: time.Hour}, {SendAt: at.Add(time.Microsecond)},
	} {
		m := &domain.Outgoing{To: "6289999999999", Type: domain.TypeText, Text: "x", Schedule: s}
		f, err := m.Fingerprint()
		require.NoError(t, err)
		require.NotContains(t, seen, f, "schedules %d and %d", i, seen[f])
		seen[f] = i
	}
	zone := &domain.Outgoing{To: "6289999999999", Type: domain.TypeText, Text: "x", Schedule: &domain.Schedule{SendAt: at.In(time.FixedZone("CET", 3600))}}
	f, err := zone.Fingerprint()
	require.NoError(t, err)
	require.Contains(t, seen, f, "the time counts, not its zone")
}

func TestQueuedMessage_Upload_IsCopiedAndSentAsItWas(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	m := &domain.Outgoing{
		To: "6289999999999", Type: domain.TypeDocument, Filename: "a.txt", Caption: "A", Schedule: &domain.Schedule{},
		Upload: &domain.Upload{Content: strings.NewReader("hello"), Size: 5, Type: "text/plain", SHA256: "00ff"},
	}
	q, err := domain.NewQueuedMessage("m1", "s1", "u1", m, now)
	require.NoError(t, err)
	require.Equal(t, []byte("hello"), q.Upload)
	require.Nil(t, q.Message.Upload)
	require.Nil(t, q.Message.Schedule)
	require.GreaterOrEqual(t, q.Size, int64(5))
	out := q.Clone().Outgoing()
	content := make([]byte, 5)
	_, err = out.Upload.Content.ReadAt(content, 0)
	require.NoError(t, err)
	require.Equal(t, "hello", string(content))
	require.Equal(t, domain.Upload{Content: out.Upload.Content, Size: 5, Type: "text/plain", SHA256: "00ff"}, *out.Upload)
	record := q.NewMessage(now)
	require.Equal(t, domain.MessagePending, record.Status)
	require.Equal(t, "6289999999999@s.whatsapp.net", record.To)

	m.Upload.Size = domain.MaxQueuedUpload + 1
	_, err = domain.NewQueuedMessage("m1", "s1", "u1", m, now)
	require.Equal(t, domain.CodeValidation, domain.CodeOf(err))
}

func TestSendQueue_Add_KeepsTheBooksAndTheBounds(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	q := &domain.SendQueue{}
	m := &domain.QueuedMessage{SendAt: now.Add(time.Hour), Size: 10}
	require.NoError(t, q.Add(m, 0))
	require.NoError(t, q.Add(&domain.QueuedMessage{SendAt: now, Size: 5}, 10))
	require.Equal(t, domain.SendQueue{Waiting: 2, Bytes: 15, DueAt: now}, *q)
	q.Remove(m)
	require.Equal(t, domain.SendQueue{Waiting: 1, Bytes: 5, DueAt: now}, *q)
	require.NoError(t, q.Add(m, domain.MaxQueuedBytes-10))
	require.Equal(t, domain.CodeMessageLimit, domain.CodeOf(q.Add(m, domain.MaxQueuedBytes-9)))
	q.Waiting = domain.MaxQueuedMessages
	require.Equal(t, domain.CodeMessageLimit, domain.CodeOf(q.Add(m, 0)))
}
