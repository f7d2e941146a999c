package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"

	"github.com/switchyard-wa/switchyard/app/server"
	"github.com/switchyard-wa/switchyard/domain"
)

// serveFlags holds the flags of serve before their validation.
type serveFlags struct {
	*flags
	cfg           server.Config
	migrate       bool
	private       bool
	proxies       []string
	level, format string
	levelNow      slog.LevelVar
}

// newServeFlags returns the flags with their defaults.
func newServeFlags(out io.Writer) *serveFlags {
	f := &serveFlags{
		flags: newFlags("serve", "", "Runs the server. It needs nothing: without flags it keeps its data in switchyard.db.\n"+
			"SIGTERM ends it in good order, SIGHUP has it read --log-level and --rate-limits again.", out),
		migrate: true, private: true, level: "info",
	}
	c := &f.cfg
	unscanned := domain.DefaultUnscannedLimits()
	c.Unscanned = &unscanned
	f.text(&c.Addr, "addr", "HOST:PORT", "127.0.0.1:8000", "listen address; :8000 listens everywhere")
	f.dsn(&c.Store, "store", "sqlite:switchyard.db", "memory:, sqlite:PATH or postgres://…")
	f.dsn(&c.Coordination, "fabric", "in process", "memory:, or redis://… which several replicas need")
	f.bit(&f.migrate, "migrate", "true", "bring the schema up to date; false: only check it")
	f.secret(&c.WorkerToken, "worker-token", "TOKEN", "generated", "what workers send, 32 bytes or more, all replicas the same")
	f.secret(&c.JWTSecret, "jwt-secret", "SECRET", "generated", "32 bytes or more, all replicas the same")
	f.secret(&c.WebhookKey, "webhook-key", "SECRET", "generated", "encrypts secrets of webhooks, all replicas the same")
	f.text(&c.SecretsFile, "secrets-file", "FILE", secretsFileDefault, "keeps generated secrets")
	f.text(&c.Registration, "registration", "open|closed", "open", "closed: only administrators create users")
	f.text(&c.AdminEmail, "admin-email", "EMAIL", "admin@localhost", "first administrator")
	f.secret(&c.AdminPassword, "admin-password", "PASSWORD", "generated, printed once", "password of the first administrator")
	f.number(&c.SimulatedWorkers, "simulated-workers", "0", "workers to simulate in this process")
	f.duration(&c.Timing.HeartbeatInterval, "heartbeat-interval", "30s", "what workers are told; stale after three")
	f.duration(&c.Timing.ProbeInterval, "probe-interval", "5s", "between health probes of a worker")
	f.duration(&c.Timing.Lease, "lease", "45s", "how long a worker with a lease may run unheard")
	f.duration(&c.Timing.FailoverDelay, "failover-delay", "5s", "grace for a crashed worker to come back")
	f.duration(&c.Timing.HomeWait, "home-wait", "10m", "wait for the worker that has the credentials")
	f.duration(&c.Timing.MessageLife, "outcome-timeout", "1h", "when a message of unknown outcome fails; a receipt still counts")
	f.duration(&c.AuditRetention, "audit-retention", "90d", "how long the audit trail is kept")
	f.duration(&c.EventRetention, "event-retention", "7d", "how long published events are kept")
	f.retention(&c.MessageRetention, "message-retention", "BASIC=30d,PRO=90d,MAX=365d", "how long messages are kept; or forever")
	f.bit(&f.private, "allow-private-workers", "true", "accept workers at loopback and private addresses")
	f.bit(&c.AllowPrivateMedia, "allow-private-media", "false", "accept media and link URLs at such addresses")
	f.bit(&c.AllowPrivateWebhooks, "allow-private-webhooks", "false", "call webhooks at such addresses")
	f.delays(&c.Webhooks.Retry, "webhook-retry", "5s,30s,2m,15m,1h", "waits after failed attempts; then dead")
	f.duration(&c.Webhooks.Timeout, "webhook-timeout", "10s", "of one attempt to deliver")
	f.number(&c.WebhookParallel, "webhook-parallel", "256", "attempts to deliver at once")
	f.number(&c.SendPace, "send-pace", "0", "messages a minute that a session's queue sends; 0: no limit")
	f.list(&c.CORSOrigins, "cors-origin", "ORIGIN,…", "pages that may call the API")
	f.list(&f.proxies, "trusted-proxies", "NET,…", "whose X-Forwarded-For is believed")
	f.text(&c.TLSCert, "tls-cert", "FILE", "none", "certificate, to serve HTTPS")
	f.text(&c.TLSKey, "tls-key", "FILE", "none", "its key")
	f.secret(&c.SMTP, "smtp", "URL", "mails go to the log", "smtp://user:password@host:587")
	f.text(&c.MailFrom, "mail-from", "ADDRESS", "switchyard@localhost", "sender of mails")
	f.text(&c.ResetURL, "reset-url", "URL", "none", "reset page before the token, as https://HOST/reset-password#")
	f.number(&unscanned.PerUser, "unscanned-per-user", "as the tier", "sessions of a user that may wait for a first scan")
	f.number(&unscanned.PerNetwork, "unscanned-per-address", "20", "sessions from one address that may, loopback exempt; 0: no limit")
	f.delay(&unscanned.Cooldown, "unscanned-cooldown", "30s", "pause after QR codes that nobody scanned, doubling; 0s: none")
	f.delay(&unscanned.ReclaimAfter, "unscanned-reclaim", "1m", "after an expired code the slot may go to PRO and MAX; 0s: never")
	f.text(&c.Limits, "rate-limits", "JSON|FILE|off", "tier defaults", "overrides by tier")
	f.text(&f.level, "log-level", "LEVEL", "info", "debug, info, warn or error")
	f.text(&f.format, "log-format", "text|json", "text on a terminal", "of the log, which goes to stderr")
	f.note("--worker-token, --jwt-secret, --webhook-key, --admin-password, --smtp, --store and --fabric have\n" +
		"twins with -file, such as --jwt-secret-file: a file whose first line is the value. Others can read\na command line.")
	return f
}

