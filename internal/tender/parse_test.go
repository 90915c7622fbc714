package tender

import (
	"errors"
	"strings"
	"testing"

	"gocat/internal/device"
	"gocat/internal/guests"
	"gocat/internal/image"
)

func TestParse(t *testing.T) {
	inv, err := Parse([]string{"--mem=4", "--backend", "hvt", "--eof=zero", "--profile=strict", "-quote", "--guest=simple",
		"--quiet-faults", "--x-exec-heap", "--net:a=@0", "--", "k", "--mem=1", "--", "-x"}, Table())
	if err == nil {
		t.Fatalf("-quote, with a single dash, was taken as an option: %+v", inv)
	}
	inv, err = Parse([]string{"--mem=4", "--backend", "hvt", "--eof=zero", "--profile=strict", "--quote", "--guest=simple",
		"--quiet-faults", "--x-exec-heap", "--net:a=@0", "--", "k", "--mem=1", "--", "-x"}, Table())
	if err != nil {
		t.Fatal(err)
	}
	if inv.Kernel != "k" || strings.Join(inv.Args, " ") != "--mem=1 -- -x" {
		t.Errorf("kernel %q, arguments %q", inv.Kernel, inv.Args)
	}
	if inv.Memory != 4<<20 || inv.Backend != image.HVT || inv.EOF != device.EOFZero || inv.Profile != ProfileStrict ||
		!inv.Quote || inv.Variant != guests.Simple || !inv.QuietFaults || !inv.ExecHeap {
		t.Errorf("%+v", inv.Options)
	}
	inv, err = Parse(nil, Table())
	if err != nil || inv.Kernel != "" || inv.Memory != DefaultMemory || inv.Variant != guests.Advanced || inv.Profile != ProfileDefault {
		t.Errorf("defaults: %+v, %v", inv, err)
	}
}

// Both spellings of an option, Solo5's and gocat's, mean the same, and so do
// both ways to give a value. Later settings win, also over those of the bundled
// cat.
func TestSpellings(t *testing.T) {
	attached := func(args ...string) device.Device {
		t.Helper()
		inv, err := Parse(args, Table())
		if err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		m := image.Manifest{{Type: image.Reserved}, {Name: "stdin", Type: image.Net}}
		set, err := device.Prepare(m, &inv.Devices)
		if err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		defer set.Close()
		return set.Devices[0]
	}
	for _, args := range [][]string{
		{"--net:stdin=@5", "--net-mtu:stdin=900"}, {"--net=stdin=@5", "--net-mtu=stdin=900"}, {"--net", "stdin=@5", "--net-mtu", "stdin=900"},
		{"--net:stdin=tap0", "--net-mtu=stdin=1", "--net:stdin=@5", "--net-mtu:stdin=900"},
	} {
		for _, kernel := range [][]string{nil, {"kernel"}} {
			if d := attached(append(args, kernel...)...); d.FD != 5 || d.MTU != 900 {
				t.Errorf("%q: descriptor %d, MTU %d", args, d.FD, d.MTU)
			}
		}
	}
	if d := attached(); !d.Inherited || d.FD != 0 || d.MTU != 65535 {
		t.Errorf("the bundled cat's device is %+v", d)
	}
}

// Memory is in megabytes, which may be said, or in gigabytes.
func TestMemory(t *testing.T) {
	for arg, want := range map[string]uint64{"1": 1, "512M": 512, "512m": 512, "3MB": 3, "3MiB": 3, "2G": 2048, "2gb": 2048, "1GiB": 1024, "65536G": 65536 << 10} {
		inv, err := Parse([]string{"--mem=" + arg}, Table())
		if err != nil || inv.Memory != want<<20 {
			t.Errorf("--mem=%s: %v, %v", arg, inv, err)
		}
	}
	for _, arg := range []string{"", "M", "G", "0G", "1T", "1K", "1.5G", "-1M", "1 G", "65537G", "1MM", "MB"} {
		if _, err := Parse([]string{"--mem=" + arg}, Table()); err == nil {
			t.Errorf("--mem=%s is taken", arg)
		}
	}
	d := DropIn{Prog: "solo5-spt", Target: image.SPT}
	for _, arg := range []string{"--mem=512M", "--mem=1G"} { // Solo5's own tenders refuse them
		if d.set(New(), arg) == nil {
			t.Errorf("solo5-spt takes %s", arg)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"mem", "net", "net-mac", "block", "isolate", "verbose"}
	for word, want := range map[string]string{"memm": "mem", "mme": "mem", "nte-mac": "net-mac", "isolat": "isolate", "vebrose": "verbose", "blockk": "block",
		"x": "", "": "", "frobnicate": "", "abc": "", strings.Repeat("net", 100): ""} {
		if got := Nearest(word, names); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func TestParseHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"-h"}, {"--mem=1", "--help", "k"}, {"--mem=nonsense", "-h"}} {
		if _, err := Parse(args, Table()); !errors.Is(err, ErrHelp) {
			t.Errorf("%q: %v", args, err)
		}
	}
	if inv, err := Parse([]string{"k", "--help"}, Table()); err != nil || len(inv.Args) != 1 {
		t.Errorf("help of the guest's: %v", err)
	}
}

func TestCommandLine(t *testing.T) {
	args := []string{"--name=a b", "", `"quoted"`, `back\slash`, "plain", "it's"}
	for _, test := range []struct {
		quote bool
		want  string
	}{
		{false, `--name=a b  "quoted" back\slash plain it's`},
		{true, `"--name=a b" "" "\"quoted\"" "back\\slash" plain "it's"`},
	} {
		inv := &Invocation{Options: &Options{Quote: test.quote}, Args: args}
		if got := inv.CommandLine(); got != test.want {
			t.Errorf("quote %v: %s, want %s", test.quote, got, test.want)
		}
	}
}

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"plain: 'words' é": "plain: 'words' é",
		"two\nlines":       `two\nlines`,
		"\x1b[31mred\x7f":  `\x1b[31mred\x7f`,
		"\u009b31m":        `\u009b31m`,
	} {
		if got := OneLine(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
