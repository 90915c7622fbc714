package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"gocat/internal/image"
)

func parse[T any](t testing.TB, r result) T {
	t.Helper()
	r.wantSuccess(t)
	var v T
	d := json.NewDecoder(strings.NewReader(r.stdout))
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %q", err, r.stdout)
	}
	return v
}

func TestInspect(t *testing.T) {
	spec := exiting(0, image.Entry{Name: "service", Type: image.Net}, image.Entry{Name: "storage", Type: image.Block})
	spec.Segments = append(spec.Segments, image.SpecSegment{Vaddr: 0x200000, Data: []byte{1, 2}, Memsz: 0x3000, Prot: image.R | image.W})
	path := kernel(t, spec)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	d := parse[description](t, gocat(t, "inspect", "--format=json", path))
	if d.Kernel != path || d.Size != info.Size() || d.Target != "spt" || d.Version != 2 || d.Entry != 0x100000 || d.End != 0x203000 {
		t.Errorf("%+v", d)
	}
	if len(d.Segments) != 2 || d.Segments[1].Start != 0x200000 || d.Segments[1].Filesz != 2 || d.Segments[1].Memsz != 0x3000 || d.Segments[1].Prot != "rw-" {
		t.Errorf("segments %+v", d.Segments)
	}
	if len(d.Manifest) != 2 || d.Manifest[0] != (declaration{1, "NET_BASIC", "service", "--net service=IFACE|@FD"}) ||
		d.Manifest[1] != (declaration{2, "BLOCK_BASIC", "storage", "--block storage=PATH"}) {
		t.Errorf("manifest %+v", d.Manifest)
	}
	text := gocat(t, "inspect", path).wantSuccess(t).stdout
	for _, want := range []string{
		"Solo5 unikernel for spt, ABI version 2", "entry  0x100000", "end    0x203000",
		"ABI1  target 2 (spt), version 2", "MFT1  3 entries, 320 bytes", "rw-", "--net service=IFACE|@FD",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// Of a sealed guest inspect shows what it was made of, and gocat run says what it is.
func TestInspectSealed(t *testing.T) {
	disk := file(t, "disk", make([]byte, 4096))
	path := kernel(t, exiting(0, image.Entry{Name: "service", Type: image.Net}, image.Entry{Name: "storage", Type: image.Block}))
	sealed := t.TempDir() + "/sealed"
	gocat(t, "seal", "-o", sealed, "--mem=4", "--name=box", "--net:service=tap9", "--net-mac=service=02:00:00:00:00:01", "--block:storage="+disk, path, "--password=\x1b[31m").wantSuccess(t)
	text := gocat(t, "inspect", sealed).wantSuccess(t).stdout
	for _, want := range []string{
		sealed + ": a sealed guest, an executable for Linux.", "process     box\n", "memory      4 MB\n", `arguments   --password=\x1b[31m`,
		"net         service=tap9, mac 02:00:00:00:00:01, mtu 1500\n", "block       storage=" + disk + ", 4096 bytes in blocks of 512\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	d := parse[struct {
		Sealed []struct{ Name, Value string }
	}](t, gocat(t, "inspect", "--format=json", sealed))
	if len(d.Sealed) != 7 || d.Sealed[4].Value != "--password=\x1b[31m" {
		t.Errorf("%+v", d)
	}
	gocat(t, "run", sealed).wantError(t, "gocat", "a sealed guest is no image, but a program: run it itself")
}

func TestPolicy(t *testing.T) {
	disk := file(t, "disk", make([]byte, 4096))
	path := kernel(t, exiting(0, image.Entry{Name: "service", Type: image.Net}, image.Entry{Name: "storage", Type: image.Block}))
	args := []string{"--net:service=tapthatisnot", "--block:storage=" + disk, path}
	text := gocat(t, append([]string{"policy"}, args...)...).wantSuccess(t).stdout
	for _, want := range []string{
		"Network device service is the tap tapthatisnot.",
		disk + ": 4096 bytes in blocks of 512.", "Policy spt:",
		"read(fd 3) ", "pread64(fd 4, size 512, offset <= 3584)", "clock_gettime(clock 1)", "exit_group()",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	strict := gocat(t, append([]string{"policy", "--profile=strict"}, args...)...).wantSuccess(t).stdout
	if strings.Contains(strict, "clock_gettime") || !strings.Contains(strict, "Policy spt-strict:") {
		t.Errorf("strict:\n%s", strict)
	}

	d := parse[struct {
		Policy, Deny string
		Devices      []deviceDescription
		Rules        []struct{ Call, Why string }
	}](t, gocat(t, append([]string{"policy", "--format=json"}, args...)...))
	if d.Policy != "spt" || d.Deny != "trap" || len(d.Devices) != 2 || d.Devices[0].Path != "tapthatisnot" || d.Rules[0].Call != "read" || d.Rules[0].Why == "" {
		t.Errorf("%+v", d)
	}
	bpf := gocat(t, append([]string{"policy", "--format=bpf"}, args...)...).wantSuccess(t).stdout
	raw := gocat(t, append([]string{"policy", "--format", "raw"}, args...)...).wantSuccess(t).stdout
	if lines := strings.Count(bpf, "\n"); lines < 40 || len(raw) != 8*lines {
		t.Errorf("%d lines of BPF, %d bytes", lines, len(raw))
	}
	if r := gocat(t, "policy").wantSuccess(t); !strings.Contains(r.stdout, "Policy spt-strict:") {
		t.Errorf("of the bundled cat:\n%s", r.stdout)
	}
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	type check struct{ Check, Status, Found string }
	checks := parse[[]check](t, gocat(t, "doctor", "--format=json"))
	lines := strings.Split(strings.TrimSpace(gocat(t, "doctor").wantSuccess(t).stdout), "\n")
	if len(checks) < 10 || len(lines) != len(checks) {
		t.Fatalf("%d checks, %d lines", len(checks), len(lines))
	}
	for i, c := range checks {
		if !strings.HasPrefix(lines[i], c.Status) || !strings.Contains(lines[i], c.Check) || !strings.Contains(lines[i], c.Found) {
			t.Errorf("%+v and %q", c, lines[i])
		}
	}
}

func TestVersion(t *testing.T) {
	a, b := gocat(t, "version").wantSuccess(t), gocat(t, "--version").wantSuccess(t)
	if a != b || !strings.HasPrefix(a.stdout, "gocat ") || strings.Count(a.stdout, "\n") != 1 {
		t.Errorf("%q and %q", a.stdout, b.stdout)
	}
}

// Every command has help with an example, and says so if it cannot be printed.
// The help of every command has an example and fits a terminal of 80 columns.
func TestHelpFits(t *testing.T) {
	t.Parallel()
	var check func(words ...string)
	check = func(words ...string) {
		cmd, _, err := root().Find(words)
		if err != nil || cmd.Hidden {
			return
		}
		help := gocat(t, append(words, "--help")...).wantSuccess(t).stdout
		if !strings.Contains(help, "Examples:") {
			t.Errorf("%q: no example in\n%s", words, help)
		}
		for line := range strings.Lines(help) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
				t.Errorf("%q: a line of %d columns: %s", words, n, line)
			}
		}
		for _, sub := range cmd.Commands() {
			check(append(slices.Clip(words), sub.Name())...)
		}
	}
	check()
}