// read parses and validates everything, and creates the log.
func (f *serveFlags) read(args []string, errOut io.Writer) error {
	err := f.parse(args)
	if errors.Is(err, errHelp) {
		return err
	}
	errs := []error{f.noWords()}
	errs = append(errs, f.setLevel())
	c := &f.cfg
	c.CheckDB, c.AllowPublicOnly, c.Version = !f.migrate, !f.private, versionText()
	c.TrustedProxies, err = server.ParseProxies(f.proxies)
	if err != nil {
		errs = append(errs, err)
	}
	log, err := newLog(errOut, f.format, &f.levelNow)
	errs = append(errs, err)
	c.Log = log
	errs = append(errs, c.WithDefaults().Validate())
	return f.bad(errors.Join(errs...))
}

// setLevel sets the level of the log.
func (f *serveFlags) setLevel() error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.level)); err != nil {
		return fmt.Errorf("--log-level must be debug, info, warn or error, not %q", f.level)
	}
	f.levelNow.Set(level)
	return nil
}

// newLog returns a log in the format, by default text on a terminal and else JSON.
func newLog(w io.Writer, format string, level slog.Leveler) (*slog.Logger, error) {
	o := &slog.HandlerOptions{Level: level}
	if format == "" {
		format = "json"
		if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
			format = "text"
		}
	}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return slog.New(slog.NewTextHandler(w, o)), fmt.Errorf("--log-format must be text or json, not %q", format)
}

// serve runs the command serve.
func serve(ctx context.Context, args []string, out, errOut io.Writer) error {
	f := newServeFlags(out)
	if err := f.read(args, errOut); err != nil {
		return err
	}
	f.cfg.Out = out
	f.warnExposed(f.cfg.Log)
	s, err := server.New(ctx, f.cfg)
	if err != nil {
		return err
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	go func() {
		for range hup {
			f.reread(args, s)
		}
	}()
	return s.Run(ctx)
}

// reread applies the present configuration of the log level and the rate limits.
func (f *serveFlags) reread(args []string, s *server.Server) {
	now := newServeFlags(io.Discard)
	err := now.read(args, io.Discard)
	if err == nil {
		err = s.SetLimits(now.cfg.Limits)
	}
	if err != nil {
		f.cfg.Log.Error("configuration not re-read", "error", strings.ReplaceAll(err.Error(), "\n", "; "))
		return
	}
	f.levelNow.Set(now.levelNow.Level())
	f.cfg.Log.Info("configuration re-read", "log-level", now.levelNow.Level())
}
