package kvmhvt

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// cat writes the image of a cat.
func cat(t testing.TB, v guests.Variant) string {
	t.Helper()
	b, err := guests.Cat(image.HVT, v)
	return write(t, b, err)
}

// quietly are the arguments of a cat that prints nothing but its input.
var quietly = []string{"--solo5:quiet", "-l", "netif:quiet"}

// source is a way to give a guest an input that ends.
type source struct {
	name  string
	open  func(t *testing.T, input string) *os.File
	empty bool // it has no input whatever is given
}

func sources() []source {
	return []source{
		{name: "pipe", open: func(t *testing.T, input string) *os.File {
			r, w := must2(t)(os.Pipe())
			go func() { io.WriteString(w, input); w.Close() }()
			return r
		}},
		{name: "file", open: func(t *testing.T, input string) *os.File {
			path := filepath.Join(t.TempDir(), "input")
			if err := os.WriteFile(path, []byte(input), 0o600); err != nil {
				t.Fatal(err)
			}
			return must(t)(os.Open(path))
		}},
		{name: "null", empty: true, open: func(t *testing.T, input string) *os.File {
			return must(t)(os.Open(os.DevNull))
		}},
		{name: "fifo", open: func(t *testing.T, input string) *os.File {
			path := filepath.Join(t.TempDir(), "fifo")
			if err := unix.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			go func() {
				if w, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
					io.WriteString(w, input)
					w.Close()
				}
			}()
			return must(t)(os.Open(path))
		}},
		{name: "tty", open: openTTY},
		{name: "stream", open: func(t *testing.T, input string) *os.File { return openSocket(t, unix.SOCK_STREAM, input) }},
		{name: "seqpacket", open: func(t *testing.T, input string) *os.File { return openSocket(t, unix.SOCK_SEQPACKET, input) }},
	}
}

func must(t *testing.T) func(*os.File, error) *os.File {
	return func(f *os.File, err error) *os.File {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
}

func must2(t *testing.T) func(*os.File, *os.File, error) (*os.File, *os.File) {
	return func(a, b *os.File, err error) (*os.File, *os.File) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return a, b
	}
}

// openTTY opens a terminal on which someone has typed lines and ^D.
func openTTY(t *testing.T, input string) *os.File {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		testhost.Skip(t, err.Error())
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave := must(t)(os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0))
	tio, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	tio.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, tio); err != nil {
		t.Fatal(err)
	}
	io.WriteString(master, input+"\x04")
	return slave
}

func openSocket(t *testing.T, typ int, input string) *os.File {
	fds, err := unix.Socketpair(unix.AF_UNIX, typ, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fds[1], []byte(input)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Shutdown(fds[1], unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[1]) })
	return os.NewFile(uintptr(fds[0]), "socket")
}

// flags are those of f's open file description, after os/exec's own change.
func flags(t *testing.T, f *os.File) int {
	t.Helper()
	n, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestEOF shows that a cat ends at the end of every kind of input, prints
// exactly its input, and leaves the caller's description as it was.
func TestEOF(t *testing.T) {
	const input = "first line\nsecond line\n"
	for _, v := range []guests.Variant{guests.Simple, guests.Advanced} {
		img := ""
		for _, s := range sources() {
			for _, policy := range []string{"auto", "zero"} {
				t.Run(fmt.Sprintf("%d/%s/%s", v, s.name, policy), func(t *testing.T) {
					if img == "" {
						needKVM(t)
					}
					img = cat(t, v)
					f := s.open(t, input)
					defer f.Close()
					cmd := tenderCommand(t, append([]string{"--eof=" + policy, "--net:stdin=@0", img}, quietly...)...)
					before := flags(t, f)
					cmd.Stdin = f
					r := runCommand(t, cmd)
					want := input
					if s.empty {
						want = ""
					}
					if r.status != 0 || r.stdout != want || r.stderr != "" {
						t.Errorf("got %+v", r)
					}
					if after := flags(t, f); after != before {
						t.Errorf("flags of the description were %#x and are %#x", before, after)
					}
				})
			}
		}
	}
}

// TestEOFAgain shows upstream's behaviour: a cat never sees the end.
func TestEOFAgain(t *testing.T) {
	for _, s := range sources() {
		t.Run(s.name, func(t *testing.T) {
			f := s.open(t, "input\n")
			defer f.Close()
			// Its last line before it reads says that it runs.
			cmd := tenderCommand(t, "--eof=again", "--net:stdin=@0", cat(t, guests.Simple))
			cmd.Stdin = f
			r, w := must2(t)(os.Pipe())
			defer r.Close()
			var errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = w, &errs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			w.Close()
			stuck := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
			defer stuck.Stop()
			out := bufio.NewReader(r)
			for line := ""; !strings.Contains(line, "netif"); {
				var err error
				if line, err = out.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			}
			want := "input\n"
			if s.empty {
				want = ""
			}
			got := make([]byte, len(want))
			io.ReadFull(out, got)
			time.Sleep(200 * time.Millisecond)
			if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
				t.Fatalf("it ended: %v", err)
			}
			rest, _ := io.ReadAll(out)
			cmd.Wait()
			if exitStatus(cmd) != 1 || string(got) != want || len(rest) > 0 || !strings.Contains(errs.String(), "Exiting on signal 15") {
				t.Errorf("status %d, %q and %q, %q", exitStatus(cmd), got, rest, errs.String())
			}
		})
	}
}

