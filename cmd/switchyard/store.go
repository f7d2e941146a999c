package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/switchyard-wa/switchyard/app/accounts"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/app/server"
	"github.com/switchyard-wa/switchyard/domain"
)

const (
	defaultStore       = "sqlite:switchyard.db"
	secretsFileDefault = "beside the SQLite file, or switchyard.secrets"
)

// migrate runs the command migrate.
func migrate(ctx context.Context, args []string, out, errOut io.Writer) error {
	store := defaultStore
	f := newFlags("migrate", "up|status", "Brings a store's schema up to date, or tells its state.", out)
	f.dsn(&store, "store", defaultStore, "the store")
	if err := f.parse(args); err != nil {
		return err
	}
	var errs []error
	if !f.unsure && (len(f.words) != 1 || f.words[0] != "up" && f.words[0] != "status") {
		errs = append(errs, errors.New("say either up or status"))
	}
	if err := f.bad(errors.Join(append(errs, backend.Check(store))...)); err != nil {
		return err
	}
	f.printExposed(errOut)
	if f.words[0] == "up" {
		b, err := backend.Open(ctx, store)
		if err != nil {
			return err
		}
		if err := b.Close(); err != nil {
			return err
		}
	}
	st, err := backend.Status(ctx, store)
	if err != nil {
		return err
	}
	if st.Version > st.Latest {
		return fmt.Errorf("schema version %d is newer than %d, the latest of this program; use the version that wrote it", st.Version, st.Latest)
	}
	state := "up to date"
	if st.Version < st.Latest {
		state = fmt.Sprintf("%d to apply; run: switchyard migrate up", st.Latest-st.Version)
	}
	fmt.Fprintf(out, "schema version %d of %d, %s\n", st.Version, st.Latest, state)
	return nil
}

// token runs the command token.
func token(ctx context.Context, args []string, out, errOut io.Writer) error {
	store, file := defaultStore, ""
	f := newFlags("token", "", "Prints the fleet token that workers of this store's server send.\nIt does not apply to a server that runs with --worker-token.", out)
	f.dsn(&store, "store", defaultStore, "the store")
	f.text(&file, "secrets-file", "FILE", secretsFileDefault, "as for serve")
	if err := f.parse(args); err != nil {
		return err
	}
	if err := f.bad(errors.Join(f.noWords(), backend.Check(store), server.CheckSecretsFile(store, file))); err != nil {
		return err
	}
	f.printExposed(errOut)
	text, err := server.ShowWorkerToken(ctx, server.Config{Store: store, SecretsFile: file})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, text)
	return nil
}

// user runs the command user.
func user(ctx context.Context, args []string, out, errOut io.Writer) error {
	store, email, name, password, tier, admin := defaultStore, "", "", "", "", false
	f := newFlags("user", "create|set-tier|set-password", "Creates a user, or sets its tier or password. A server that runs notices within a second.", out)
	f.dsn(&store, "store", defaultStore, "the store")
	f.text(&email, "email", "EMAIL", "", "the user")
	f.text(&name, "name", "NAME", "", "for create")
	f.secret(&password, "password", "PASSWORD", "asked for, or a line of standard input", "for create and set-password")
	f.help("password-file", "FILE", "", "the same, in the first line of a file")
	f.text(&tier, "tier", "TIER", "BASIC for create", "for create and set-tier: BASIC, PRO or MAX")
	f.bit(&admin, "admin", "false", "for create: make it an administrator")
	if err := f.parse(args); err != nil {
		return err
	}
	tier = strings.ToUpper(tier)
	act, err := userAction(f, name, email, tier, admin, out)
	var errs []error
	if !f.unsure {
		errs = append(errs, err)
	}
	if email == "" {
		errs = append(errs, errors.New("--email is required"))
	}
	if err := f.bad(errors.Join(append(errs, backend.Check(store))...)); err != nil {
		return err
	}
	f.printExposed(errOut)
	if f.words[0] != "set-tier" && password == "" {
		password, err = readPassword(ctx, errOut)
		if errors.Is(err, errNoPassword) {
			return f.bad(err)
		}
		if err != nil {
			return err
		}
	}
	err = server.Administer(ctx, server.Config{Store: store, Log: slog.New(slog.DiscardHandler)}, func(ctx context.Context, a *accounts.Accounts) error { return act(a, ctx, password) })
	var problem *domain.Error
	if errors.As(err, &problem) && problem.Kind != domain.Internal {
		return plain(problem)
	}
	return err
}

// userAction returns the action of the command user, or an error for words and
// flags that do not fit together.
func userAction(f *flags, name, email, tier string, admin bool, out io.Writer) (func(*accounts.Accounts, context.Context, string) error, error) {
	if len(f.words) != 1 {
		return nil, errors.New("say one of create, set-tier and set-password")
	}
	switch f.words[0] {
	case "create":
		role := domain.RoleUser
		if admin {
			role = domain.RoleAdministrator
		}
		return func(a *accounts.Accounts, ctx context.Context, password string) error {
			u, err := a.CreateUser(ctx, name, email, password, domain.Tier(tier), role)
			if err == nil {
				fmt.Fprintf(out, "user %s created: %s, %s, %s\n", u.ID, u.Email, u.Tier, u.Role)
			}
			return err
		}, nil
	case "set-tier":
		if tier == "" {
			return nil, errors.New("--tier is required: BASIC, PRO or MAX")
		}
		return func(a *accounts.Accounts, ctx context.Context, _ string) error {
			err := a.SetTier(ctx, email, domain.Tier(tier))
			if err == nil {
				fmt.Fprintf(out, "%s is %s now\n", email, tier)
			}
			return err
		}, nil
	case "set-password":
		return func(a *accounts.Accounts, ctx context.Context, password string) error {
			err := a.SetPassword(ctx, email, password)
			if err == nil {
				fmt.Fprintf(out, "the password of %s is set; its sign-ins have ended\n", email)
			}
			return err
		}, nil
	}
	return nil, fmt.Errorf("%q is none of create, set-tier and set-password", f.words[0])
}

// plain returns a domain error in a form for the command line.
func plain(e *domain.Error) error {
	if len(e.Fields) == 0 {
		return errors.New(e.Message)
	}
	var errs []error
	for _, p := range e.Fields {
		errs = append(errs, fmt.Errorf("--%s: %s", p.Field, p.Message))
	}
	return &usageError{errors.Join(errs...)}
}
