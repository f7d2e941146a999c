package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/bcrypt"
	"github.com/switchyard-wa/switchyard/adapters/console"
	"github.com/switchyard-wa/switchyard/adapters/egress"
	"github.com/switchyard-wa/switchyard/adapters/httpapi"
	"github.com/switchyard-wa/switchyard/adapters/httpworker"
	"github.com/switchyard-wa/switchyard/adapters/jwt"
	"github.com/switchyard-wa/switchyard/adapters/logmail"
	"github.com/switchyard-wa/switchyard/adapters/mimetype"
	"github.com/switchyard-wa/switchyard/adapters/secretfile"
	"github.com/switchyard-wa/switchyard/adapters/smtp"
	"github.com/switchyard-wa/switchyard/adapters/webhook"
	"github.com/switchyard-wa/switchyard/app/accounts"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const shutdownTimeout = 10 * time.Second // for requests that run when the server stops

// Server is the reference server. Make one with [New].
type Server struct {
	Accounts     *accounts.Accounts
	Orchestrator *orchestrator.Orchestrator

	cfg      Config
	backend  *backend.Backend
	gateway  *httpworker.Client
	webhooks *webhook.Sender
	handler  http.Handler
	listener net.Listener
	token    string
	firstRun bool   // the first administrator was created by this start
	password string // its password, if generated; shown once
	ready    atomic.Bool

	streaming   context.Context // ends when the server begins to stop
	stopStreams context.CancelFunc
}

