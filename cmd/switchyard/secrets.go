package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"
)

// secretFlag is a flag with a secret and its twin, whose name ends with -file.
type secretFlag struct {
	name     string
	to       *string
	file     string // value of the twin
	isSecret func(value string) bool
	exposed  bool // the secret is on the command line, where other users of the machine see it
}

// secret defines a flag with a secret, and its twin that names a file with the secret.
func (f *flags) secret(to *string, name, value, standard, about string) {
	f.addSecret(to, name, func(s string) bool { return s != "" })
	f.help(name, value, standard, about)
}

// dsn defines a flag with a data source name, which may hold a password, and its twin.
func (f *flags) dsn(to *string, name, standard, about string) {
	f.addSecret(to, name, hasPassword)
	f.help(name, "DSN", standard, about)
}

func (f *flags) addSecret(to *string, name string, isSecret func(string) bool) {
	s := &secretFlag{name: name, to: to, isSecret: isSecret}
	f.secrets = append(f.secrets, s)
	f.add(name, false, func(text string) error { *to = text; return nil })
	f.add(name+"-file", false, func(path string) error { s.file = path; return nil })
}

// hasPassword reports whether a data source name, as a URL or as key=value pairs, holds a password.
func hasPassword(dsn string) bool {
	u, err := url.Parse(dsn)
	if err != nil || u.User == nil {
		return strings.Contains(dsn, "password=")
	}
	_, has := u.User.Password()
	return has
}

// readSecrets reads the files of secrets.
func (f *flags) readSecrets(args []string) {
	for _, s := range f.secrets {
		s.exposed = s.isSecret(*s.to) && slices.ContainsFunc(args, func(arg string) bool {
			name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
			return strings.HasPrefix(arg, "-") && name == s.name
		})
		if s.file == "" {
			continue
		}
		given := f.Lookup(s.name).Value.String() != ""
		text, err := readSecret(s.file)
		switch {
		case given:
			f.problems = append(f.problems, fmt.Errorf("--%s and --%[1]s-file: give one of them", s.name))
		case err != nil:
			f.problems = append(f.problems, fmt.Errorf("--%s-file: %w", s.name, err))
		default:
			*s.to = text
		}
	}
}

// readSecret returns the first line of a file.
func readSecret(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, 64<<10))
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	line = strings.TrimRight(line, "\r")
	if line == "" {
		return "", fmt.Errorf("the first line of %s is empty", path)
	}
	return line, nil
}

// exposed returns the flags whose secrets stand on the command line.
func (f *flags) exposed() (names []string) {
	for _, s := range f.secrets {
		if s.exposed {
			names = append(names, "--"+s.name)
		}
	}
	return names
}

// warnExposed logs once that other users of the machine see secrets.
func (f *flags) warnExposed(log *slog.Logger) {
	if names := f.exposed(); len(names) > 0 {
		log.Warn("secret on the command line", "flags", strings.Join(names, ","), "instead", "the flag's twin with -file, or the environment")
	}
}

// printExposed writes a warning to errOut that other users see secrets, for commands without a log.
func (f *flags) printExposed(errOut io.Writer) {
	if names := f.exposed(); len(names) > 0 {
		fmt.Fprintf(errOut, "warning: others on this machine can read %s on the command line; use the twin with -file, or the environment\n", strings.Join(names, " and "))
	}
}

// readPassword returns a password. On a terminal it asks twice without echo, otherwise it reads a line of standard input.
func readPassword(ctx context.Context, errOut io.Writer) (string, error) {
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		line, err := bufio.NewReader(os.Stdin).ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		if err != nil && line == "" {
			return "", errNoPassword
		}
		return line, nil
	}
	state, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := askPassword(fd, errOut)
		answers <- answer{text, err}
	}()
	select {
	case a := <-answers:
		return a.text, a.err
	case <-ctx.Done(): // interrupted: the terminal shows again what is typed
		return "", errors.Join(ctx.Err(), term.Restore(fd, state))
	}
}

var errNoPassword = errors.New("a password is required: type it on a terminal, pass a line on standard input, or name a file with --password-file")

// askPassword asks for a new password until both answers are equal.
func askPassword(fd int, out io.Writer) (string, error) {
	for {
		fmt.Fprint(out, "Password: ")
		first, err := term.ReadPassword(fd)
		fmt.Fprintln(out)
		if err != nil {
			return "", err
		}
		fmt.Fprint(out, "Again: ")
		second, err := term.ReadPassword(fd)
		fmt.Fprintln(out)
		if err != nil {
			return "", err
		}
		if string(first) == string(second) {
			return string(first), nil
		}
		fmt.Fprintln(out, "They differ; once more.")
	}
}
