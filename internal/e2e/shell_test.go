package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/testhost"
)

// shell runs a script with gocat in its PATH, in a directory of its own.
func shell(t *testing.T, script string) testhost.Result {
	t.Helper()
	c := testhost.Command{
		Path: "/bin/sh",
		Args: []string{"-c", "cd " + t.TempDir() + " && " + script},
		Env:  []string{"PATH=" + filepath.Dir(gocat) + ":" + os.Getenv("PATH")},
	}
	return c.Run(t)
}

// TestShell has what users type.
func TestShell(t *testing.T) {
	for script, want := range map[string]testhost.Result{
		"echo hi | gocat run":                              {Stdout: "hi\n"},
		"echo hi | gocat run --backend=spt":                {Stdout: "hi\n"},
		"echo hi | gocat run --guest simple":               {Stdout: "hi\n"},
		"gocat run < /dev/null":                            {},
		"echo hi > f; gocat run < f; gocat run < f":        {Stdout: "hi\nhi\n"},
		"echo hi > f; (read x; gocat run) < f":             {},
		"(echo a; sleep 0.1; echo b) | gocat run":          {Stdout: "a\nb\n"},
		"echo hi | gocat run | gocat run | gocat run":      {Stdout: "hi\n"},
		"echo hi | gocat run > f; cat f":                   {Stdout: "hi\n"},
		"echo a > f; echo b | gocat run >> f; cat f":       {Stdout: "a\nb\n"},
		"gocat seal -o cat && echo hi | ./cat":             {Stdout: "hi\n"},
		"gocat seal -o cat && ./cat < /dev/null":           {},
		"gocat seal -o cat && ./cat --unknown <&-":         {Status: 125, Stderr: "gocat: network device 'stdin': descriptor 0 is not open: bad file descriptor\n"},
		"gocat seal -o cat && echo hi | ./cat no":          {Status: 64, Stdout: "cat: cannot use argument 'no', see --help\n"},
		"echo hi | gocat run >&-":                          {},
		"yes | gocat run | head -n 1":                      {Stdout: "y\n"},
		"yes | gocat run > /dev/full":                      {Status: 1},
		"mkfifo f; (echo hi > f) & gocat run < f":          {Stdout: "hi\n"},
		"exec 7<<E; gocat run --net stdin=@7 <&7\nhi\nE\n": {Stdout: "hi\n"},
	} {
		got := shell(t, script)
		check(t, script, got, want)
	}
}

// TestSharedOffset has a file that a guest and its caller read in turn.
func TestSharedOffset(t *testing.T) {
	f := testhost.Memfd(t)
	if _, err := f.WriteString("skipped, then read"); err != nil {
		t.Fatal(err)
	}
	for way, c := range allWays(t) {
		t.Run(way, func(t *testing.T) {
			needKVM(t, way)
			if _, err := f.Seek(int64(len("skipped, ")), 0); err != nil {
				t.Fatal(err)
			}
			out := testhost.Memfd(t)
			c.Files = []*os.File{f, out, testhost.Memfd(t)}
			r := c.Run(t)
			at, err := f.Seek(0, 1)
			if r.Status != 0 || testhost.Contents(t, out) != "then read" || err != nil || at != 18 {
				t.Errorf("%+v, %q, offset %d", r, testhost.Contents(t, out), at)
			}
		})
	}
}

// TestStatus has a guest's end as its caller sees it.
func TestStatus(t *testing.T) {
	for _, status := range []uint64{0, 1, 2, 63, 64, 127, 128, 159, 255} {
		path := probe(t, func(p *guests.Probe) { p.Do(p.Puts("done\n"), p.Exit(guests.N(status))) })
		for way, c := range ways(t, path) {
			check(t, way, c.Run(t), testhost.Result{Status: int(status), Stdout: "done\n"})
		}
	}
	for _, quiet := range []bool{false, true} {
		var options []string
		if quiet {
			options = append(options, "--quiet-faults")
		}
		fault := probe(t, func(p *guests.Probe) { p.Do(p.Load8(guests.N(16)), p.Puts("alive")) })
		call := probe(t, func(p *guests.Probe) { p.Do(p.Syscall(unix.SYS_GETPID), p.Puts("alive")) })
		for path, want := range map[string]struct {
			status int
			line   string
		}{
			fault: {139, "gocat: guest killed by SIGSEGV: memory fault at address 0x10; rip 0x100"},
			call:  {159, "gocat: guest killed by SIGSYS: forbidden system call getpid; rax 0x27 rdi 0x0 rsi 0x0 rdx 0x0; rip 0x100"},
		} {
			for way, c := range ways(t, append(options, path)...) {
				r := c.Run(t)
				if r.Status != want.status || r.Stdout != "" || strings.HasPrefix(r.Stderr, want.line) == quiet || quiet && r.Stderr != "" {
					t.Errorf("%s, quiet %v: %+v", way, quiet, r)
				}
			}
		}
	}
}

// TestSealed looks at what a sealed executable is made of.
func TestSealed(t *testing.T) {
	path := ways(t)["sealed"].Path
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 96<<10 {
		t.Errorf("the sealed cat has %d bytes", len(b))
	}
	for _, mark := range []string{"Go build", "runtime.", "golang", "/ld-linux"} {
		if bytes.Contains(b, []byte(mark)) {
			t.Errorf("the sealed cat contains %q", mark)
		}
	}
	fi, err := os.Stat(path)
	if err != nil || fi.Mode()&0o111 == 0 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	t.Logf("%d bytes", len(b))
}

// TestSealedAgain seals the same guest twice: except for random addresses the
// files are equal.
func TestSealedAgain(t *testing.T) {
	var all [][]byte
	for range 2 {
		b, err := os.ReadFile(ways(t, "--net=stdin=@0", "--net-mac=stdin=02:00:00:00:00:01")["sealed"].Path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	if !bytes.Equal(all[0], all[1]) {
		t.Error("two sealed guests differ")
	}
}

// TestReplaced has a kernel file that changes under a running guest, and a
// sealed executable that is removed.
func TestReplaced(t *testing.T) {
	image := filepath.Join(t.TempDir(), "cat.spt")
	if r := command("guest", "-o", image).Run(t); r.Status != 0 {
		t.Fatalf("gocat guest: %+v", r)
	}
	for way, c := range ways(t, "--net=stdin=@0", image, "--solo5:quiet", "-l", "netif:quiet") {
		in, w := testhost.Pipe(t)
		out := testhost.Memfd(t)
		c.Files = []*os.File{in, out, testhost.Memfd(t)}
		p := c.Start(t)
		p.WaitIdle()
		if way == "run" {
			if err := os.WriteFile(image, bytes.Repeat([]byte{0xcc}, 64<<10), 0); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(image, 0); err != nil {
				t.Fatal(err)
			}
		} else {
			if err := os.Truncate(c.Path, 0); err != syscall.ETXTBSY {
				if pe, ok := err.(*os.PathError); !ok || pe.Err != syscall.ETXTBSY {
					t.Errorf("a running sealed guest can be truncated: %v", err)
				}
			}
			if err := os.Remove(c.Path); err != nil {
				t.Fatal(err)
			}
		}
		w.WriteString("still here")
		w.Close()
		if s := p.Wait(); s != 0 || testhost.Contents(t, out) != "still here" {
			t.Errorf("%s: status %#x, stdout %q, stderr %q", way, s, testhost.Contents(t, out), testhost.Contents(t, c.Files[2]))
		}
	}
}
