package guests

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
)

var quiet = []string{"--solo5:quiet", "-l", "netif:quiet"}

func eachCat(t *testing.T, f func(t *testing.T, target image.Target, v Variant)) {
	for _, target := range []image.Target{image.SPT, image.HVT} {
		for v, name := range map[Variant]string{Simple: "simple", Advanced: "advanced"} {
			t.Run(target.String()+"/"+name, func(t *testing.T) { f(t, target, v) })
		}
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestCatImage(t *testing.T) {
	eachCat(t, func(t *testing.T, target image.Target, v Variant) {
		b, err := Cat(target, v)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 16<<10 {
			t.Errorf("%d bytes, more than 16 KiB", len(b))
		}
		img, err := image.Parse(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if img.Target != target || img.Version != 2 {
			t.Errorf("target %v, version %d", img.Target, img.Version)
		}
		if m := img.Manifest; len(m) != 2 || m[1].Name != "stdin" || m[1].Type != image.Net {
			t.Errorf("manifest %+v, want one network device stdin", m)
		}
		var prot []string
		for _, s := range img.Segments {
			prot = append(prot, s.Prot.String())
		}
		if got := strings.Join(prot, " "); got != "r-x r-- rw-" {
			t.Errorf("segments %s", got)
		}
		if err := img.CheckMemory(2 * image.MB); err != nil {
			t.Error(err)
		}
	})
}

func TestCatRefuses(t *testing.T) {
	for _, c := range []struct {
		target  image.Target
		variant Variant
	}{{image.SPT, 0}, {image.SPT, 3}, {0, Simple}, {3, Simple}} {
		if b, err := Cat(c.target, c.variant); err == nil {
			t.Errorf("target %d, variant %d: %d bytes, want an error", c.target, c.variant, len(b))
		}
	}
	for _, c := range []struct {
		target image.Target
		size   uint64
		ring   bool
	}{{image.SPT, 0, false}, {image.HVT, 1 << 63, false}, {image.SPT, 4096, true}, {3, 4096, true}} {
		if b, err := CatReading(c.target, c.size, c.ring); err == nil {
			t.Errorf("target %d, reading %d bytes, ring %v: %d bytes, want an error", c.target, c.size, c.ring, len(b))
		}
	}
}

func TestCatCopies(t *testing.T) {
	eachCat(t, func(t *testing.T, target image.Target, v Variant) {
		size := 64 << 20
		if target == image.HVT || testing.Short() {
			size = 8 << 20 // a hypercall for each 4 KiB
		}
		want := random(size)
		got, status := run(t, solo5Cat(t, target, v, quiet...), want, size)
		if got != string(want) {
			t.Errorf("%d bytes in, %d other bytes out", size, len(got))
		}
		if target == image.SPT && status != 0 {
			t.Errorf("status %d at end of file", status)
		}
	})
}

func TestCatEmptyInput(t *testing.T) {
	got, status := run(t, solo5Cat(t, image.SPT, Advanced, quiet...), nil, 0)
	if got != "" || status != 0 {
		t.Errorf("printed %q, status %d", got, status)
	}
}

// TestCatLittleMemory runs in the least memory of hvt, where there is less than
// 1 MiB to read into.
func TestCatLittleMemory(t *testing.T) {
	eachCat(t, func(t *testing.T, target image.Target, v Variant) {
		cmd := solo5Cat(t, target, v, quiet...)
		cmd.Args = append([]string{cmd.Args[0], "--mem=2"}, cmd.Args[1:]...)
		want := random(3 << 20)
		if got, _ := run(t, cmd, want, len(want)); got != string(want) {
			t.Errorf("%d bytes in, %d other bytes out", len(want), len(got))
		}
	})
}

// TestCatBursts feeds single bytes and small packets with pauses between, so
// that the guest waits each time.
func TestCatBursts(t *testing.T) {
	eachCat(t, func(t *testing.T, target image.Target, v Variant) {
		cmd := solo5Cat(t, target, v, quiet...)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Wait()
		defer cmd.Process.Kill()
		for i := range 200 {
			want := random(1 + i%3*700)
			if _, err := in.Write(want); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(want))
			if _, err := io.ReadFull(out, got); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("burst %d: %v", i, err)
			}
			if i%20 == 0 {
				time.Sleep(5 * time.Millisecond)
			}
		}
	})
}

// TestCatPackets sends datagrams: a packet is read and written at once, and
// Simple cuts one that is longer than the MTU.
func TestCatPackets(t *testing.T) {
	const mtu = 1500
	for v, want := range map[Variant]int{Simple: mtu, Advanced: 4000} {
		cmd := solo5Cat(t, image.SPT, v, quiet...)
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ours, guests := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "guest's")
		cmd.Stdin = guests
		for _, size := range []int{1, mtu, 4000} {
			if _, err := ours.Write(random(size)); err != nil {
				t.Fatal(err)
			}
		}
		ours.Close()
		out, err := cmd.Output()
		guests.Close()
		if err != nil || len(out) != 1+mtu+want {
			t.Errorf("variant %d: %d bytes, want %d: %v", v, len(out), 1+mtu+want, err)
		}
	}
}