// TestBulk copies 64 MiB through each cat and compares the sums.
func TestBulk(t *testing.T) {
	blocks := 64
	if testing.Short() {
		blocks = 8
	}
	block := make([]byte, 1<<20)
	rnd := rand.NewChaCha8([32]byte{1})
	rnd.Read(block)
	for _, v := range []guests.Variant{guests.Simple, guests.Advanced} {
		cmd := tenderCommand(t, append([]string{"--net:stdin=@0", cat(t, v)}, quietly...)...)
		in, out, want := must3(t, cmd)
		got := sha256.New()
		done := make(chan error, 1)
		go func() {
			_, err := io.Copy(got, out)
			done <- err
		}()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for i := range blocks {
			block[0] = byte(i)
			want.Write(block)
			if _, err := in.Write(block); err != nil {
				t.Fatal(err)
			}
		}
		in.Close()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
			t.Errorf("cat %d changed its input", v)
		}
	}
}

func must3(t *testing.T, cmd *exec.Cmd) (io.WriteCloser, io.ReadCloser, interface {
	io.Writer
	Sum([]byte) []byte
}) {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	return in, out, sha256.New()
}

// TestBrokenPipe shows that nobody reading the console ends the guest as
// SIGPIPE would.
func TestBrokenPipe(t *testing.T) {
	cmd := tenderCommand(t, append([]string{"--net:stdin=@0", cat(t, guests.Simple)}, quietly...)...)
	r, w := must2(t)(os.Pipe())
	r.Close()
	cmd.Stdout = w
	cmd.Stdin = strings.NewReader("nobody reads this")
	res := runCommand(t, cmd)
	if res.status != 141 || strings.Count(res.stderr, "\n") > 1 {
		t.Errorf("%+v", res)
	}
}

// TestNonBlocking shows that a tender whose standard descriptors someone else
// has made non-blocking loses nothing, waits for a slow reader, and survives
// that the Go runtime polls them.
func TestNonBlocking(t *testing.T) {
	const size = 1 << 20
	in, out := [2]int{}, [2]int{}
	if err := errors.Join(unix.Pipe2(in[:], unix.O_CLOEXEC), unix.Pipe2(out[:], unix.O_CLOEXEC)); err != nil {
		t.Fatal(err)
	}
	stdin, stdout := os.NewFile(uintptr(in[0]), "in"), os.NewFile(uintptr(out[1]), "out")
	defer stdin.Close()
	cmd := tenderCommand(t, append([]string{"--net:stdin=@0", cat(t, guests.Advanced)}, quietly...)...)
	cmd.Stdin, cmd.Stdout = stdin, stdout
	if err := errors.Join(unix.SetNonblock(in[0], true), unix.SetNonblock(out[1], true)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stdout.Close()
	input := bytes.Repeat([]byte("0123456789abcde\n"), size/16)
	go func() {
		w := os.NewFile(uintptr(in[1]), "w")
		w.Write(input)
		w.Close()
	}()
	time.Sleep(300 * time.Millisecond) // both pipes fill up
	r := os.NewFile(uintptr(out[0]), "r")
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, input) {
		t.Errorf("%v; %d bytes of %d", err, len(got), len(input))
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
