package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
)

// Values of Config.Registration.
const (
	RegistrationOpen   = "open"   // everybody may register
	RegistrationClosed = "closed" // only administrators create users
)

// Config configures a reference server. The zero value works: the server listens on
// 127.0.0.1:8000 and keeps its data in switchyard.db.
type Config struct {
	Addr         string // default 127.0.0.1:8000
	Store        string // data source name, see backend.Open; default sqlite:switchyard.db
	Coordination string // Redis URL that replicas share; default memory:, this process alone
	CheckDB      bool   // fail if the schema is out of date, instead of migrating it

	// Secrets are the same for all replicas, and have 32 bytes or more. Default: generated
	// once and kept in SecretsFile, or with a store in memory in the process. Replicas with a
	// shared Coordination need both.
	WorkerToken string
	JWTSecret   string
	SecretsFile string // default: beside the SQLite file, otherwise switchyard.secrets

	Registration string // RegistrationOpen or RegistrationClosed; default open

	AdminEmail    string // default admin@localhost
	AdminPassword string // default: generated and shown once

	SimulatedWorkers int // number of simulated workers in this process

	Timing         domain.Timing           // zero fields: domain.DefaultTiming
	Limits         string                  // see ParseLimits
	Unscanned      *domain.UnscannedLimits // nil: domain.DefaultUnscannedLimits
	AuditRetention time.Duration           // of the audit trail; default 90 days
	EventRetention time.Duration           // of published events; default 7 days
	// MessageRetention overrides how long messages of a tier are kept. 0: as long as their session.
	MessageRetention  map[domain.Tier]time.Duration
	AllowPublicOnly   bool // refuse workers at loopback, private and link-local addresses
	AllowPrivateMedia bool // accept URLs of media, links and thumbnails at such addresses

	// WebhookKey encrypts the secrets of webhooks. It is kept as the other secrets are. Replicas with a
	// shared Coordination need it to have webhooks.
	WebhookKey           string
	AllowPrivateWebhooks bool                 // call webhooks at such addresses
	Webhooks             domain.WebhookPolicy // zero fields: domain.DefaultWebhookPolicy
	WebhookParallel      int                  // attempts to deliver at once; default 256
	SendPace             int                  // messages a minute that the queue of a session forwards; 0: no limit
	CORSOrigins          []string
	TrustedProxies       []netip.Prefix
	TLSCert, TLSKey      string // files; both or none
	SMTP                 string // smtp://user:password@host:port or smtps://; default: mails go to the log
	MailFrom             string // default switchyard@localhost
	ResetURL             string // stands before the token in the mail; default: the mail has the token only
	Log                  *slog.Logger
	Out                  io.Writer // receives the banner; default os.Stdout
	Version              string
}

