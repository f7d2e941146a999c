package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/peterbourgon/ff/v3"
)

// errHelp says that help was asked for and given.
var errHelp = flag.ErrHelp

// helped is errHelp with the flags that help was given for.
type helped struct{ flags *flags }

func (h *helped) Error() string { return errHelp.Error() }
func (h *helped) Unwrap() error { return errHelp }

// usageError is a command line that cannot be carried out.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// flags reads a command's flags from the command line, the environment and a
// file, in this order of precedence, and collects every value that is wrong
// instead of stopping at the first.
type flags struct {
	*flag.FlagSet
	words    []string // beside the flags
	unsure   bool     // an unknown flag leaves open what is a word and what a value
	problems []error
	shown    strings.Builder
	out      io.Writer
}

// newFlags begins the flags of a command. words shows what the command takes
// beside them.
func newFlags(name, words, about string, out io.Writer) *flags {
	f := &flags{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError), out: out}
	f.SetOutput(io.Discard)
	f.String("config", "", "")
	head := "switchyard " + name
	if words != "" {
		head += " " + words
	}
	fmt.Fprintf(&f.shown, "Usage: %s [flags]\n\n%s\n\n", head, about)
	f.help("config", "FILE", "none", "read the same names, one \"name value\" a line, from a file")
	return f
}

func (f *flags) help(name, value, standard, about string) {
	left := "--" + name
	if value != "" {
		left += " " + value
	}
	if standard != "" {
		about += " (" + standard + ")"
	}
	if len(left) > 26 {
		fmt.Fprintf(&f.shown, "  %s\n  %-26s %s\n", left, "", about)
		return
	}
	fmt.Fprintf(&f.shown, "  %-26s %s\n", left, about)
}

// value is a flag whose bad values are collected.
type value struct {
	set   func(string) error
	name  string
	all   *[]error
	isBit bool
	text  string
}

func (v *value) String() string   { return v.text }
func (v *value) IsBoolFlag() bool { return v.isBit }
func (v *value) Set(s string) error {
	v.text = s
	if err := v.set(s); err != nil {
		*v.all = append(*v.all, fmt.Errorf("--%s: %w", v.name, err))
	}
	return nil
}

func (f *flags) add(name string, isBit bool, set func(string) error) {
	f.Var(&value{set: set, name: name, all: &f.problems, isBit: isBit}, name, "")
}

func (f *flags) text(to *string, name, value, standard, about string) {
	f.help(name, value, standard, about)
	f.add(name, false, func(s string) error { *to = s; return nil })
}

func (f *flags) list(to *[]string, name, value, about string) {
	f.help(name, value, "none", about)
	f.add(name, false, func(s string) error {
		*to = nil
		for part := range strings.SplitSeq(s, ",") {
			if part = strings.TrimSpace(part); part != "" {
				*to = append(*to, part)
			}
		}
		return nil
	})
}

func (f *flags) number(to *int, name, standard, about string) {
	f.help(name, "N", standard, about)
	f.add(name, false, func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", s)
		}
		*to = n
		return nil
	})
}

func (f *flags) fraction(to *float64, name, standard, about string) {
	f.help(name, "0…1", standard, about)
	f.add(name, false, func(s string) (err error) {
		if *to, err = strconv.ParseFloat(s, 64); err != nil || !(*to >= 0 && *to <= 1) {
			return fmt.Errorf("%q is not a number from 0 to 1", s)
		}
		return nil
	})
}

func (f *flags) duration(to *time.Duration, name, standard, about string) {
	f.span(to, 1, name, standard, about)
}

// delay is a duration that may be 0.
func (f *flags) delay(to *time.Duration, name, standard, about string) {
	f.span(to, 0, name, standard, about)
}

func (f *flags) span(to *time.Duration, least time.Duration, name, standard, about string) {
	f.help(name, "TIME", standard, about)
	f.add(name, false, func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < least {
			return fmt.Errorf("%q is not a time such as 500ms, 5s or 1m", s)
		}
		*to = d
		return nil
	})
}

func (f *flags) bit(to *bool, name, standard, about string) {
	f.help(name, "", standard, about)
	f.add(name, true, func(s string) (err error) {
		if *to, err = strconv.ParseBool(s); err != nil {
			return fmt.Errorf("%q is neither true nor false", s)
		}
		return nil
	})
}

// parse reads the flags; words beside them are kept in f.words, wherever they
// stand. It returns an error only if help was asked for: what is wrong is told
// by bad, together with whatever else the command finds.
func (f *flags) parse(args []string) error {
	err := ff.Parse(f.FlagSet, f.sort(args),
		ff.WithEnvVarPrefix("SWITCHYARD"), ff.WithConfigFileFlag("config"), ff.WithConfigFileParser(f.file),
		ff.WithIgnoreUndefined(true)) // a file or environment may serve several commands
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(f.out, f.shown.String())
		return &helped{f}
	case err != nil: // the file's, as flags collect their own
		f.problems = append(f.problems, fmt.Errorf("--config: %w", err))
	}
	return nil
}

// sort tells flags and words apart. It reports flags that there are not and
// leaves them out, with a word that follows, which may be the value.
func (f *flags) sort(args []string) (known []string) {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			f.words = append(f.words, args...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			f.words = append(f.words, arg)
			continue
		}
		name, _, hasValue := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		found := f.Lookup(name)
		switch {
		case name == "help" || name == "h":
			return []string{"--help"}
		case found == nil:
			f.problems = append(f.problems, fmt.Errorf("--%s is not a flag of %s", name, f.Name()))
			if !hasValue && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
				f.unsure, args = true, args[1:]
			}
			continue
		case hasValue || isBit(found):
		case len(args) == 0:
			f.problems = append(f.problems, fmt.Errorf("--%s needs a value", name))
			continue
		default:
			known = append(known, arg)
			arg, args = args[0], args[1:]
		}
		known = append(known, arg)
	}
	return known
}

func isBit(f *flag.Flag) bool {
	v, ours := f.Value.(*value)
	return ours && v.isBit
}

// file parses a configuration file. Names that no command has are mistakes.
func (f *flags) file(r io.Reader, set func(name, value string) error) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	known := everyFlag()
	return ff.PlainParser(bytes.NewReader(text), func(name, value string) error {
		if !known[name] {
			f.problems = append(f.problems, fmt.Errorf("--config: %s: %q is not a flag of any command", f.Lookup("config").Value, name))
		}
		return set(name, value)
	})
}

// everyFlag gives the names that a configuration file may have: those of the
// flags of all commands, and of their twins in the environment.
func everyFlag() map[string]bool {
	known := make(map[string]bool)
	for _, c := range commands() {
		var h *helped
		if errors.As(c.run(context.Background(), []string{"--help"}, io.Discard, io.Discard), &h) {
			h.flags.VisitAll(func(f *flag.Flag) {
				known[f.Name] = true
				known["SWITCHYARD_"+strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))] = true
			})
		}
	}
	return known
}

// bad returns every problem so far, and those given, as one usage error.
func (f *flags) bad(more error) error {
	if all := errors.Join(append(f.problems, more)...); all != nil {
		return &usageError{all}
	}
	return nil
}

// noWords refuses words where a command takes none.
func (f *flags) noWords() error {
	if len(f.words) > 0 && !f.unsure {
		return fmt.Errorf("%q is not a flag", f.words[0])
	}
	return nil
}
