package e2e

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// random is a stream of n random bytes.
func random(n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{7}), n)
}

// amount is how many bytes a test copies.
func amount() int64 {
	if big() {
		return 4 << 30
	}
	return 256 << 20
}

// inputs open standard inputs that give n random bytes and end. feed writes
// them, to hash as well.
var inputs = map[string]func(t *testing.T, n int64, sum hash.Hash) (stdin *os.File, feed func() error){
	"pipe": func(t *testing.T, n int64, sum hash.Hash) (*os.File, func() error) {
		r, w := testhost.Pipe(t)
		return r, into(w, n, sum)
	},
	"socket": func(t *testing.T, n int64, sum hash.Hash) (*os.File, func() error) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return testhost.File(t, fds[0]), into(testhost.File(t, fds[1]), n, sum)
	},
	"file": func(t *testing.T, n int64, sum hash.Hash) (*os.File, func() error) {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(f, sum)}, random(n), make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		return f, func() error { return nil }
	},
}

// into returns a function that writes n random bytes to w and closes it.
func into(w *os.File, n int64, sum hash.Hash) func() error {
	return func() error {
		defer w.Close()
		_, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(w, sum)}, random(n), make([]byte, 256<<10))
		return err
	}
}

// copied runs c from stdin to a pipe and compares the digests of what went in
// and what came out.
func copied(t *testing.T, c testhost.Command, stdin *os.File, feed func() error, in hash.Hash, out, pipe *os.File, pause func()) {
	t.Helper()
	c.Files = []*os.File{stdin, pipe, testhost.Memfd(t)}
	start := time.Now()
	p := c.Start(t)
	stdin.Close()
	pipe.Close()
	fed := make(chan error, 1)
	go func() { fed <- feed() }()
	sum := sha256.New()
	total := int64(0)
	buf := make([]byte, 1<<20)
	for {
		n, err := out.Read(buf)
		sum.Write(buf[:n])
		total += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		pause()
	}
	if err := <-fed; err != nil {
		t.Fatal(err)
	}
	status := p.Wait()
	if want, got := fmt.Sprintf("%x", in.Sum(nil)), fmt.Sprintf("%x", sum.Sum(nil)); status != 0 || got != want {
		t.Errorf("status %#x, %d bytes, sha256 %s, want %s; stderr %q", status, total, got, want, testhost.Contents(t, c.Files[2]))
	}
	t.Logf("%d MiB in %v", total>>20, time.Since(start).Round(time.Millisecond))
}

func noPause() {}

// TestBulk copies gigabytes from each kind of input.
func TestBulk(t *testing.T) {
	testhost.Slow(t)
	for name, open := range inputs {
		for _, variant := range []string{"advanced", "simple"} {
			for way, c := range allWays(t, "--guest="+variant) {
				if variant == "simple" && way == "sealed" {
					continue
				}
				t.Run(name+"/"+variant+"/"+way, func(t *testing.T) {
					needKVM(t, way)
					in := sha256.New()
					stdin, feed := open(t, amount(), in)
					r, w := testhost.Pipe(t)
					copied(t, *c, stdin, feed, in, r, w, noPause)
				})
			}
		}
	}
}

// TestStallingReader copies through a pipe that is full most of the time and
// does not block.
func TestStallingReader(t *testing.T) {
	for way, c := range allWays(t) {
		t.Run(way, func(t *testing.T) {
			needKVM(t, way)
			in := sha256.New()
			stdin, feed := inputs["pipe"](t, amount()/8, in)
			r, w := testhost.Pipe(t)
			if err := unix.SetNonblock(int(w.Fd()), true); err != nil {
				t.Fatal(err)
			}
			n := 0
			copied(t, *c, stdin, feed, in, r, w, func() {
				if n++; n%16 == 0 {
					time.Sleep(10 * time.Millisecond)
				}
			})
		})
	}
}

// TestBursts has a writer that sends one byte at a time.
func TestBursts(t *testing.T) {
	for way, c := range allWays(t) {
		t.Run(way, func(t *testing.T) {
			needKVM(t, way)
			in := sha256.New()
			stdin, w := testhost.Pipe(t)
			feed := func() error {
				defer w.Close()
				b := make([]byte, 1)
				src := random(100_000)
				for n := 0; ; n++ {
					if _, err := src.Read(b); err == io.EOF {
						return nil
					}
					in.Write(b)
					if _, err := w.Write(b); err != nil {
						return err
					}
					if n%1000 == 0 {
						time.Sleep(time.Millisecond)
					}
				}
			}
			r, pipe := testhost.Pipe(t)
			copied(t, *c, stdin, feed, in, r, pipe, noPause)
		})
	}
}