// WithDefaults returns a copy with every optional field set.
func (c Config) WithDefaults() Config {
	for value, standard := range map[*string]string{
		&c.Addr: "127.0.0.1:8000", &c.Store: "sqlite:switchyard.db", &c.Coordination: "memory:",
		&c.AdminEmail: "admin@localhost", &c.Registration: RegistrationOpen, &c.MailFrom: "switchyard@localhost", &c.Version: "dev",
	} {
		if *value == "" {
			*value = standard
		}
	}
	c.Timing = c.Timing.WithDefaults()
	if c.SecretsFile == "" {
		c.SecretsFile = backend.SecretsFile(c.Store)
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Out == nil {
		c.Out = os.Stdout
	}
	return c
}

// Validate returns every problem of the configuration, joined. Messages name the flags of the
// command line.
func (c Config) Validate() error {
	var errs []error
	problem := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if err := CheckAddr(c.Addr); err != nil {
		errs = append(errs, err)
	}
	if err := backend.Check(c.Store); err != nil {
		problem("--store: %w", err)
	}
	if err := backend.CheckCoordination(c.Coordination); err != nil {
		problem("--fabric: %w", err)
	} else if scheme, _, _ := strings.Cut(c.Store, ":"); c.Coordination != "memory:" && !strings.HasPrefix(scheme, "postgres") {
		problem("--fabric is for replicas that share a store: it goes with --store postgres://…")
	}
	for _, s := range []secret{jwtSecret(c.JWTSecret), workerToken(c.WorkerToken), webhookKey(c.WebhookKey)} {
		if s.given != "" {
			if err := checkSecret(s.flag, s.given); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if err := CheckSecretsFile(c.Store, c.SecretsFile); err != nil {
		errs = append(errs, err)
	}
	if c.Registration != RegistrationOpen && c.Registration != RegistrationClosed {
		problem("--registration must be %s or %s, not %q", RegistrationOpen, RegistrationClosed, c.Registration)
	}
	if _, err := domain.NormalizeEmail(c.AdminEmail); err != nil {
		problem("--admin-email: %s", message(err))
	}
	if c.AdminPassword != "" {
		if err := domain.CheckPasswordOf(c.AdminPassword, "Administrator", c.AdminEmail); err != nil {
			problem("--admin-password: %s", message(err))
		}
	}
	if c.SimulatedWorkers < 0 || c.SimulatedWorkers > 100 {
		problem("--simulated-workers must be between 0 and 100")
	}
	if c.SimulatedWorkers > 0 && c.AllowPublicOnly {
		problem("--simulated-workers listen on this machine, which --allow-private-workers=false refuses; leave out one of them")
	}
	if err := c.Timing.Validate(); err != nil {
		problem("%s", timingFlags.Replace(err.Error()))
	}
	if life := c.Timing.MessageLife; life != 0 && (life < minOutcomeTimeout || life > maxOutcomeTimeout) {
		problem("--outcome-timeout must be between %v and %v", minOutcomeTimeout, maxOutcomeTimeout)
	}
	if c.SendPace < 0 || c.SendPace > orchestrator.MaxSendPace {
		problem("--send-pace must be between 0 and %d messages a minute", orchestrator.MaxSendPace)
	}
	if c.Webhooks.Timeout > maxWebhookTimeout {
		problem("--webhook-timeout must be at most %v", maxWebhookTimeout)
	}
	tiers, _, err := ParseLimits(c.Limits)
	if err != nil {
		problem("--rate-limits: %w", err)
	}
	for tier, retention := range c.MessageRetention {
		if _, known := tiers[tier]; !known && err == nil {
			problem("--message-retention: %q is no tier; use BASIC, PRO or MAX", tier)
		}
		if retention != 0 && retention < minMessageRetention {
			problem("--message-retention must be at least %v", minMessageRetention)
		}
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		problem("--tls-cert and --tls-key go together")
	} else if c.TLSCert != "" {
		if _, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey); err != nil {
			problem("--tls-cert, --tls-key: %w", err)
		}
	}
	if c.SMTP != "" {
		u, err := url.Parse(c.SMTP)
		if err != nil || u.Scheme != "smtp" && u.Scheme != "smtps" || u.Hostname() == "" {
			problem("--smtp must be smtp://[user:password@]host[:port] or smtps://…")
		} else if !isPort(cmp.Or(u.Port(), "25")) {
			problem("--smtp: %q is no port; use a number up to 65535", u.Port())
		}
	}
	if _, err := mail.ParseAddress(c.MailFrom); err != nil {
		problem("--mail-from must be an address such as switchyard@example.com, not %q", c.MailFrom)
	}
	if c.ResetURL != "" {
		if u, err := url.Parse(c.ResetURL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			problem("--reset-url must be an http:// or https:// URL")
		}
	}
	for _, origin := range c.CORSOrigins {
		if u, err := url.Parse(origin); origin != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.Path != "") {
			problem("--cors-origin must be an origin such as https://app.example.com, not %q", origin)
		}
	}
	return errors.Join(errs...)
}

// CheckAddr returns an error unless addr has the form that --addr takes. It opens nothing.
func CheckAddr(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("--addr must be HOST:PORT or :PORT, not %q", addr)
	}
	if !isPort(port) {
		return fmt.Errorf("--addr: %q is no port; use a number up to 65535", port)
	}
	return nil
}

