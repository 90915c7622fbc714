package main

import (
	"strings"
	"testing"

	"gocat/internal/image"
)

func spt(t testing.TB, args ...string) result {
	t.Helper()
	return call{program: links + "/solo5-spt", args: args}.run(t)
}

func TestDropIn(t *testing.T) {
	path := t.TempDir() + "/cat.spt"
	gocat(t, "guest", "-o", path).wantSuccess(t)
	r := call{program: links + "/solo5-spt", args: []string{"--mem=2", "--net:stdin=@0", "--net-mac:stdin=02:00:00:00:00:01", "--", path, "--solo5:quiet"},
		stdin: strings.NewReader("hello\n")}.run(t).wantSuccess(t)
	if want := "INF [netif] Plugging into stdin with mac 02:00:00:00:00:01 mtu 1500\nhello\n"; r.stdout != want {
		t.Errorf("%q, want %q", r.stdout, want)
	}
	if r := spt(t, kernel(t, exiting(63))); r.status != 63 || r.stderr != "" {
		t.Errorf("status %d, stderr %q", r.status, r.stderr)
	}
	fault := exiting(0)
	fault.Segments[0].Data = []byte{0x0f, 0x0b}
	if r := spt(t, "--x-exec-heap", kernel(t, fault)); r.status != 132 || !strings.HasPrefix(r.stderr, "gocat: guest killed by SIGILL") {
		t.Errorf("status %d, stderr %q", r.status, r.stderr)
	}
}

func TestDropInErrors(t *testing.T) {
	none := kernel(t, exiting(0))
	both := kernel(t, exiting(0, image.Entry{Name: "service", Type: image.Net}, image.Entry{Name: "storage", Type: image.Block}))
	hvt := exiting(0)
	hvt.Target = image.HVT
	const usage = "usage: solo5-spt [ OPTIONS ] [ -- ] KERNEL [ ARGS ]"
	for _, test := range []struct {
		args  []string
		lines []string // of standard error, from the first on; "usage" is the whole text
	}{
		{nil, []string{"Missing KERNEL operand", usage}},
		{[]string{"--"}, []string{"Missing KERNEL operand", usage}},
		{[]string{"--help"}, []string{usage}},
		{[]string{"--nonsense", none}, []string{"Invalid option: `--nonsense'", usage}},
		{[]string{"--net", "a=b", none}, []string{"a=b: could not open: no such file or directory"}},
		{[]string{"--quote", none}, []string{"Invalid option: `--quote'", usage}},
		{[]string{"--x-exec-heapx", none}, []string{"Invalid option: `--x-exec-heapx'", usage}},
		{[]string{"--mem=none", none}, []string{"Malformed argument to --mem"}},
		{[]string{"--mem=0", none}, []string{"Malformed argument to --mem"}},
		{[]string{"/nonexistent"}, []string{"/nonexistent: could not open: no such file or directory"}},
		{[]string{""}, []string{"KERNEL is empty: give the path of a unikernel image"}},
		{[]string{kernel(t, hvt)}, []string{": Executable is not for the solo5-spt target"}},
		{[]string{both}, []string{
			"Device 'service' of type NET_BASIC declared but not attached.",
			"Device 'storage' of type BLOCK_BASIC declared but not attached.",
			"All declared devices must be attached. See --help for syntax."}},
		{[]string{"--net:stdin=tap0", none}, []string{"Resource not declared in manifest: 'stdin'"}},
		{[]string{"--block:storage=/dev/null", "--block-sector-size:storage=256", both}, []string{
			"Block size must be a multiple of 2 greater than or equal 512", "Invalid option: `--block-sector-size:storage=256'", usage}},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			r := spt(t, test.args...)
			lines := strings.Split(r.stderr, "\n")
			if r.status != 1 || r.stdout != "" {
				t.Errorf("status %d, stdout %q", r.status, r.stdout)
			}
			for i, want := range test.lines {
				if i >= len(lines) || !strings.Contains(lines[i], want) {
					t.Fatalf("stderr %q; want line %d to have %q", r.stderr, i+1, want)
				}
				if want != usage && !strings.HasPrefix(lines[i], "solo5-spt: ") {
					t.Errorf("line %q does not begin with the program's name", lines[i])
				}
			}
			last := test.lines[len(test.lines)-1]
			if extra := len(lines) - 1 - len(test.lines); last == usage && extra < 5 || last != usage && extra != 0 {
				t.Errorf("%d lines follow: %q", extra, r.stderr)
			}
		})
	}
	if r := spt(t, "--version"); r.status != 0 || !strings.HasPrefix(r.stderr, "solo5-spt tender, version ") || !strings.HasSuffix(r.stderr, "\nABI version 2\n") {
		t.Errorf("--version: status %d, stderr %q", r.status, r.stderr)
	}
	if r := (call{program: links + "/solo5-hvt", args: []string{"--x-exec-heap", none}}).run(t); r.status != 1 || !strings.HasPrefix(r.stderr, "solo5-hvt: "+none+": Executable is not for the solo5-hvt target\n") {
		t.Errorf("solo5-hvt: status %d, stderr %q", r.status, r.stderr)
	}
}