func TestWrap(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"one two three", "one two\nthree"}, {"a\nb", "a b"}, {"a\n\nb", "a\n\nb"}, {"a\n  b c d e f\ng", "a\n  b c d e f\ng"},
		{"muchtoolong x", "muchtoolong\nx"}, {"", ""}, {"ééé ééé x", "ééé ééé\nx"},
	} {
		if got := wrap(test.in, 8); got != test.want {
			t.Errorf("%q: %q, want %q", test.in, got, test.want)
		}
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, cmd := range root().Commands() {
		if cmd.Hidden {
			continue
		}
		help := gocat(t, cmd.Name(), "--help").wantSuccess(t).stdout
		if !strings.Contains(help, "Examples:") || !strings.Contains(help, "gocat "+cmd.Name()) {
			t.Errorf("%s --help:\n%s", cmd.Name(), help)
		}
		if again := gocat(t, "help", cmd.Name()).wantSuccess(t).stdout; again != help {
			t.Errorf("help %s:\n%s", cmd.Name(), again)
		}
		full := exec.Command("sh", "-c", `exec "$0" "$@" >/dev/full`, program, cmd.Name(), "--help")
		var stderr strings.Builder
		full.Stderr = &stderr
		if full.Run() == nil || stderr.String() != "gocat: standard output: write /dev/stdout: no space left on device\n" {
			t.Errorf("%s --help >/dev/full: %q", cmd.Name(), stderr.String())
		}
	}
}

func TestCompletion(t *testing.T) {
	for _, test := range []struct{ words, want string }{
		{"se", "seal "}, {"run --backend=", "spt hvt :4"}, {"run --backend=h", "hvt :4"}, {"seal --guest ", "advanced simple :4"},
		{"policy --format r", "raw :4"}, {"run --net-m", "--net-mac --net-mtu :4"}, {"run -- --net-m", ":0"}, {"run k --net-m", ":0"}, {"run k -", ":0"}, {"trace -o x --summ", "--summary :4"}, {"seal k --", ":0"}, {"run ", ":0"}, {"run k --x=", ":0"},
		{"doctor --format ", "text json :4"}, {"guest ", "advanced simple :4"}, {"help ru", "run "},
	} {
		args := append([]string{"__complete"}, strings.Split(test.words, " ")...)
		var got []string
		for line := range strings.Lines(gocat(t, args...).stdout) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
			got = append(got, word)
		}
		if !strings.HasPrefix(strings.Join(got, " ")+" ", test.want) {
			t.Errorf("%q: %q, want %q", test.words, got, test.want)
		}
	}
	script := gocat(t, "completion", "bash").wantSuccess(t).stdout
	if out, err := (&exec.Cmd{Path: "/bin/bash", Args: []string{"bash", "-n"}, Stdin: strings.NewReader(script)}).CombinedOutput(); err != nil {
		t.Errorf("bash does not take the script: %v\n%s", err, out)
	}
}