// isPort reports whether the text is a port: a number up to 65535, or the name of a service such as http.
func isPort(text string) bool {
	_, err := net.DefaultResolver.LookupPort(context.Background(), "tcp", text)
	return err == nil && !strings.HasPrefix(text, "-")
}

// tiers returns the tiers with the limits of a text, see [ParseLimits], and with the message retention of the configuration.
func (c Config) tiers(limits string) (tiers domain.Tiers, off bool, err error) {
	tiers, off, err = ParseLimits(limits)
	for name, retention := range c.MessageRetention {
		if l, known := tiers[name]; known {
			l.MessageRetention = retention
			tiers[name] = l
		}
	}
	return tiers, off, err
}

// minMessageRetention is the least retention. Limits count the messages of the last hour.
const minMessageRetention = 2 * time.Hour

// The bounds of the time after which a message of unknown outcome fails. A send may take 35 s, and reports must find the
// message.
const (
	minOutcomeTimeout = time.Minute
	maxOutcomeTimeout = 24 * time.Hour
)

// maxWebhookTimeout bounds the time of a test of a webhook, which a client waits for.
const maxWebhookTimeout = time.Minute

// timingFlags replaces the fields of domain.Timing by the flags of the command line.
var timingFlags = strings.NewReplacer("timing: ", "", "HeartbeatInterval", "--heartbeat-interval", "Lease", "--lease",
	"ProbeInterval", "--probe-interval", "FailoverDelay", "--failover-delay", "HomeWait", "--home-wait")

// message returns the message of a domain error, without its code.
func message(err error) string {
	var e *domain.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}

// ParseLimits returns the default tiers with overrides. The text is a JSON object by tier, the
// path of a file with such an object, "off" for no limits per hour, or empty. The members are
// those of domain.Limits, and "pool":
//
//	{"BASIC": {"messagesPerHour": 200}, "MAX": {"pool": "dedicated"}}
func ParseLimits(text string) (tiers domain.Tiers, off bool, err error) {
	tiers = domain.DefaultTiers()
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return tiers, false, nil
	case text == "off":
		for name, l := range tiers {
			const none = 1_000_000_000 // fits an int everywhere
			l.MessagesPerHour, l.APICallsPerHour = none, none
			tiers[name] = l
		}
		return tiers, true, nil
	case !strings.HasPrefix(text, "{"):
		b, err := os.ReadFile(text)
		if err != nil {
			return nil, false, fmt.Errorf("reading the limits: %w", err)
		}
		text = string(b)
	}
	var overrides map[domain.Tier]struct {
		Sessions        *int    `json:"maxSessions"`
		MessagesPerHour *int    `json:"messagesPerHour"`
		APICallsPerHour *int    `json:"apiCallsPerHour"`
		Pool            *string `json:"pool"`
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&overrides); err != nil {
		return nil, false, fmt.Errorf("limits must be a JSON object by tier: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, false, errors.New("limits must be one JSON object by tier, and nothing after it")
	}
	for name, o := range overrides {
		l, known := tiers[name]
		if !known {
			return nil, false, fmt.Errorf("%q is no tier; use BASIC, PRO or MAX", name)
		}
		for to, from := range map[*int]*int{&l.Sessions: o.Sessions, &l.MessagesPerHour: o.MessagesPerHour, &l.APICallsPerHour: o.APICallsPerHour} {
			if from == nil {
				continue
			}
			if *from < 0 {
				return nil, false, fmt.Errorf("the limits of %s must not be negative", name)
			}
			*to = *from
		}
		if o.Pool != nil {
			l.Pool = *o.Pool
		}
		tiers[name] = l
	}
	return tiers, false, nil
}