// TestCatFullConsole has a small non-blocking pipe for the console, whose
// reader stalls now and then.
func TestCatFullConsole(t *testing.T) {
	for _, trickle := range []bool{false, true} {
		t.Run(fmt.Sprintf("trickle=%v", trickle), func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			fd := int(w.Fd())
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, 4096); err != nil {
				t.Fatal(err)
			}
			if err := unix.SetNonblock(fd, true); err != nil {
				t.Fatal(err)
			}
			cmd := solo5Cat(t, image.SPT, Advanced, quiet...)
			cmd.Stdout = w
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			w.Close()
			want := random(1<<20 + 123)
			go func() {
				defer in.Close()
				for rest := want; len(rest) > 0; {
					n := len(rest)
					if trickle { // the input runs dry while the console is full
						n = min(n, 10_000)
						time.Sleep(time.Millisecond)
					}
					if _, err := in.Write(rest[:n]); err != nil {
						return
					}
					rest = rest[n:]
				}
			}()
			var got []byte
			buf := make([]byte, 1000)
			for i := 0; ; i++ {
				if i%200 == 0 {
					time.Sleep(20 * time.Millisecond)
				}
				n, err := r.Read(buf)
				got = append(got, buf[:n]...)
				if err != nil {
					break
				}
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%d bytes in, %d other bytes out", len(want), len(got))
			}
		})
	}
}

func TestCatConsoleGone(t *testing.T) {
	r, gone, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer gone.Close()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, c := range []struct {
		name    string
		console *os.File
		ignore  bool // SIGPIPE
		want    string
	}{
		{"full device", full, false, "exit status 1"},
		{"no reader", gone, false, "signal: broken pipe"},
		{"no reader, SIGPIPE ignored", gone, true, "exit status 1"},
	} {
		cmd := solo5Cat(t, image.SPT, Advanced, quiet...)
		if c.ignore {
			cmd = exec.Command("sh", append([]string{"-c", `trap "" PIPE; exec "$0" "$@"`}, cmd.Args...)...)
		}
		stderr := new(strings.Builder)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("data"), c.console, stderr
		cmd.Run()
		if got := cmd.ProcessState.String(); got != c.want || stderr.Len() > 0 {
			t.Errorf("%s: %s, want %s; tender: %s", c.name, got, c.want, stderr)
		}
	}
}

// TestCatReadError attaches the writing end of a pipe, which cannot be read.
func TestCatReadError(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	cmd := solo5Cat(t, image.SPT, Advanced, quiet...)
	cmd.Stdin = w
	out, _ := cmd.Output()
	if string(out) != "cat: cannot read stdin: error 9\n" || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("printed %q, %v", out, cmd.ProcessState)
	}
}
