package smtp

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wneessen/go-mail"

	"github.com/switchyard-wa/switchyard/ports"
)

// Security selects the encryption of a connection.
type Security string

// The kinds of security.
const (
	StartTLS      Security = "starttls"      // upgraded before anything else is sent; fails without an offer
	ImplicitTLS   Security = "tls"           // encrypted from the first byte
	Opportunistic Security = "opportunistic" // upgraded if the server offers it
	Plain         Security = "plain"         // never encrypted, for a server on the same machine
)

// Config configures a mail server. Host and From are required.
type Config struct {
	Host     string
	Port     int      // 0: 587, 465 with ImplicitTLS, 25 with Plain
	Security Security // empty: StartTLS
	// Username and Password are optional. They are used with the best mechanism that
	// the server offers. On an unencrypted connection only mechanisms that do not
	// reveal the password are used.
	Username, Password string
	From               string        // for example: Switchyard <noreply@example.com>
	Hello              string        // host name of this client; empty: the domain of From
	Timeout            time.Duration // time limit of one mail; 0: 30 s
	TLS                *tls.Config   // nil: the system's roots, TLS 1.2 or newer
}

// WithDefaults returns a copy with the defaults of all optional fields.
func (c Config) WithDefaults() Config {
	if c.Security == "" {
		c.Security = StartTLS
	}
	if c.Port == 0 {
		switch c.Security {
		case ImplicitTLS:
			c.Port = 465
		case Plain:
			c.Port = 25
		default:
			c.Port = 587
		}
	}
	if from, err := netmail.ParseAddress(c.From); err == nil && c.Hello == "" {
		c.Hello = domainOf(from.Address)
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.TLS == nil {
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	c.TLS = c.TLS.Clone()
	if c.TLS.ServerName == "" {
		c.TLS.ServerName = c.Host
	}
	return c
}

// Validate returns every problem of the configuration.
func (c Config) Validate() error {
	var errs []error
	refuse := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("smtp: "+format, args...))
		}
	}
	refuse(c.Host == "" || strings.ContainsAny(c.Host, "/ \r\n"), "Host must be a host name or address, not %q", c.Host)
	refuse(c.Port < 1 || c.Port > 65535, "Port must be 1 to 65535, not %d", c.Port)
	switch c.Security {
	case StartTLS, ImplicitTLS, Opportunistic, Plain:
	default:
		refuse(true, "Security must be one of starttls, tls, opportunistic, plain, not %q", c.Security)
	}
	_, err := netmail.ParseAddress(c.From)
	refuse(err != nil || !line(c.From), "From must be an address such as Switchyard <noreply@example.com>, not %q", c.From)
	refuse(err == nil && (c.Hello == "" || strings.ContainsAny(c.Hello, " \r\n")), "Hello must be a host name, not %q", c.Hello)
	refuse(c.Username == "" && c.Password != "", "Password is given without Username")
	refuse(c.Timeout < 0, "Timeout must not be negative, not %v", c.Timeout)
	return errors.Join(errs...)
}

// Mailer sends mail through one server. It is safe for concurrent use.
type Mailer struct {
	config Config
	from   *netmail.Address
}

var _ ports.Mailer = (*Mailer)(nil)

// New returns a Mailer. It does not connect.
func New(c Config) (*Mailer, error) {
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	from, err := netmail.ParseAddress(c.From)
	return &Mailer{config: c, from: from}, err
}

// Send passes the mail to the server. It returns nil if the server accepted the
// mail. After an error the server has most likely not accepted it.
func (m *Mailer) Send(ctx context.Context, mail ports.Mail) error {
	message, err := m.message(mail)
	if err != nil {
		return err
	}
	if err := m.deliver(ctx, message); err != nil && !message.IsDelivered() {
		return fmt.Errorf("smtp: %w", err)
	}
	return nil
}

// deliver sends a message within the time limit.
func (m *Mailer) deliver(ctx context.Context, message *mail.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, m.config.Timeout)
	defer cancel()
	dial := func(dialing context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(dialing, network, address)
		if err != nil {
			return nil, err
		}
		// The library watches the context only while it dials, and leaves the
		// connection open on a failure. Close the connection when ctx ends.
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		if m.config.Security != ImplicitTLS {
			return conn, nil
		}
		secure := tls.Client(conn, m.config.TLS)
		return secure, secure.HandshakeContext(dialing)
	}
	client, err := m.client(dial)
	if err != nil {
		return err
	}
	err = client.DialAndSendWithContext(ctx, message)
	if err != nil && ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	return err
}

// client returns a client of the library for one mail. Such a client must not be
// shared.
func (m *Mailer) client(dial mail.DialContextFunc) (*mail.Client, error) {
	options := []mail.Option{
		mail.WithPort(m.config.Port),
		mail.WithHELO(m.config.Hello),
		mail.WithTimeout(m.config.Timeout),
		mail.WithTLSConfig(m.config.TLS),
		mail.WithDialContextFunc(dial),
		mail.WithoutNoop(),
	}
	switch m.config.Security {
	case StartTLS:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	case Plain:
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	default:
		// With ImplicitTLS this makes the library check whether the connection is
		// encrypted. The result selects the mechanism of the sign-in.
		options = append(options, mail.WithTLSPolicy(mail.TLSOpportunistic))
	}
	if m.config.Username != "" {
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover),
			mail.WithUsername(m.config.Username), mail.WithPassword(m.config.Password))
	}
	return mail.NewClient(m.config.Host, options...)
}

// message returns the mail in the form of the library, or an error for a mail
// that could inject headers.
func (m *Mailer) message(p ports.Mail) (*mail.Msg, error) {
	to, err := netmail.ParseAddress(p.To)
	if err != nil || to.Address != p.To || !line(p.To) {
		return nil, errors.New("smtp: the recipient is not one bare address")
	}
	if !line(p.Subject) {
		return nil, errors.New("smtp: the subject is not one line of text")
	}
	message := mail.NewMsg(mail.WithNoDefaultUserAgent())
	message.FromMailAddress(m.from)
	message.ToMailAddress(to)
	message.Subject(p.Subject)
	message.SetDate()
	// The library's own message id would reveal the host name.
	message.SetMessageIDWithValue(rand.Text() + "@" + domainOf(m.from.Address))
	message.SetGenHeader("Auto-Submitted", "auto-generated") // no out-of-office answers
	message.SetBodyString(mail.TypeTextPlain, p.Text)
	return message, nil
}

// line reports whether s may stand in a header.
func line(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) }

// domainOf returns the part of an address after the last @.
func domainOf(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }
