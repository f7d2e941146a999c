// Command switchyard runs fleets of WhatsApp sessions. Its subcommands run the
// server, a simulated worker and a demonstration, and maintain a server's store.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/switchyard-wa/switchyard/app/backend"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitKilled = 130 // after a second signal
)

// version is set by the build of a release: -ldflags "-X main.version=1.2.3".
var version = ""

// command is a subcommand.
type command struct {
	name, summary string
	run           func(ctx context.Context, args []string, out, errOut io.Writer) error
}

// commands returns the subcommands in the order of the help.
func commands() []command {
	return []command{
		{"serve", "run the server", serve},
		{"worker", "run a simulated worker", worker},
		{"demo", "the whole user journey in this terminal", demo},
		{"migrate", "bring a store's schema up to date, or tell its state", migrate},
		{"user", "create users, set tiers and passwords", user},
		{"token", "print the token that workers send", token},
		{"openapi", "print the OpenAPI document of the HTTP API", openapi},
		{"version", "print the version", printVersion},
	}
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run executes a command line and returns the exit code.
func run(args []string, out, errOut io.Writer) int {
	// The first signal ends the command gracefully, the second at once.
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		<-signals
		stop()
		<-signals
		os.Exit(exitKilled)
	}()
	if len(args) > 1 && args[0] == "help" {
		args = []string{args[1], "--help"}
	}
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" || args[0] == "-help" {
		usage(out)
		if len(args) == 0 {
			return exitUsage
		}
		return exitOK
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		err := c.run(ctx, args[1:], out, errOut)
		var bad *usageError
		if errors.Is(err, backend.ErrForeign) { // the name of the store is wrong
			err = &usageError{err}
		}
		switch {
		case err == nil, errors.Is(err, errHelp):
			return exitOK
		case errors.As(err, &bad):
			fmt.Fprintf(errOut, "switchyard %s: %s\n", c.name, strings.ReplaceAll(bad.Error(), "\n", "\n  "))
			fmt.Fprintf(errOut, "See: switchyard %s --help\n", c.name)
			return exitUsage
		}
		fmt.Fprintf(errOut, "switchyard %s: %v\n", c.name, err)
		return exitFailed
	}
	fmt.Fprintf(errOut, "switchyard: there is no command %q\n", args[0])
	usage(errOut)
	return exitUsage
}

// usage prints the commands.
func usage(w io.Writer) {
	fmt.Fprint(w, "Switchyard runs fleets of WhatsApp sessions.\n\nUsage: switchyard COMMAND [flags]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-9s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\nEvery flag has an environment twin: --store is SWITCHYARD_STORE.\nswitchyard COMMAND --help shows the flags of a command.\n")
}

// printVersion runs the command version.
func printVersion(_ context.Context, args []string, out, _ io.Writer) error {
	f := newFlags("version", "", "Prints the version.", out)
	if err := f.parse(args); err != nil {
		return err
	}
	if err := f.bad(f.noWords()); err != nil {
		return err
	}
	fmt.Fprintln(out, "switchyard", versionText())
	return nil
}

// versionText returns the version of the release or of the module, or dev.
func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}