// New opens the store, generates missing secrets, listens, and creates the first administrator.
// The server answers once Run is called. If Run is not called, call Close.
func New(ctx context.Context, cfg Config) (*Server, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	b, err := backend.With(ctx, backend.Config{Store: cfg.Store, Coordination: cfg.Coordination, CheckOnly: cfg.CheckDB, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, backend: b}
	s.streaming, s.stopStreams = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.assemble(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) assemble(ctx context.Context) error {
	passwords, err := bcrypt.New(bcrypt.Config{})
	if err != nil {
		return err
	}
	found, err := s.resolveSecrets(ctx, passwords)
	if err != nil {
		return err
	}
	s.token = found.fleetToken
	mailer, err := s.mailer()
	if err != nil {
		return err
	}
	s.webhooks = webhook.New(webhook.Config{Dial: s.webhookDialer(), UserAgent: "Switchyard-Webhook/" + s.cfg.Version})
	s.gateway = httpworker.New(s.token, httpworker.With(httpworker.Config{Dial: s.dialer()}))
	tiers, off, err := s.cfg.tiers(s.cfg.Limits)
	if err != nil {
		return err
	}
	s.Orchestrator, err = orchestrator.New(orchestrator.Config{
		Store: s.backend, Workers: s.gateway, Tiers: tiers, Timing: s.cfg.Timing, Unscanned: s.cfg.Unscanned, Log: s.cfg.Log,
		Name: hostname(), Version: s.cfg.Version, AuditRetention: s.cfg.AuditRetention, EventRetention: s.cfg.EventRetention,
		URLs: policy(s.cfg.AllowPrivateMedia), MediaTypes: mimetype.Types{},
		Webhooks: s.webhooks, Sealer: found.sealer, WebhookURLs: policy(s.cfg.AllowPrivateWebhooks), WebhookPolicy: s.cfg.Webhooks,
		WebhookParallel: s.cfg.WebhookParallel, Mailer: mailer, SendPace: s.cfg.SendPace,
	})
	if err != nil {
		return err
	}
	s.Accounts, err = newAccounts(s.Orchestrator, found.jwt, accounts.Config{
		Store: s.backend, Passwords: passwords, Mailer: mailer, Log: s.cfg.Log, ResetURL: s.cfg.ResetURL,
		ClosedRegistration: s.cfg.Registration == RegistrationClosed,
	})
	if err != nil {
		return err
	}
	if err := s.Orchestrator.Load(ctx); err != nil {
		return err
	}
	s.handler = console.New(newAPI(s.Orchestrator, s.Accounts, s.backend, httpapi.Config{
		WorkerTokens: domain.NewWorkerTokens(s.token), RateLimits: !off, Log: s.cfg.Log, Version: s.cfg.Version,
		Health: newHealth(s.checkHealth, s.cfg.Log).check, Ready: s.ready.Load,
		CORSOrigins: s.cfg.CORSOrigins, TrustedProxies: s.cfg.TrustedProxies, Stopping: s.streaming,
	}))
	s.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.Addr)
	if err != nil {
		return fmt.Errorf("listening on %s: %w; use another --addr or stop what listens there", s.cfg.Addr, err)
	}
	if err := s.backend.Announce(s.URL()); err != nil {
		s.cfg.Log.WarnContext(ctx, "address not recorded in the lock file", "error", err)
	}
	// Last: a start that fails later would lose the generated password.
	admin, password, err := s.Accounts.EnsureAdministrator(ctx, s.cfg.AdminEmail, s.cfg.AdminPassword)
	s.firstRun, s.password = admin != nil, password
	if err != nil {
		return fmt.Errorf("making the first administrator: %w", err)
	}
	return nil
}

// serverSecrets are the secrets that a server works with.
type serverSecrets struct {
	jwt        string
	fleetToken string
	sealer     ports.Sealer // encrypts the secrets of webhooks; nil: webhooks are off
}

// resolveSecrets returns the secrets of the server: given ones, or those of the secrets file.
func (s *Server) resolveSecrets(ctx context.Context, passwords ports.Passwords) (found serverSecrets, err error) {
	keep := &secrets{
		store: s.backend, random: s.backend.Random(), passwords: passwords,
		shared: s.backend.Shared(), coordinated: s.cfg.Coordination != "memory:", log: s.cfg.Log,
	}
	if s.cfg.SecretsFile != "" {
		keep.file = secretfile.New(s.cfg.SecretsFile)
	}
	found.jwt, err = keep.resolve(ctx, jwtSecret(s.cfg.JWTSecret))
	if err != nil {
		return found, err
	}
	found.fleetToken, err = keep.resolve(ctx, workerToken(s.cfg.WorkerToken))
	if err != nil {
		return found, err
	}
	if err := keep.warnOfNew(ctx); err != nil {
		return found, err
	}
	found.sealer, err = keep.sealer(ctx, s.cfg.WebhookKey)
	return found, err
}

// newAccounts returns the accounts that belong to an orchestrator. They have its tiers, and
// the orchestrator applies their changes of users.
func newAccounts(o *orchestrator.Orchestrator, secret string, c accounts.Config) (*accounts.Accounts, error) {
	tokens, err := jwt.New([]byte(secret))
	if err != nil {
		return nil, err
	}
	c.Tokens, c.Tiers, c.OnChange = tokens, o.Tiers(), o.Users.ApplyChange
	return accounts.New(c)
}

// hostname returns the name of this process for the list of replicas.
func hostname() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + ":" + strconv.Itoa(os.Getpid())
}

func (s *Server) mailer() (ports.Mailer, error) {
	if s.cfg.SMTP == "" {
		return logmail.New(s.cfg.Log), nil
	}
	u, err := url.Parse(s.cfg.SMTP)
	if err != nil {
		return nil, errors.New("--smtp is not a URL")
	}
	c := smtp.Config{Host: u.Hostname(), From: s.cfg.MailFrom}
	if u.Port() != "" {
		c.Port, err = strconv.Atoi(u.Port())
		if err != nil {
			return nil, errors.New("--smtp has no valid port")
		}
	}
	if u.Scheme == "smtps" {
		c.Security = smtp.ImplicitTLS
	}
	if u.User != nil {
		c.Username = u.User.Username()
		c.Password, _ = u.User.Password()
	}
	return smtp.New(c)
}

