package conformance

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/ports"
)

// Mailer tests a mailer. open returns a mailer, and a function that returns the mails that have arrived
// so far, as a mail program displays them.
func Mailer(t *testing.T, open func(t *testing.T) (mailer ports.Mailer, arrived func() []ports.Mail)) {
	mail := ports.Mail{To: "ann@example.com", Subject: "Reset your password", Text: "Open https://example.com/reset?token=a.b=c\n"}

	t.Run("mail arrives", func(t *testing.T) {
		m, arrived := open(t)
		require.NoError(t, m.Send(t.Context(), mail))
		requireMail(t, arrived, mail)
	})
	t.Run("any text arrives unchanged", func(t *testing.T) {
		m, arrived := open(t)
		want := ports.Mail{
			To: "o'neil+test@example.com", Subject: "Grüße 失 – 📱 " + strings.Repeat("very ", 30) + "long",
			Text: "Line one\n\n.\n.. dots\nFrom here\n=3D equals\n\ttab 失\n" + strings.Repeat("x", 2000) + "\nend",
		}
		require.NoError(t, m.Send(t.Context(), want))
		requireMail(t, arrived, want)
	})
	t.Run("no header can be injected", func(t *testing.T) {
		for _, evil := range []ports.Mail{
			{To: "ann@example.com\r\nBcc: eve@example.com", Subject: "Hello", Text: "Hi"},
			{To: "ann@example.com", Subject: "Hello\r\nBcc: eve@example.com\r\n\r\nOther text", Text: "Hi"},
			{To: "ann@example.com, eve@example.com", Subject: "Hello", Text: "Hi"},
		} {
			m, arrived := open(t)
			err := m.Send(t.Context(), evil)
			time.Sleep(20 * time.Millisecond)
			for _, got := range arrived() {
				require.NoError(t, err, "the mailer returned an error and sent the mail")
				require.Equal(t, "ann@example.com", got.To)
				require.Equal(t, "Hi", strings.TrimSpace(got.Text))
			}
		}
	})
	t.Run("concurrent mails all arrive", func(t *testing.T) {
		m, arrived := open(t)
		var failed atomic.Value
		var want []ports.Mail
		for i := range racers {
			want = append(want, ports.Mail{To: fmt.Sprintf("u%d@example.com", i), Subject: fmt.Sprint("Mail ", i), Text: fmt.Sprint("Text ", i)})
		}
		race(racers, func(i int) {
			if err := m.Send(t.Context(), want[i]); err != nil {
				failed.Store(err)
			}
		})
		require.Nil(t, failed.Load())
		requireMail(t, arrived, want...)
	})
	t.Run("an expired context sends nothing", func(t *testing.T) {
		m, arrived := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.Error(t, m.Send(ctx, mail))
		require.NoError(t, m.Send(t.Context(), mail))
		requireMail(t, arrived, mail)
	})
}

// requireMail waits for the mails, in any order, and requires that there are no others. It ignores how
// lines end.
func requireMail(t *testing.T, arrived func() []ports.Mail, want ...ports.Mail) {
	t.Helper()
	require.Eventually(t, func() bool { return len(arrived()) >= len(want) }, 10*time.Second, 5*time.Millisecond)
	plain := func(mails []ports.Mail) []ports.Mail {
		all := make([]ports.Mail, len(mails))
		for i, m := range mails {
			m.Text = strings.TrimRight(strings.ReplaceAll(m.Text, "\r\n", "\n"), "\n")
			all[i] = m
		}
		return all
	}
	require.ElementsMatch(t, plain(want), plain(arrived()))
}
