package gobuild

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// GoFlags are flags of the go command that a build takes. The rest of its flags
// come by GOFLAGS, from the environment or go env -w, where they count as for go
// build.
type GoFlags struct {
	Tags    []string
	LDFlags string   // of the linker, beside those that images need
	Whole   bool     // -trimpath=false: with the paths of the host's files
	Others  []string // passed on: -mod=mod, -gcflags=... and so on
}

// refused are flags that a unikernel cannot be built with, or that the build sets
// itself.
var refused = []string{"asmflags", "overlay", "buildmode", "race", "msan", "asan", "cover", "covermode", "coverpkg", "toolexec", "compiler",
	"linkshared", "installsuffix", "pkgdir", "gccgoflags", "o", "exec", "n"}

// honour takes the user's GOFLAGS apart: what the build sets too is joined with
// it, and what it cannot honour is an error. An option of gocat build's comes
// before, as a flag of go build does.
func (t *toolchain) honour(ctx context.Context, c Config) (Config, error) {
	out, err := t.run(ctx, c.Dir, "env", "GOFLAGS")
	if err != nil {
		return c, err
	}
	all, err := words(strings.TrimSpace(string(out)))
	if err != nil {
		return c, fmt.Errorf("GOFLAGS: %w", err)
	}
	var rest []string
	for _, f := range all {
		name, value, given := strings.Cut(strings.TrimLeft(f, "-"), "=")
		switch {
		case slices.Contains(refused, name) && value != "false":
			return c, fmt.Errorf("GOFLAGS has %s, with which no unikernel can be built", f)
		case name == "tags":
			if c.Tags == nil {
				c.Tags = strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
			}
		case name == "ldflags":
			if c.LDFlags == "" {
				c.LDFlags = value
			}
		case name == "trimpath":
			c.Whole = c.Whole || given && value == "false"
		default:
			rest = append(rest, quote(f))
		}
	}
	t.env = append(slices.Clip(t.env), "GOFLAGS="+strings.Join(rest, " "))
	return c, nil
}

// linkerFlags joins the user's flags of the linker with those that images need.
func (c Config) linkerFlags(own string) (string, error) {
	user, err := words(c.LDFlags)
	if err != nil {
		return "", fmt.Errorf("-ldflags: %w", err)
	}
	if len(user) > 0 && !strings.HasPrefix(user[0], "-") {
		return "", fmt.Errorf("-ldflags=%s: flags for some packages alone (PATTERN=FLAGS) are not taken", c.LDFlags)
	}
	all := []string{own}
	for _, f := range user {
		switch name, _, _ := strings.Cut(strings.TrimLeft(f, "-"), "="); name {
		case "s", "w": // an image has no symbols anyway; the linked program needs them until it is checked
			continue
		case "T", "E", "R", "linkmode", "buildmode", "extld", "extldflags", "d", "race", "msan", "asan", "H":
			return "", fmt.Errorf("-ldflags: %s cannot be used for a unikernel", f)
		}
		all = append(all, quote(f))
	}
	return strings.Join(all, " "), nil
}

// words takes apart a list as the go command does: at spaces, except inside
// quotes of either kind.
func words(s string) (all []string, err error) {
	for {
		s = strings.TrimLeft(s, " \t\n\r")
		if s == "" {
			return all, nil
		}
		if q := s[0]; q == '"' || q == '\'' {
			end := strings.IndexByte(s[1:], q)
			if end < 0 {
				return nil, fmt.Errorf("no closing %c in %s", q, s)
			}
			all, s = append(all, s[1:1+end]), s[end+2:]
			continue
		}
		end := strings.IndexAny(s, " \t\n\r")
		if end < 0 {
			end = len(s)
		}
		all, s = append(all, s[:end]), s[end:]
	}
}

// quote is the converse of words, for one of them.
func quote(s string) string {
	switch {
	case !strings.ContainsAny(s, " \t\n\r'\"") && s != "":
		return s
	case !strings.Contains(s, "'"):
		return "'" + s + "'"
	}
	return `"` + s + `"`
}
