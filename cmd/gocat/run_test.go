package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"gocat/internal/image"
)

// random returns n bytes that are the same in every run.
func random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func TestBundledCat(t *testing.T) {
	data := random(3<<20 + 17)
	open := func(path string) *os.File {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	for _, args := range [][]string{
		{"run"}, {"run", "--backend=spt"}, {"run", "--guest", "simple"}, {"run", "--mem=2", "--profile=solo5"}, {"run", "--eof=zero", "--"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			if got := (call{args: args, stdin: bytes.NewReader(data)}).run(t).wantSuccess(t).stdout; got != string(data) {
				t.Errorf("pipe: %d bytes in, %d out", len(data), len(got))
			}
			if got := (call{args: args, stdin: open(file(t, "data", data))}).run(t).wantSuccess(t).stdout; got != string(data) {
				t.Errorf("file: %d bytes in, %d out", len(data), len(got))
			}
			if got := (call{args: args, stdin: open(os.DevNull)}).run(t).wantSuccess(t).stdout; got != "" {
				t.Errorf("/dev/null: %q out", got)
			}
		})
	}
}

// A file's name may be longer than the kernel lets that of a file in memory be.
func TestLongName(t *testing.T) {
	path := t.TempDir() + "/" + strings.Repeat("a", 251) + ".spt"
	gocat(t, "guest", "-o", path).wantSuccess(t)
	r := call{args: []string{"run", "--net:stdin=@0", path, "--solo5:quiet", "-l", "netif:quiet"}, stdin: strings.NewReader("hello\n")}.run(t).wantSuccess(t)
	if r.stdout != "hello\n" {
		t.Errorf("%q", r.stdout)
	}
}

// A written image runs like the bundled one, with the command line of the seed
// text's cat.
func TestWrittenCat(t *testing.T) {
	for _, variant := range []string{"advanced", "simple"} {
		path := t.TempDir() + "/cat.spt"
		gocat(t, "guest", "--backend=spt", "-o", path, variant).wantSuccess(t)
		r := call{args: []string{"run", "--net:stdin=@0", path, "--solo5:quiet", "-l", "netif:quiet"}, stdin: strings.NewReader("hello\n")}.run(t).wantSuccess(t)
		if r.stdout != "hello\n" {
			t.Errorf("%s: %q", variant, r.stdout)
		}
		r = call{args: []string{"run", "--net=stdin=@0", "--net-mtu", "stdin=777", path}, stdin: strings.NewReader("hello\n")}.run(t).wantSuccess(t)
		if !strings.HasSuffix(r.stdout, "mtu 777\nhello\nSolo5: solo5_exit(0) called\n") {
			t.Errorf("%s with banner: %q", variant, r.stdout)
		}
	}
}

func TestExitStatus(t *testing.T) {
	trap := exiting(0)
	trap.Segments[0].Data = []byte{0x31, 0xc0, 0xff, 0x20} // xor %eax,%eax; jmp *(%rax)
	forbidden := exiting(0)
	forbidden.Segments[0].Data = []byte{0xb8, 39, 0, 0, 0, 0x0f, 0x05} // getpid
	for _, test := range []struct {
		name   string
		spec   image.Spec
		args   []string
		status int
		stderr string
	}{
		{"0", exiting(0), nil, 0, ""},
		{"63", exiting(63), nil, 63, ""},
		{"abort", exiting(255), nil, 255, ""},
		{"fault", trap, nil, 139, "gocat: guest killed by SIGSEGV: memory fault at address 0x0; rip 0x100002\n"},
		{"quiet fault", trap, []string{"--quiet-faults"}, 139, ""},
		{"forbidden", forbidden, nil, 159, "forbidden system call getpid"},
		{"quiet forbidden", forbidden, []string{"--quiet-faults"}, 159, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := gocat(t, append(append([]string{"run"}, test.args...), kernel(t, test.spec))...)
			if r.status != test.status || !strings.Contains(r.stderr, test.stderr) || (test.stderr == "") != (r.stderr == "") || r.stdout != "" {
				t.Errorf("status %d, stdout %q, stderr %q; want status %d, stderr %q", r.status, r.stdout, r.stderr, test.status, test.stderr)
			}
		})
	}
}

// What follows KERNEL is the guest's, whatever it looks like.
func TestGuestOptions(t *testing.T) {
	path := t.TempDir() + "/cat.spt"
	gocat(t, "guest", "-o", path).wantSuccess(t)
	for _, option := range []string{"--help", "--mem=0", "-o", "--", "--nonsense"} {
		r := gocat(t, "run", "--net:stdin=@0", path, "--solo5:quiet", option)
		want, status := "cat: cannot use argument '"+option+"', see --help\n", 64
		if option == "--help" {
			want, status = "usage: cat", 0
		}
		if r.status != status || !strings.Contains(r.stdout, want) {
			t.Errorf("%s: status %d, stdout %q, stderr %q", option, r.status, r.stdout, r.stderr)
		}
	}
}
