package tender

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"

	"gocat/internal/image"
)

// FuzzParse reads any command line, its arguments apart by NULs. Whatever the
// options, the guest gets the last arguments untouched, settings are in range,
// and an error prints as one line.
func FuzzParse(f *testing.F) {
	for _, line := range []string{
		"--mem=4\x00--net:a=@0\x00--\x00k\x00--mem=1", "--net\x00a=tap0\x00-h", "-\x00--block-sector-size:=\x00", "",
		"--mem\x0070368744177663\x00--cpl=0\x00--net-ring\x00-v\x00k", "--quote\x00k\x00a b\x00\"\\\x00\x00c", "--backend=hvt\x00--eof=zero\x00--guest=simple",
		"--profile=strict\x00--confine=none\x00--net-mtu:a=1\x00--net-mac:a=02:00:00:00:00:01\x00--block:b=/x\x00--block-sector-size:b=512\x00k",
		"--\x00--\x00--", "--mem=\x1b[31m\x00k", "--net=--\x00k",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\x00")
		inv, err := Parse(args, Table())
		if err != nil {
			if said := OneLine(err.Error()); said == "" || strings.ContainsFunc(said, unicode.IsControl) || inv != nil {
				t.Errorf("%q: %q, %+v", args, said, inv)
			}
			return
		}
		if inv.Memory == 0 || inv.Memory%image.MB != 0 || inv.Memory > maxMemory || inv.CPL != 0 && inv.CPL != 3 {
			t.Errorf("%q: %+v", args, inv.Options)
		}
		if inv.Kernel == "" {
			if inv.Args != nil {
				t.Errorf("%q: arguments %q of no kernel", args, inv.Args)
			}
			return
		}
		guest := append([]string{inv.Kernel}, inv.Args...)
		if len(guest) > len(args) || !slices.Equal(guest, args[len(args)-len(guest):]) {
			t.Fatalf("%q: kernel and arguments are %q", args, guest)
		}
		options := args[:len(args)-len(guest)]
		if n := len(options); n == 0 || options[n-1] != "--" {
			again, err := Parse(slices.Concat(options, []string{"--"}, guest), Table())
			if err != nil || !reflect.DeepEqual(again, inv) {
				t.Errorf("%q: %+v; with -- before the kernel %+v, %v", args, inv, again, err)
			}
		}
		inv.Quote = true
		if got := words(inv.CommandLine()); !slices.Equal(got, inv.Args) {
			t.Errorf("%q, quoted as %s, arrives as %q", inv.Args, inv.CommandLine(), got)
		}
	})
}

// words splits a command line at white space, except inside double quotes, as
// guests do.
func words(line string) (all []string) {
	var word []byte
	inWord, quoted := false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quoted && c == '\\':
			i++
			word = append(word, line[i])
		case c == '"':
			inWord, quoted = true, !quoted
		case !quoted && (c == ' ' || c == '\t' || c == '\n'):
			if inWord {
				all = append(all, string(word))
			}
			word, inWord = nil, false
		default:
			word, inWord = append(word, c), true
		}
	}
	if inWord {
		all = append(all, string(word))
	}
	return all
}

// FuzzDropIn gives one option to Solo5's tenders and to gocat: what the former
// take means the same to gocat, and they take all that is spelled as theirs.
func FuzzDropIn(f *testing.F) {
	for _, arg := range []string{
		"--mem=4", "--mem=", "--mem=4x", "--mem=1m", "--net:a=tap0", "--net:a=@3", "--net:=", "--net-mac:a=02:00:00:00:00:01", "--block:b=/dev/sda=1",
		"--block-sector-size:b=4096", "--x-exec-heap", "--x-exec-heap=1", "--no-net-ring", "--net-ring", "--net=a=tap0", "-v", "--net:a:b=c", "--mem:x=4",
	} {
		f.Add(arg, true)
		f.Add(arg, false)
	}
	f.Fuzz(func(t *testing.T, arg string, spt bool) {
		d := DropIn{Prog: "solo5-hvt", Target: image.HVT}
		theirs := []string{"--mem=", "--net:", "--net-mac:", "--block:", "--block-sector-size:", "--no-net-ring"}
		if spt {
			d = DropIn{Prog: "solo5-spt", Target: image.SPT}
			theirs[5] = "--x-exec-heap"
		}
		o := New()
		err := d.set(o, arg)
		inv, gocatErr := Parse([]string{arg, "k"}, Table())
		switch {
		case err == nil && (gocatErr != nil || inv.Kernel != "k" || !reflect.DeepEqual(o, inv.Options)):
			t.Errorf("%s takes %q as %+v, gocat as %+v, %v", d.Prog, arg, o, inv, gocatErr)
		case err != nil && strings.ContainsFunc(OneLine(err.Error()), unicode.IsControl):
			t.Errorf("%s: %q: %q", d.Prog, arg, err)
		case err == errMem && gocatErr == nil && strings.ContainsAny(arg[len(arg)-1:], "mMgGbB"):
			// With a unit, which gocat alone takes.
		case err != nil && gocatErr == nil && slices.ContainsFunc(theirs, func(p string) bool { return strings.HasPrefix(arg, p) }):
			t.Errorf("gocat takes %q, %s says %v", arg, d.Prog, err)
		case errors.Is(err, errUnknown) != !slices.ContainsFunc(theirs, func(p string) bool {
			return arg == p || strings.HasPrefix(arg, p) && strings.HasPrefix(p, "--") && strings.ContainsAny(p[len(p)-1:], ":=")
		}) && err != nil:
			t.Errorf("%s: %q: %v", d.Prog, arg, err)
		}
	})
}
