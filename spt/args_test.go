package spt

import (
	"strconv"
	"strings"
	"testing"

	"gocat/internal/guests"
	"gocat/internal/testhost"
)

// Offsets in boot info (Solo5 spt_abi.h).
const (
	bootMemSize   = 0
	bootKernelEnd = 8
	bootCmdline   = 16
	bootManifest  = 24
	bootEpoll     = 32
	bootTimer     = 36
)

// cmdlinePrinter is a guest that prints the command line's room, all of it.
func cmdlinePrinter(t *testing.T) *unikernel {
	return probe(t, func(p *guests.Probe) {
		p.Do(p.Syscall(1, guests.N(1), guests.Boot(bootCmdline), guests.N(cmdlineSize)).Equals(guests.N(cmdlineSize), 1))
	})
}

func TestCommandLine(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 512) // 8192 bytes
	for i, c := range []struct {
		sealed string
		args   []string
		want   string
	}{
		{"", nil, ""},
		{"", []string{"a"}, "a"},
		{"", []string{"a", "b c", "--mem=2"}, "a b c --mem=2"},
		{"", []string{"", "", "a"}, "  a"},
		{"s", nil, "s"},
		{"s t", []string{"", "u"}, "s t  u"},
		{long[:3000], []string{long[:3000], long[:2000]}, long[:3000] + " " + long[:3000] + " " + long[:2000]},
		{"", []string{long[:MaxArgs]}, long[:MaxArgs]},
		{long[:MaxArgs], nil, long[:MaxArgs]},
		{long[:MaxArgs-1], []string{""}, long[:MaxArgs-1] + " "},
		{"", strings.Fields(strings.Repeat("x ", MaxArgs/2)), strings.Repeat("x ", MaxArgs/2-1) + "x"},
	} {
		u := cmdlinePrinter(t)
		u.Args = c.sealed
		cmd := testhost.Command{Path: u.seal(t), Args: c.args}
		r := cmd.Run(t)
		got := strings.TrimRight(r.Stdout, "\x00")
		if r.Status != 0 || len(r.Stdout) != cmdlineSize || got != c.want || r.Stderr != "" {
			t.Errorf("case %d: status %d, stderr %q, %d bytes of command line %.40q..., want %d bytes",
				i, r.Status, r.Stderr, len(got), got, len(c.want))
		}
	}
}

func TestCommandLineTooLong(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 512)
	message := "gocat: the guest's command line is longer than " + strconv.Itoa(MaxArgs) + " bytes\n"
	for _, c := range []struct {
		sealed string
		args   []string
	}{
		{"", []string{long[:MaxArgs+1]}},
		{long[:MaxArgs], []string{""}},
		{long[:MaxArgs-1], []string{"a"}},
		{"s", []string{long[:4000], long[:4000], long[:4000], long[:4000]}},
		{"", strings.Fields(strings.Repeat("x ", MaxArgs))},
	} {
		u := cmdlinePrinter(t)
		u.Args = c.sealed
		cmd := testhost.Command{Path: u.seal(t), Args: c.args}
		check(t, cmd.Run(t), 1, "", message)
	}
	u := cmdlinePrinter(t)
	u.Args = long[:MaxArgs+1]
	if err := Seal(u.sealable(t), &strings.Builder{}); err == nil || !strings.Contains(err.Error(), "8192") {
		t.Errorf("a command line of %d bytes: %v", MaxArgs+1, err)
	}
}
