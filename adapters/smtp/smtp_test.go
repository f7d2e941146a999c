package smtp_test

import (
	"context"
	"crypto/tls"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/smtp"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

func TestMailer_Conformance(t *testing.T) {
	conformance.Mailer(t, func(t *testing.T) (ports.Mailer, func() []ports.Mail) {
		s := (&server{startTLS: true}).start(t)
		return mailer(t, s, smtp.StartTLS), func() (mails []ports.Mail) {
			for _, text := range s.mails() {
				mails = append(mails, shown(t, text))
			}
			return mails
		}
	})
}

// shown returns a mail as a mail program shows it.
func shown(t *testing.T, text string) ports.Mail {
	m, err := netmail.ReadMessage(strings.NewReader(text))
	require.NoError(t, err)
	to, err := m.Header.AddressList("To")
	require.NoError(t, err)
	require.Len(t, to, 1)
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	require.NoError(t, err)
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	require.NoError(t, err)
	return ports.Mail{To: to[0].Address, Subject: subject, Text: strings.ReplaceAll(string(body), "\r\n", "\n")}
}

var mail = ports.Mail{
	To:      "ann.o'neil+test@example.com",
	Subject: "Reset your password – now",
	Text:    "Open:\n\nhttps://example.com/reset?token=" + strings.Repeat("abcdefgh", 20) + "\n.\n..dots at the start\nü\n",
}

// mailer returns a mailer for the server.
func mailer(t *testing.T, s *server, security smtp.Security, change ...func(*smtp.Config)) *smtp.Mailer {
	t.Helper()
	c := smtp.Config{
		Host: "127.0.0.1", Port: s.addr.Port, Security: security, From: "Switchyard <noreply@example.com>",
		TLS: &tls.Config{RootCAs: s.roots(t), MinVersion: tls.VersionTLS12},
	}
	for _, f := range change {
		f(&c)
	}
	m, err := smtp.New(c)
	require.NoError(t, err)
	return m
}

func credentials(c *smtp.Config) { c.Username, c.Password = "robot", "s3cret-pass" }

func TestSend_Mail_ArrivesAsGiven(t *testing.T) {
	s := (&server{}).start(t)
	require.NoError(t, mailer(t, s, smtp.Plain).Send(t.Context(), mail))
	require.Len(t, s.mails(), 1)
	require.Contains(t, s.heard(), "EHLO example.com\nMAIL FROM:<noreply@example.com>")
	require.Contains(t, s.heard(), "RCPT TO:<ann.o'neil+test@example.com>")

	m, err := netmail.ReadMessage(strings.NewReader(s.mails()[0]))
	require.NoError(t, err)
	require.Equal(t, `"Switchyard" <noreply@example.com>`, m.Header.Get("From"))
	require.Equal(t, "auto-generated", m.Header.Get("Auto-Submitted"))
	require.Regexp(t, `^<[A-Z0-9]+@example\.com>$`, m.Header.Get("Message-ID"))
	sent, err := m.Header.Date()
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), sent, time.Minute)
	require.Equal(t, "quoted-printable", m.Header.Get("Content-Transfer-Encoding"))
	require.Equal(t, mail, shown(t, s.mails()[0]))
}

func TestSend_HeaderInjection_IsRefused(t *testing.T) {
	s := (&server{}).start(t)
	m := mailer(t, s, smtp.Plain)
	for _, to := range []string{
		"", "ann", "ann@example.com, bob@example.com", "ann@example.com,", "Ann <ann@example.com>", "<ann@example.com>",
		"ann@example.com\r\nBcc: bob@example.com", "ann@example.com\nRCPT TO:<bob@example.com>", "ann@example.com\x00",
		"\"a\r\nb\"@example.com", "\"a b\"@example.com", "ann@example.com> SIZE=1", "group: ann@example.com;", " ann@example.com",
	} {
		require.ErrorContains(t, m.Send(t.Context(), ports.Mail{To: to, Subject: "s", Text: "t"}), "one bare address", to)
	}
	for _, subject := range []string{"a\r\nBcc: bob@example.com", "a\nb", "a\x00", "\xff"} {
		require.ErrorContains(t, m.Send(t.Context(), ports.Mail{To: mail.To, Subject: subject}), "one line", subject)
	}
	require.Empty(t, s.heard(), "nothing was said to the server")

	// A text may contain anything.
	require.NoError(t, m.Send(t.Context(), ports.Mail{To: mail.To, Subject: "s", Text: "Bcc: a@b.c\r\n.\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n"}))
	require.NotContains(t, s.heard(), "bob")
	require.Len(t, s.mails(), 1)
}