// policy returns the policy for URLs that users give, or nil if any is accepted.
func policy(allowPrivate bool) ports.URLPolicy {
	if allowPrivate {
		return nil
	}
	return egress.New(egress.Config{})
}

// webhookDialer returns a function that dials the receivers of webhooks. It judges the address after each
// resolution.
func (s *Server) webhookDialer() func(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}
	if !s.cfg.AllowPrivateWebhooks {
		d.Control = func(network, address string, conn syscall.RawConn) error {
			if err := egress.Control(network, address, conn); err != nil {
				return fmt.Errorf("%w: %w, and --allow-private-webhooks is off", webhook.ErrNotAllowed, err)
			}
			return nil
		}
	}
	return d.DialContext
}

// dialer returns a function that dials workers. It checks addresses against the policy after
// names are resolved. A name that resolves to another address later is refused too.
func (s *Server) dialer() func(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}
	if s.cfg.AllowPublicOnly {
		d.Control = func(network, address string, conn syscall.RawConn) error {
			if err := egress.Control(network, address, conn); err != nil {
				return fmt.Errorf("%w: %w, and --allow-private-workers is off", httpworker.ErrNotAllowed, err)
			}
			return nil
		}
	}
	return d.DialContext
}

// URL returns the address of the server for clients on this machine.
func (s *Server) URL() string {
	scheme := "http"
	if s.cfg.TLSCert != "" {
		scheme = "https"
	}
	addr := s.listener.Addr().(*net.TCPAddr)
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(addr.Port))
}

// WorkerToken returns the fleet token.
func (s *Server) WorkerToken() string { return s.token }

// SetLimits replaces the limits of the tiers while the server runs. The text is as for
// [ParseLimits]. Limits per address and per user do not change.
func (s *Server) SetLimits(text string) error {
	tiers, _, err := s.cfg.tiers(text)
	if err == nil {
		s.Orchestrator.SetTiers(tiers)
	}
	return err
}

// Run serves until ctx ends. It then reports that it is not ready, finishes requests for up to
// ten seconds, ends the background work and closes everything. It returns nil after an orderly
// shutdown.
func (s *Server) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.Close()) }()
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	background := make(chan error, 4)
	go func() { background <- s.Orchestrator.Run(work) }()
	go func() { background <- maintainAccounts(work, s.Accounts, s.cfg.Log) }()
	go func() { background <- s.stopIfReplicaFound(work, stop) }()
	go func() { background <- s.watchSecrets(work) }()
	defer func() {
		stopWork()
		for range cap(background) {
			if e := <-background; e != nil && !errors.Is(e, context.Canceled) {
				err = errors.Join(err, e)
			}
		}
	}()
	web := &http.Server{
		Handler: s.handler, ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 90 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
	}
	connections := httpapi.NewConnections(httpapi.ConnectionLimits{
		Total: maxConnections(), TrustedProxies: s.cfg.TrustedProxies,
	})
	connections.Watch(web)
	listener := connections.Listen(s.listener)
	served := make(chan error, 1)
	go func() {
		if s.cfg.TLSCert != "" {
			served <- web.ServeTLS(listener, s.cfg.TLSCert, s.cfg.TLSKey)
			return
		}
		served <- web.Serve(listener)
	}()
	s.ready.Store(true)
	s.warn()
	s.banner() // before any step that can fail: the banner may show the only copy of a password
	simulated, err := s.simulate(work)
	if err != nil {
		return errors.Join(err, web.Close())
	}
	defer simulated()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	s.ready.Store(false)
	s.stopStreams()
	s.cfg.Log.Info("server stopping", "grace", shutdownTimeout)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if errors.Is(context.Cause(ctx), errNotAlone) {
		err = errNotAlone
	}
	if e := web.Shutdown(grace); e != nil {
		s.cfg.Log.Warn("requests cut off", "error", e)
		return errors.Join(err, web.Close())
	}
	return err
}

