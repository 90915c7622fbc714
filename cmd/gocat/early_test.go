package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// withoutRuntime has a shell leave c so little address space that the Go
// runtime, which reserves more, does not start.
func withoutRuntime(c call) call {
	if c.program == "" {
		c.program = program
	}
	c.args = append([]string{"-c", `ulimit -v 131072; exec "$0" "$@"`, c.program}, c.args...)
	c.program = "/bin/sh"
	return c
}

// A usual spt guest starts before the Go runtime does.
func TestBeforeRuntime(t *testing.T) {
	if r := withoutRuntime(call{args: []string{"version"}}).run(t); r.status == 0 {
		t.Fatalf("the Go runtime starts in too little address space: %+v", r)
	}
	dir := t.TempDir()
	cat := filepath.Join(dir, "cat.spt")
	gocat(t, "guest", "-o", cat, "--backend=spt").wantSuccess(t)
	disk := filepath.Join(dir, "disk")
	if err := os.WriteFile(disk, make([]byte, 8192), 0o644); err != nil {
		t.Fatal(err)
	}
	const text = "through\n"
	pipe := func() *os.File {
		r, w := testhost.Pipe(t)
		if _, err := w.WriteString(text); err != nil {
			t.Fatal(err)
		}
		w.Close()
		return r
	}
	socket := func() *os.File {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := testhost.File(t, fds[0]), testhost.File(t, fds[1])
		if _, err := ours.WriteString(text); err != nil {
			t.Fatal(err)
		}
		ours.Close()
		return theirs
	}
	tcp := func() *os.File {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		f, err := s.(*net.TCPConn).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	terminal := func() *os.File {
		master, slave := testhost.PTY(t)
		if _, err := unix.Write(master, []byte(text+"\x04")); err != nil {
			t.Fatal(err)
		}
		return testhost.Dup(t, slave) // slave itself is PTY's to close
	}
	regular := func() *os.File {
		f, err := os.Open(file(t, "data", []byte(text)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	spt := links + "/solo5-spt"
	quiet := []string{"--solo5:quiet", "-l", "netif:quiet"}
	for name, open := range map[string]func() *os.File{
		"/dev/null": nil, "file": regular, "pipe": pipe, "stream socket": socket, "TCP": tcp, "terminal": terminal,
	} {
		for _, c := range []call{
			{args: []string{"run", "--mem=2"}},
			{args: []string{"run", "--mem=2", "--backend=spt", "--guest=simple", "--profile=solo5", "--quiet-faults"}},
			{args: append([]string{"run", "--net", "stdin=@0", "--mem", "4", "--net-mtu=stdin=9000", cat}, quiet...)},
			{args: append([]string{"--net:stdin=@0", "--mem=2", "--net-mac:stdin=02:00:00:00:00:01", "--", cat}, quiet...), program: spt},
		} {
			want := ""
			if open != nil {
				c.stdin, want = open(), text
			}
			if r := withoutRuntime(c).run(t); r.status != 0 || r.stdout != want || r.stderr != "" {
				t.Errorf("%s, %q: %+v", name, c.args, r)
			}
		}
	}
	testhost.Netns(t)
	testhost.Tap(t, "tap0", unix.IFF_TAP|unix.IFF_NO_PI)
	testhost.Up(t, "tap0", 1500)
	service := image.Entry{Name: "service", Type: image.Net}
	storage := image.Entry{Name: "storage", Type: image.Block}
	var many []image.Entry
	options := []string{"run", "--mem=2"}
	for i := range image.MaxEntries - 1 {
		name := fmt.Sprintf("disk%d", i)
		many = append(many, image.Entry{Name: name, Type: image.Block})
		options = append(options, "--block:"+name+"="+disk)
	}
	for _, c := range []call{
		{args: append(options, kernel(t, exiting(63, many...)))},
		{args: []string{"run", "--mem=2", kernel(t, exiting(63)), strings.Repeat("a", 4000), "b"}},
		{args: []string{"run", "--mem=2", "--block=storage=" + disk, "--block-sector-size", "storage=4096", kernel(t, exiting(63, storage))}},
		{args: []string{"run", "--mem=2", "--net", "service=tap0", kernel(t, exiting(63, service))}},
		{args: []string{"--mem=2", kernel(t, exiting(63)), "c"}, program: spt},
		{args: []string{"--mem=2", "--x-exec-heap", "--block:storage=" + disk, "--net:service=@0", kernel(t, exiting(63, storage, service))}, program: spt},
	} {
		if r := withoutRuntime(c).run(t); r.status != 63 || r.stdout+r.stderr != "" {
			t.Errorf("%q: %+v", c.args, r)
		}
	}
}

// An hvt guest starts before the Go runtime does, with every option that it may
// have: nothing that an ordinary start finds in order may need one.
func TestBeforeRuntimeHVT(t *testing.T) {
	needKVM(t)
	hvt := func(devices ...image.Entry) string {
		p := guests.NewProbe(image.HVT, devices...)
		p.Do(p.Exit(guests.N(63)))
		b, err := p.Image()
		if err != nil {
			t.Fatal(err)
		}
		return file(t, "guest.hvt", b)
	}
	disk := file(t, "disk", make([]byte, 8192))
	service, storage := image.Entry{Name: "service", Type: image.Net}, image.Entry{Name: "storage", Type: image.Block}
	none, both := hvt(), hvt(service, storage)
	for _, options := range [][]string{
		nil, {"-v"}, {"--quote"}, {"--cpl=0"}, {"--eof=again"}, {"--net-ring"}, {"--no-net-ring"}, {"--confine=none"}, {"--confine=available"},
		{"--isolate=none"}, {"--isolate=auto", "-v"}, {"--cpu-time=5"}, {"--backend=hvt"}, {"--require=limits,landlock"},
	} {
		c := call{args: append(append([]string{"run", "--mem=2"}, options...), none, "a b", "c")}
		if r := withoutRuntime(c).run(t); r.status != 63 || r.stdout != "" || r.stderr != "" && !slices.Contains(options, "-v") {
			t.Errorf("%q: %+v", options, r)
		}
	}
	for _, c := range []call{
		{args: []string{"run", "--mem=2", "--net=service=@0", "--net-mac:service=02:00:00:00:00:01", "--net-mtu=service=9000", "--block=storage=" + disk, "--block-sector-size=storage=4096", both}},
		{args: []string{"--mem=2", "--no-net-ring", "--net:service=@0", "--block:storage=" + disk, both, "a"}, program: links + "/solo5-hvt"},
		{args: append([]string{"run", "--mem=2", none}, make([]string, 8000)...)},
	} {
		if r := withoutRuntime(c).run(t); r.status != 63 || r.stdout+r.stderr != "" {
			t.Errorf("%.200q: %+v", c.args, r)
		}
	}
	if os.Geteuid() == 0 {
		for _, options := range []string{"--isolate=full", "--isolate=full -v", "--user=1234:5678", "--user=nobody", "--user=1 --require=user-ns,root", "--require=bounding-set,securebits"} {
			c := call{args: append(append([]string{"run", "--mem=2"}, strings.Fields(options)...), none)}
			if r := withoutRuntime(c).run(t); r.status != 63 {
				t.Errorf("%s: %+v", options, r)
			}
		}
	}
	for _, input := range []string{"", "through\n"} {
		c := call{args: []string{"run", "--mem=2", "--backend=hvt"}, stdin: strings.NewReader(input)}
		if r := withoutRuntime(c).run(t); r.status != 0 || r.stdout != input || r.stderr != "" {
			t.Errorf("%q: %+v", input, r)
		}
	}
}

// An ordinary start, of a program linked without its entry point or with a standard
// descriptor closed, leads to the same.
func TestRestart(t *testing.T) {
	t.Parallel()
	needKVM(t)
	ordinary := buildOrdinary(t)
	for _, c := range []call{
		{program: ordinary, args: []string{"run", "--backend=hvt"}, stdin: strings.NewReader("through\n")},
		{program: ordinary, args: []string{"run", "--backend=hvt", "--isolate=none", "--mem=2"}, stdin: strings.NewReader("through\n")},
		{program: "/bin/sh", args: []string{"-c", `exec "$0" run --backend=hvt 2>&-`, program}, stdin: strings.NewReader("through\n")},
	} {
		if r := c.run(t); r.status != 0 || r.stdout != "through\n" || r.stderr != "" {
			t.Errorf("%q: %+v", c.args, r)
		}
	}
	r := call{program: ordinary, args: []string{"trace", "--backend=hvt"}}.run(t)
	if r.status != 0 || !strings.Contains(r.stderr, "halt(status 0)") {
		t.Errorf("trace: %+v", r)
	}
	// It happens once.
	call{program: ordinary, args: []string{"run", "--backend=hvt"}, env: []string{"GOCAT_RESTARTED=1"}}.run(t).wantError(t, "gocat", "defect")
}

func buildOrdinary(t *testing.T) string {
	t.Helper()
	path, err := buildsOrdinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// The packages that an early start goes through set no variables when they are
// initialised: it would find them unset.
func TestNoInitialisers(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "tool", "nm", buildOrdinary(t)).Output()
	if err != nil {
		t.Fatalf("go tool nm: %v", err)
	}
	found := map[string]bool{}
	for _, symbol := range regexp.MustCompile(`(?m) T (gocat/\S*)\.init(\.\d+)?$`).FindAllStringSubmatch(string(out), -1) {
		found[symbol[1]] = true
	}
	for _, pkg := range []string{"internal/raw", "internal/tender", "internal/image", "internal/device", "internal/guests", "internal/plan", "internal/isolate", "spt", "kvmhvt", "seccomp"} {
		if found["gocat/"+pkg] {
			t.Errorf("package %s has an initialiser", pkg)
		}
	}
	if !found["gocat/internal/bench"] {
		t.Errorf("the initialiser of internal/bench, which there is, was not found among %v", found)
	}
}

// Where no guest starts, nobody can tell that it was tried early.
func TestSameWithoutEarly(t *testing.T) {
	t.Parallel()
	ordinary := buildOrdinary(t)
	link := filepath.Join(t.TempDir(), "solo5-spt")
	if err := os.Symlink(ordinary, link); err != nil {
		t.Fatal(err)
	}
	same := func(stdin []byte, args ...string) {
		t.Helper()
		for _, programs := range [][2]string{{program, ordinary}, {links + "/solo5-spt", link}} {
			args := args
			if programs[0] == program {
				args = append([]string{"run"}, args...)
			}
			var r [2]result
			for i, p := range programs {
				r[i] = call{program: p, args: args, stdin: bytes.NewReader(stdin)}.run(t)
			}
			if r[0] != r[1] {
				t.Errorf("%.300q: early %+v, ordinary %+v", args, r[0], r[1])
			}
		}
	}
	none := kernel(t, exiting(7))
	net := kernel(t, exiting(7, image.Entry{Name: "stdin", Type: image.Net}))
	block := kernel(t, exiting(7, image.Entry{Name: "storage", Type: image.Block}))
	for _, args := range [][]string{
		{}, {""}, {"--"}, {"--help"}, {"-h"}, {"-v"}, {"-v", none}, {"--version"}, {"--nonsense"}, {"--mem"}, {"--mem=0", none},
		{"--mem=1", none}, {"--mem=99999999999", none}, {"--mem=70368744177664", none}, {none}, {none, "", "a  b", "\xff"},
		{"--quote", none, "a b"}, {"--quote", none, "ab"}, {"--backend=hvt", none}, {"--cpl=0", none}, {"--eof=again", none},
		{"--net=stdin=@0", none}, {net}, {"--net:stdin=@0", net}, {"--net:stdin=@1", net}, {"--net:stdin=@99", net},
		{"--net:stdin=@0", "--net:stdin=tap0", net}, {"--net:stdin=@0", "--net-mac:stdin=x", net},
		{block}, {"--block:storage=/nonexistent", block}, {"--block:storage=/dev/null", block}, {"--block:storage=/", block},
		{"--block:storage=" + none, block}, {"/"}, {"/dev/null"}, {"/nonexistent"}, {"/dev/tty"}, {os.Args[0]},
		{none, strings.Repeat("a", 8191)}, {none, strings.Repeat("a", 8192)}, {none, strings.Repeat("a", 100_000)},
		append([]string{none}, make([]string, 600)...), append([]string{none}, make([]string, 10_000)...),
	} {
		same(nil, args...)
	}
	// Images that were damaged anywhere; what comes of the headers is the same.
	random := rand.New(rand.NewPCG(1, 2))
	good := encode(t, exiting(7, image.Entry{Name: "stdin", Type: image.Net}))
	path := file(t, "damaged", nil)
	for range 60 {
		b := bytes.Clone(good)
		for range 1 + random.IntN(3) {
			b[random.IntN(min(len(b), 1024))] = byte(random.Uint32() >> random.IntN(8))
		}
		if random.IntN(4) == 0 {
			b = b[:random.IntN(len(b))]
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		same(nil, "--quiet-faults", "--net:stdin=@0", path)
		same(nil, "--net:stdin=@0", path)
	}
}

// A guest finds the same process, however it was started. (Only root may read the
// descriptors of an isolated one.)
func TestSameProcess(t *testing.T) {
	ordinary := buildOrdinary(t)
	for _, disturb := range []string{"", "trap '' HUP PIPE TERM SEGV USR1 TSTP XFSZ;"} {
		var state [2]string
		for i, p := range []string{program, ordinary} {
			r, w := testhost.Pipe(t)
			c := testhost.Command{
				Path: "/bin/sh", Args: []string{"-c", disturb + ` exec "$0" run --isolate=none 7>&1 8</dev/null`, p},
				Files: []*os.File{r, testhost.Null(t), testhost.Null(t)},
			}
			guest := c.Start(t)
			guest.WaitIdle()
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", guest.Pid))
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(status)) {
				if name, _, _ := strings.Cut(line, ":"); strings.Contains(" Name Umask FDSize Threads SigBlk SigIgn SigCgt CapEff NoNewPrivs Seccomp ", " "+name+" ") {
					state[i] += line
				}
			}
			fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", guest.Pid))
			if err != nil {
				t.Fatal(err)
			}
			for _, fd := range fds {
				to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", guest.Pid, fd.Name()))
				if err != nil {
					t.Fatal(err)
				}
				kind, _, _ := strings.Cut(to, ":[")
				state[i] += fd.Name() + " " + kind + "\n"
			}
			w.Close()
			if end := guest.Wait(); end != 0 {
				t.Errorf("%s: %v", p, end)
			}
		}
		if state[0] != state[1] || !strings.Contains(state[0], "SigIgn") {
			t.Errorf("%q: early\n%s\nordinary\n%s", disturb, state[0], state[1])
		}
	}
}
