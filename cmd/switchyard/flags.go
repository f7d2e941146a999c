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

	"github.com/switchyard-wa/switchyard/domain"
)

// errHelp is the error of a command that printed its help.
var errHelp = flag.ErrHelp

// helped wraps errHelp and carries the flags of the command.
type helped struct{ flags *flags }

func (h *helped) Error() string { return errHelp.Error() }
func (h *helped) Unwrap() error { return errHelp }

// usageError is the error of a command line that cannot be executed.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// flags reads the flags of a command from the command line, the environment and a
// file, in this order of precedence. It collects every invalid value instead of
// stopping at the first.
type flags struct {
	*flag.FlagSet
	words    []string // arguments that are not flags
	unsure   bool     // an unknown flag makes it unclear which arguments are words
	problems []error
	secrets  []*secretFlag
	shown    strings.Builder
	out      io.Writer
}

// newFlags returns the flags of a command, with --config. words shows the
// arguments of the command in its help.
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

// help appends a flag to the help text.
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

// note appends a paragraph to the help text.
func (f *flags) note(text string) { fmt.Fprintf(&f.shown, "\n%s\n", text) }

// value implements flag.Value. It collects its errors instead of returning them.
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

// add defines a flag.
func (f *flags) add(name string, isBit bool, set func(string) error) {
	f.Var(&value{set: set, name: name, all: &f.problems, isBit: isBit}, name, "")
}

// text defines a flag with any text.
func (f *flags) text(to *string, name, value, standard, about string) {
	f.help(name, value, standard, about)
	f.add(name, false, func(s string) error { *to = s; return nil })
}

// list defines a flag with texts between commas.
func (f *flags) list(to *[]string, name, value, about string) {
	f.help(name, value, "none", about)
	f.add(name, false, func(s string) error {
		*to = nil
		for part := range strings.SplitSeq(s, ",") {
			part = strings.TrimSpace(part)
			if part != "" {
				*to = append(*to, part)
			}
		}
		return nil
	})
}

// number defines a flag with an integer.
func (f *flags) number(to *int, name, standard, about string) {
	f.help(name, "N", standard, about)
	f.add(name, false, func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", s)
		}
		if n < 0 {
			return fmt.Errorf("%d is negative; use 0 or more", n)
		}
		*to = n
		return nil
	})
}

// fraction defines a flag with a number from 0 to 1.
func (f *flags) fraction(to *float64, name, standard, about string) {
	f.help(name, "0…1", standard, about)
	f.add(name, false, func(s string) (err error) {
		*to, err = strconv.ParseFloat(s, 64)
		if err != nil || !(*to >= 0 && *to <= 1) {
			return fmt.Errorf("%q is not a number from 0 to 1", s)
		}
		return nil
	})
}

// duration defines a flag with a positive duration.
func (f *flags) duration(to *time.Duration, name, standard, about string) {
	f.span(to, 1, name, standard, about)
}

// delay defines a flag with a duration that may be 0.
func (f *flags) delay(to *time.Duration, name, standard, about string) {
	f.span(to, 0, name, standard, about)
}

// delays defines a flag with positive durations between commas, at most 20 of them.
func (f *flags) delays(to *[]time.Duration, name, standard, about string) {
	f.help(name, "TIME,…", standard, about)
	f.add(name, false, func(s string) error {
		*to = nil
		for part := range strings.SplitSeq(s, ",") {
			d, err := parseDuration(strings.TrimSpace(part))
			if err != nil || d <= 0 || len(*to) == 20 {
				return fmt.Errorf("%q is not a list of up to 20 times such as 5s,30s,2m", s)
			}
			*to = append(*to, d)
		}
		return nil
	})
}

// span defines a flag with a duration of at least the given length.
func (f *flags) span(to *time.Duration, least time.Duration, name, standard, about string) {
	f.help(name, "TIME", standard, about)
	f.add(name, false, func(s string) error {
		d, err := parseDuration(s)
		if err != nil || d < least {
			return fmt.Errorf("%q is not a time such as 500ms, 5s, 1m or 90d", s)
		}
		*to = d
		return nil
	})
}

// retention defines a flag with one time for all tiers, or one for each tier.
func (f *flags) retention(to *map[domain.Tier]time.Duration, name, standard, about string) {
	f.help(name, "TIME", standard, about)
	f.add(name, false, func(s string) error {
		*to = make(map[domain.Tier]time.Duration)
		for part := range strings.SplitSeq(s, ",") {
			tier, text, isOfTier := strings.Cut(strings.TrimSpace(part), "=")
			tiers := []domain.Tier{domain.Tier(strings.ToUpper(tier))}
			if !isOfTier {
				tiers, text = []domain.Tier{domain.TierBasic, domain.TierPro, domain.TierMax}, tier
			}
			d, err := parseDuration(text)
			if text != "forever" && (err != nil || d <= 0) {
				return fmt.Errorf("%q is neither a time such as 90d, nor forever, nor TIER=TIME", part)
			}
			for _, t := range tiers {
				(*to)[t] = d
			}
		}
		return nil
	})
}

// parseDuration is time.ParseDuration with whole days, as in 90d.
func parseDuration(s string) (time.Duration, error) {
	days, hasDays := strings.CutSuffix(s, "d")
	if !hasDays {
		return time.ParseDuration(s)
	}
	const most = 100 * 365
	n, err := strconv.Atoi(days)
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("%q is not a number of days", s)
	}
	return time.Duration(n) * 24 * time.Hour, nil
}

// bit defines a flag with a boolean. The flag may stand without a value.
func (f *flags) bit(to *bool, name, standard, about string) {
	f.help(name, "", standard, about)
	f.add(name, true, func(s string) (err error) {
		*to, err = strconv.ParseBool(s)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", s)
		}
		return nil
	})
}

// parse reads the flags. It stores other arguments in f.words, wherever they
// stand. It returns an error only after it printed the help. bad returns the
// problems, together with those that the command finds.
func (f *flags) parse(args []string) error {
	err := ff.Parse(f.FlagSet, f.sort(args),
		ff.WithEnvVarPrefix("SWITCHYARD"), ff.WithConfigFileFlag("config"), ff.WithConfigFileParser(f.file),
		ff.WithIgnoreUndefined(true)) // a file or environment may serve several commands
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(f.out, f.shown.String())
		return &helped{f}
	case err != nil: // an error of the file, because flags collect their own
		f.problems = append(f.problems, fmt.Errorf("--config: %w", err))
	}
	f.readSecrets(args)
	return nil
}

// sort separates flags from words. It reports unknown flags and drops them. It
// also drops a word behind an unknown flag, which may be its value.
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

// isBit reports whether a flag is a boolean.
func isBit(f *flag.Flag) bool {
	v, ours := f.Value.(*value)
	return ours && v.isBit
}

// file parses a configuration file. A name that no command has is a problem.
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

// everyFlag returns the names that a configuration file may contain: the flags of
// all commands, and their names in the environment.
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

// bad returns all problems and more as one usage error, or nil.
func (f *flags) bad(more error) error {
	if all := errors.Join(append(f.problems, more)...); all != nil {
		return &usageError{all}
	}
	return nil
}

// noWords returns an error if there are words, for a command that takes none.
func (f *flags) noWords() error {
	if len(f.words) > 0 && !f.unsure {
		return fmt.Errorf("%q is not a flag", f.words[0])
	}
	return nil
}