func TestSend_Security_IsEnforced(t *testing.T) {
	t.Run("StartTLS", func(t *testing.T) {
		s := (&server{startTLS: true, auth: "PLAIN LOGIN"}).start(t)
		require.NoError(t, mailer(t, s, "", credentials).Send(t.Context(), mail))
		require.Contains(t, s.heard(), "TLS credentials |robot|s3cret-pass")
		require.Contains(t, s.heard(), "TLS MAIL FROM")
		require.Len(t, s.mails(), 1)
	})
	t.Run("StartTLS is not offered", func(t *testing.T) {
		s := (&server{auth: "PLAIN"}).start(t)
		require.ErrorContains(t, mailer(t, s, smtp.StartTLS, credentials).Send(t.Context(), mail), "STARTTLS")
		require.NotContains(t, s.heard(), "MAIL")
		require.NotContains(t, s.heard(), "AUTH")
	})
	t.Run("StartTLS with an unknown certificate", func(t *testing.T) {
		s := (&server{startTLS: true}).start(t)
		for _, spoil := range []func(*smtp.Config){
			func(c *smtp.Config) { c.TLS = nil },
			func(c *smtp.Config) { c.TLS.ServerName = "other.example.com" },
		} {
			require.ErrorContains(t, mailer(t, s, smtp.StartTLS, spoil).Send(t.Context(), mail), "x509")
		}
		require.NotContains(t, s.heard(), "MAIL")
	})
	t.Run("ImplicitTLS", func(t *testing.T) {
		s := (&server{implicit: true, auth: "PLAIN LOGIN"}).start(t)
		require.NoError(t, mailer(t, s, smtp.ImplicitTLS, credentials).Send(t.Context(), mail))
		require.Contains(t, s.heard(), "TLS credentials |robot|s3cret-pass")
		require.ErrorContains(t, mailer(t, s, smtp.ImplicitTLS, func(c *smtp.Config) { c.TLS = nil }).Send(t.Context(), mail), "x509")
		require.Len(t, s.mails(), 1)
	})
	t.Run("Opportunistic", func(t *testing.T) {
		s := (&server{startTLS: true}).start(t)
		require.NoError(t, mailer(t, s, smtp.Opportunistic).Send(t.Context(), mail))
		require.Contains(t, s.heard(), "TLS MAIL FROM")
		s = (&server{}).start(t)
		require.NoError(t, mailer(t, s, smtp.Opportunistic).Send(t.Context(), mail))
		require.Len(t, s.mails(), 1)
	})
	t.Run("credentials are not sent in the clear", func(t *testing.T) {
		s := (&server{auth: "PLAIN LOGIN"}).start(t)
		for _, security := range []smtp.Security{smtp.Plain, smtp.Opportunistic} {
			err := mailer(t, s, security, credentials).Send(t.Context(), mail)
			require.Error(t, err)
			require.NotContains(t, err.Error(), "s3cret-pass")
		}
		require.NotContains(t, s.heard(), "AUTH")
		require.NotContains(t, s.heard(), "MAIL")
	})
}

func TestSend_ServerRefuses_ReturnsError(t *testing.T) {
	for verb, answer := range map[string]string{
		"EHLO": "421 too busy", "MAIL": "550 not you", "RCPT": "550 no such user", "DATA": "452 full", ".": "554 spam",
	} {
		answers := map[string]string{verb: answer}
		if verb == "EHLO" {
			answers["HELO"] = answer
		}
		s := (&server{answers: answers}).start(t)
		err := mailer(t, s, smtp.Plain).Send(t.Context(), mail)
		require.ErrorContains(t, err, answer[4:], verb)
		require.NotContains(t, err.Error(), "token=", "the text of the mail is in no error")
	}
	s := (&server{startTLS: true, auth: "PLAIN", answers: map[string]string{"AUTH": "535 wrong"}}).start(t)
	err := mailer(t, s, smtp.StartTLS, credentials).Send(t.Context(), mail)
	require.ErrorContains(t, err, "wrong")
	require.NotContains(t, err.Error(), "s3cret-pass")
}

// A mail counts as sent once the server accepted it, whatever follows.
func TestSend_FailureAfterAcceptance_Succeeds(t *testing.T) {
	s := (&server{answers: map[string]string{"RSET": "500 what", "QUIT": "500 what"}}).start(t)
	require.NoError(t, mailer(t, s, smtp.Plain).Send(t.Context(), mail))
	require.Len(t, s.mails(), 1)
}

func TestSend_ServerStalls_EndsInTime(t *testing.T) {
	for _, verb := range []string{"EHLO", "MAIL", "DATA"} {
		s := (&server{stall: verb}).start(t)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		require.ErrorIs(t, mailer(t, s, smtp.Plain).Send(ctx, mail), context.Canceled, verb)
		short := func(c *smtp.Config) { c.Timeout = 50 * time.Millisecond }
		require.Error(t, mailer(t, s, smtp.Plain, short).Send(t.Context(), mail), verb)
	}
	s := (&server{}).start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, mailer(t, s, smtp.Plain).Send(ctx, mail), context.Canceled)
	require.Empty(t, s.mails())
}

func TestSend_NoServer_ReturnsError(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &server{addr: listener.Addr().(*net.TCPAddr), cert: certificate(t)}
	listener.Close()
	require.ErrorContains(t, mailer(t, s, smtp.Plain).Send(t.Context(), mail), "smtp:")
}

func TestSend_Concurrent_AllArrive(t *testing.T) {
	s := (&server{startTLS: true, auth: "PLAIN"}).start(t)
	m := mailer(t, s, smtp.StartTLS, credentials)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := m.Send(t.Context(), mail); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Len(t, s.mails(), 8)
}

func TestConfigValidate_Problems_AreAllListed(t *testing.T) {
	_, err := smtp.New(smtp.Config{Port: -1, Security: "ssl", From: "x\r\ny", Password: "s3cret-pass", Timeout: -1})
	for _, problem := range []string{"Host", "Port", "Security", "From", "Username", "Timeout"} {
		require.ErrorContains(t, err, problem)
	}
	require.NotContains(t, err.Error(), "s3cret-pass")
	for security, port := range map[smtp.Security]int{"": 587, smtp.StartTLS: 587, smtp.Opportunistic: 587, smtp.ImplicitTLS: 465, smtp.Plain: 25} {
		c := smtp.Config{Host: "mail.example.com", From: "noreply@example.com", Security: security}.WithDefaults()
		require.NoError(t, c.Validate())
		require.Equal(t, port, c.Port)
		require.Equal(t, "example.com", c.Hello)
		require.Equal(t, "mail.example.com", c.TLS.ServerName)
		require.Equal(t, 30*time.Second, c.Timeout)
	}
}
