package logmail_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/logmail"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

// The suite reads the mail from the log.
func TestMailer_Conformance(t *testing.T) {
	conformance.Mailer(t, func(t *testing.T) (ports.Mailer, func() []ports.Mail) {
		var mu sync.Mutex
		var out bytes.Buffer
		m := logmail.New(slog.New(slog.NewJSONHandler(locked{&mu, &out}, nil)))
		return m, func() (mails []ports.Mail) {
			mu.Lock()
			defer mu.Unlock()
			for line := range bytes.Lines(out.Bytes()) {
				var mail ports.Mail
				require.NoError(t, json.Unmarshal(line, &mail))
				mails = append(mails, mail)
			}
			return mails
		}
	})
}

type locked struct {
	mu  *sync.Mutex
	out *bytes.Buffer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func TestSend_ResetMail_LinkIsInLog(t *testing.T) {
	var out bytes.Buffer
	m := logmail.New(slog.New(slog.NewJSONHandler(&out, nil)))
	mail := ports.Mail{To: "ann@example.com", Subject: "Reset", Text: "line one\nhttps://example.com/reset?token=abc\n"}
	require.NoError(t, m.Send(t.Context(), mail))

	var line struct{ Level, To, Subject, Text string }
	require.NoError(t, json.Unmarshal(out.Bytes(), &line), "one line, whatever the text holds")
	require.Equal(t, "INFO", line.Level)
	require.Equal(t, mail, ports.Mail{To: line.To, Subject: line.Subject, Text: line.Text})

	out.Reset()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, m.Send(ctx, mail), context.Canceled)
	require.Empty(t, out.String())
}
