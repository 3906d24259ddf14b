// Package options reads the flags of `k3s server` and `k3s agent` the way K3s does: files
// first, then the command line, then the environment for what is still unset.
package options

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Values is what was set, by long flag name.
type Values struct {
	table []Flag
	set   map[string][]string
	// Warnings are to be logged once the logger is up.
	Warnings []string
}

// collector is the flag.Value that records into Values.
type collector struct {
	v *Values
	f Flag
}

func (c collector) String() string   { return "" }
func (c collector) IsBoolFlag() bool { return c.f.Kind == Bool }

// Set checks the kind and records the value; a scalar's last value wins.
func (c collector) Set(s string) error {
	switch c.f.Kind {
	case Bool:
		if _, err := strconv.ParseBool(s); err != nil {
			return fmt.Errorf("parse error")
		}
	case Int:
		if _, err := strconv.Atoi(s); err != nil {
			return fmt.Errorf("parse error")
		}
	}
	if c.f.Kind != Slice {
		c.v.set[c.f.Name] = []string{s}
		return nil
	}
	parts := []string{s}
	if c.f.Commas {
		parts = strings.Split(s, ",")
	}
	for _, p := range parts {
		if p = strings.TrimSpace(p); p != "" || !c.f.Commas {
			c.v.set[c.f.Name] = append(c.v.set[c.f.Name], p)
		}
	}
	return nil
}

// Parse reads the arguments after `k3s server` or `k3s agent`, the configuration files that
// they or the environment name, and the environment.
func Parse(table []Flag, args []string, getenv func(string) string) (*Values, error) {
	cli := &Values{table: table, set: map[string][]string{}}
	fs := cli.flagSet()
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q after the flags", fs.Arg(0))
	}
	config, explicit := cli.String("config"), cli.IsSet("config")
	if e := getenv("K3S_CONFIG_FILE"); !explicit && e != "" {
		config, explicit = e, true
	}
	fromFiles, err := ReadFiles(config, explicit)
	if err != nil {
		return nil, err
	}
	v := &Values{table: table, set: map[string][]string{}}
	all := v.flagSet()
	for _, a := range fromFiles {
		f, known := lookup(table, a.Name)
		if !known {
			v.Warnings = append(v.Warnings, fmt.Sprintf("Unknown flag --%s found in %s, skipping", a.Name, a.Source))
			continue
		}
		if f.Kind == Slice && cli.IsSet(f.Name) {
			return nil, fmt.Errorf("list flag --%s is set in %s and on the command line: K3s's code and documents disagree on what that means (stand-in refuses)", f.Name, a.Source)
		}
		if err := all.Set(a.Name, a.Value); err != nil {
			return nil, fmt.Errorf("invalid value %q for flag -%s: %w (in %s)", a.Value, a.Name, err, a.Source)
		}
	}
	for name, values := range cli.set {
		v.set[name] = values
	}
	for _, f := range table {
		if e := getenv(f.Env); f.Env != "" && e != "" && !v.IsSet(f.Name) {
			if err := all.Set(f.Name, e); err != nil {
				return nil, fmt.Errorf("invalid value %q for environment variable %s: %w", e, f.Env, err)
			}
		}
	}
	return v, v.refuse()
}

// refuse is loud about every flag that K3s has and the stand-in has not.
func (v *Values) refuse() error {
	for _, f := range v.table {
		if !v.IsSet(f.Name) || (f.Kind == Bool && !v.Bool(f.Name)) {
			continue
		}
		switch f.Support {
		case Refused:
			return fmt.Errorf("--%s is not built in this stand-in", f.Name)
		case Idle:
			v.Warnings = append(v.Warnings, fmt.Sprintf("stand-in: --%s is accepted, but the part that it sets does not exist here", f.Name))
		}
	}
	return nil
}

func (v *Values) flagSet() *flag.FlagSet {
	fs := flag.NewFlagSet("server", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	for _, f := range v.table {
		fs.Var(collector{v, f}, f.Name, "")
		if f.Short != "" {
			fs.Var(collector{v, f}, f.Short, "")
		}
	}
	return fs
}

// IsSet says whether anything but the default is in force.
func (v *Values) IsSet(name string) bool { return len(v.set[name]) > 0 }

// String is the flag's value or its default.
func (v *Values) String(name string) string {
	if s := v.set[name]; len(s) > 0 {
		return s[len(s)-1]
	}
	return v.must(name).Default
}

// Bool is the flag's value or its default.
func (v *Values) Bool(name string) bool {
	b, _ := strconv.ParseBool(v.String(name))
	return b
}

// Int is the flag's value or its default.
func (v *Values) Int(name string) int {
	i, _ := strconv.Atoi(v.String(name))
	return i
}

// Slice is the flag's values or its default as the only one.
func (v *Values) Slice(name string) []string {
	if s := v.set[name]; len(s) > 0 {
		return s
	}
	if d := v.must(name).Default; d != "" {
		return []string{d}
	}
	return nil
}

func (v *Values) must(name string) Flag {
	f, ok := lookup(v.table, name)
	if !ok {
		panic("no such flag in the table: " + name)
	}
	return f
}

// Usage is the text of `--help`.
func Usage(w io.Writer, table []Flag) {
	fmt.Fprintln(w, "OPTIONS:")
	for _, f := range table {
		note := ""
		switch f.Support {
		case Refused:
			note = "  (not built in this stand-in)"
		case Idle:
			note = "  (accepted, without effect in this stand-in)"
		}
		short, env, def := "", "", ""
		if f.Short != "" {
			short = ", -" + f.Short
		}
		if f.Env != "" {
			env = " [$" + f.Env + "]"
		}
		if f.Default != "" {
			def = " (default: " + f.Default + ")"
		}
		fmt.Fprintf(w, "   --%s%s%s%s%s\n", f.Name, short, def, env, note)
	}
}

// Getenv is os.Getenv, but an empty name has no value.
func Getenv(name string) string {
	if name == "" {
		return ""
	}
	return os.Getenv(name)
}