var errNotAlone = errors.New("another replica works on the same store: give all of them the same --fabric redis://…, or run one only")

// stopIfReplicaFound stops a server without a shared Coordination when it finds a replica that
// started earlier. Limits and routes of the two would differ.
func (s *Server) stopIfReplicaFound(ctx context.Context, stop context.CancelCauseFunc) error {
	if !s.backend.Shared() || s.cfg.Coordination != "memory:" {
		return nil
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			if s.Orchestrator.OlderReplicaSeen() {
				stop(errNotAlone)
				return nil
			}
		}
	}
}

// maintainAccounts removes expired rows of accounts once a minute, until ctx ends.
func maintainAccounts(ctx context.Context, a *accounts.Accounts, log *slog.Logger) error {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		if err := a.Maintain(ctx); err != nil && ctx.Err() == nil {
			log.Error("account maintenance failed", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// banner prints the address, the store, and on the first run what to do next.
func (s *Server) banner() {
	out := s.cfg.Out
	fmt.Fprintf(out, "Switchyard %s listens on %s\n  store    %s\n  fabric   %s\n", s.cfg.Version, s.URL(), backend.Name(s.cfg.Store), coordinationName(s.cfg.Coordination))
	if s.cfg.SimulatedWorkers > 0 {
		fmt.Fprintf(out, "  workers  %d simulated, in this process\n", s.cfg.SimulatedWorkers)
	}
	if !s.firstRun {
		return
	}
	once, password := " The password is shown this once.", s.password
	if password == "" {
		once, password = "", "(the one that was given)"
	}
	fmt.Fprintf(out, `
First run: an administrator was made.%[4]s
  email     %[1]s
  password  %[2]s

Try next:
%[3]s
`, s.cfg.AdminEmail, password, s.nextSteps(), once)
}

// nextSteps returns the commands that a first run suggests.
func (s *Server) nextSteps() string {
	if s.cfg.Registration == RegistrationClosed {
		return fmt.Sprintf(`  switchyard user create --store %[1]s --email ada@example.com --name Ada    # asks for a password
  curl -s %[2]s/api/v1/auth/login -H 'Content-Type: application/json' -d @-    # reads {"email":"…","password":"…"}
`, backend.Name(s.cfg.Store), s.URL())
	}
	return fmt.Sprintf(`  curl -s %[1]s/api/v1/auth/register -H 'Content-Type: application/json' \
    -d '{"name":"Ada","email":"ada@example.com","password":"correct-horse-1"}'
  curl -s %[1]s/api/v1/sessions -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
    -d '{"name":"Support line"}'        # TOKEN is the token of the answer to the first
`, s.URL())
}

func coordinationName(fabric string) string {
	if fabric == "memory:" {
		return "in process"
	}
	return backend.Name(fabric)
}

// Close closes the listener and the store. Run calls it.
func (s *Server) Close() error {
	var errs []error
	if s.listener != nil {
		if err := s.listener.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if s.Accounts != nil {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
		defer cancel()
		errs = append(errs, s.Accounts.Close(ctx))
	}
	if s.gateway != nil {
		errs = append(errs, s.gateway.Close())
	}
	if s.webhooks != nil {
		errs = append(errs, s.webhooks.Close())
	}
	return errors.Join(append(errs, s.backend.Close())...)
}

// ParseProxies returns the prefixes of a list of addresses and networks.
func ParseProxies(list []string) (prefixes []netip.Prefix, err error) {
	var errs []error
	for _, text := range list {
		if p, err := netip.ParsePrefix(text); err == nil {
			prefixes = append(prefixes, p)
		} else if a, err := netip.ParseAddr(text); err == nil {
			prefixes = append(prefixes, netip.PrefixFrom(a, a.BitLen()))
		} else {
			errs = append(errs, fmt.Errorf("--trusted-proxies: %q is no address or network such as 10.0.0.0/8", text))
		}
	}
	return prefixes, errors.Join(errs...)
}
