package guests

import (
	"regexp"
	"strings"
	"testing"

	"gocat/internal/image"
)

func TestCatOptions(t *testing.T) {
	const (
		banner = `(?s:.*)Solo5: Bindings version gocat, ABI 2
Solo5: Memory map: 512 MB addressable:
Solo5:   reserved @ \(0x0 - 0xfffff\)
Solo5:       text @ \(0x100000 - 0x100fff\)
Solo5:     rodata @ \(0x101000 - 0x101fff\)
Solo5:       data @ \(0x102000 - 0x102fff\)
Solo5:       heap >= 0x103000 < stack < 0x20000000
`
		netif  = "INF \\[netif\\] Plugging into stdin with mac [0-9a-f]{2}(:[0-9a-f]{2}){5} mtu 1500\n"
		data   = "data\n"
		exited = "Solo5: solo5_exit\\(0\\) called\n"
		usage  = "usage: cat (?s:.*)\n"
	)
	unknown := func(word string) string {
		return "cat: cannot use argument '" + regexp.QuoteMeta(word) + "', see --help\n"
	}
	exited64 := strings.Replace(exited, "0", "64", 1)
	long := strings.Repeat("x", 8191)
	many := strings.TrimSpace(strings.Repeat("--solo5:quiet ", 8191/14))

	for _, c := range []struct {
		args   string
		want   string // regular expression
		status int
	}{
		{"", banner + netif + data + exited, 0},
		{"--solo5:quiet", netif + data, 0},
		{"--solo5:error", netif + data, 0},
		{"--solo5:warn", netif + data, 0},
		{"--solo5:info", banner + netif + data + exited, 0},
		{"--solo5:debug", banner + netif + data + exited, 0},
		{"--solo5:quiet --solo5:info", banner + netif + data + exited, 0},
		{"--solo5:quiet -l netif:quiet", data, 0},
		{"  --solo5:quiet \t\n -l   netif:quiet  ", data, 0},
		{"--solo5:quiet -lnetif:quiet", data, 0},
		{"--solo5:quiet --logs=netif:quiet", data, 0},
		{"--solo5:quiet --logs netif:quiet", data, 0},
		{"-l netif:quiet", banner + data + exited, 0},
		{"--solo5:quiet --help", usage, 0},
		{"--help", banner + usage + exited, 0},
		{"--help -l netif:quiet", banner + usage + exited, 0},
		{many, netif + data, 0},

		{"-l netif:quiet --solo5:quiet", banner + unknown("--solo5:quiet") + exited64, 64},
		{"--solo5:quiet -l", unknown("-l"), 64},
		{"--solo5:quiet -l -l netif:quiet", unknown("-l"), 64},
		{"--solo5:quiet -l netif:loud", unknown("netif:loud"), 64},
		{"--solo5:quiet netif:quiet", unknown("netif:quiet"), 64},
		{"--solo5:quiet --help --bogus", unknown("--bogus"), 64},
		{"--solo5:quiet --solo5:quietly", unknown("--solo5:quietly"), 64},
		{"--solo5:quiet --solo5:quie", unknown("--solo5:quie"), 64},
		{"--solo5:quiet --solo5", unknown("--solo5"), 64},
		{"--solo5:quiet -", unknown("-"), 64},
		{"--solo5:quiet \u00e9", unknown("\u00e9"), 64},
		{"--solo5:quiet %s%n'\"\x7f", unknown("%s%n'\"\x7f"), 64},
		{long, banner + unknown(long) + exited64, 64},
		{"--solo5:quiet " + long[14:], unknown(long[14:]), 64},
	} {
		for _, target := range []image.Target{image.SPT, image.HVT} {
			if target == image.HVT && strings.Contains(c.want, data) {
				continue // Solo5's tender does not end with its input
			}
			t.Run(target.String()+"/"+c.args[:min(len(c.args), 40)], func(t *testing.T) {
				var args []string
				if c.args != "" {
					args = []string{c.args}
				}
				got, status := run(t, solo5Cat(t, target, Simple, args...), []byte(data), 1<<20)
				if !regexp.MustCompile("^(?:" + c.want + ")$").MatchString(got) {
					t.Errorf("printed %q", got)
				}
				if status != c.status {
					t.Errorf("status %d, want %d", status, c.status)
				}
			})
		}
	}
}
