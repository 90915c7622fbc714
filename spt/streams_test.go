package spt

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// cats are guests that copy descriptor 0 to the console: the two bundled ones,
// and one that waits before every read.
func cats(t *testing.T) map[string]*unikernel {
	p := guests.NewProbe(image.SPT, image.Entry{Name: "stdin", Type: image.Net})
	p.Do(p.Execute(guests.N(p.Code(pollFirst(0)))))
	return map[string]*unikernel{
		"simple":     cat(t, guests.Simple),
		"advanced":   cat(t, guests.Advanced),
		"poll first": {Image: encode(t, p), Net: []string{"stdin=@0"}},
	}
}

// source is a kind of standard input.
type source struct {
	name string
	// open returns the guest's side, and a function that writes data to the
	// other side and ends it. It may write before it returns.
	open func(t *testing.T, data []byte) (stdin *os.File, feed func() error)
	data []byte
}

// all writes data to w and closes it.
func all(w *os.File, data []byte) func() error {
	return func() error {
		_, err := w.Write(data)
		return errorOr(err, w.Close())
	}
}

func errorOr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func nothing() error { return nil }

var large = testhost.Random(3<<20 + 17)

func sources() []source {
	return []source{
		{"pipe", func(t *testing.T, data []byte) (*os.File, func() error) {
			r, w := testhost.Pipe(t)
			return r, all(w, data)
		}, large},
		{"pipe, nothing in it", func(t *testing.T, data []byte) (*os.File, func() error) {
			r, w := testhost.Pipe(t)
			return r, w.Close
		}, nil},
		{"pipe, writer gone", func(t *testing.T, data []byte) (*os.File, func() error) {
			r, w := testhost.Pipe(t)
			if err := all(w, data)(); err != nil {
				t.Fatal(err)
			}
			return r, nothing
		}, large[:60000]},
		{"pipe, bursts", func(t *testing.T, data []byte) (*os.File, func() error) {
			r, w := testhost.Pipe(t)
			return r, func() error {
				for i := range data {
					if _, err := w.Write(data[i : i+1]); err != nil {
						return err
					}
					if i%256 == 0 {
						time.Sleep(time.Millisecond)
					}
				}
				return w.Close()
			}
		}, large[:20000]},
		{"pipe, non-blocking", func(t *testing.T, data []byte) (*os.File, func() error) {
			r, w := testhost.Pipe(t)
			if err := unix.SetNonblock(int(r.Fd()), true); err != nil {
				t.Fatal(err)
			}
			return r, all(w, data)
		}, large},
		{"fifo", func(t *testing.T, data []byte) (*os.File, func() error) {
			r, w := fifo(t)
			return r, all(w, data)
		}, large},
		{"fifo, writer gone", func(t *testing.T, data []byte) (*os.File, func() error) {
			r, w := fifo(t)
			if err := all(w, data)(); err != nil {
				t.Fatal(err)
			}
			return r, nothing
		}, large[:60000]},
		{"fifo, writer gone, nothing in it", func(t *testing.T, data []byte) (*os.File, func() error) {
			r, w := fifo(t)
			w.Close()
			return r, nothing
		}, nil},
		{"fifo open for both", func(t *testing.T, data []byte) (*os.File, func() error) {
			// Its own reader is a writer too: it has no end.
			path := filepath.Join(t.TempDir(), "fifo")
			if err := unix.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			return f, nil
		}, nil},
		{"file", func(t *testing.T, data []byte) (*os.File, func() error) {
			f := testhost.Memfd(t)
			if _, err := f.WriteAt(data, 0); err != nil {
				t.Fatal(err)
			}
			return f, nothing
		}, large},
		{"file at offset", func(t *testing.T, data []byte) (*os.File, func() error) {
			f := testhost.Memfd(t)
			if _, err := f.WriteAt(data, 12345); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Seek(12345, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			return f, nothing
		}, large},
		{"file on disk", func(t *testing.T, data []byte) (*os.File, func() error) {
			f, err := os.Open(testhost.Disk(t, len(data)))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			return f, nothing
		}, large},
		{"empty file", func(t *testing.T, data []byte) (*os.File, func() error) { return testhost.Memfd(t), nothing }, nil},
		{"/dev/null", func(t *testing.T, data []byte) (*os.File, func() error) { return testhost.Null(t), nothing }, nil},
		{"stream socket", func(t *testing.T, data []byte) (*os.File, func() error) {
			r, w := socketpair(t, unix.SOCK_STREAM)
			return r, all(w, data)
		}, large},
		{"stream socket, writer gone", func(t *testing.T, data []byte) (*os.File, func() error) {
			r, w := socketpair(t, unix.SOCK_STREAM)
			if err := all(w, data)(); err != nil {
				t.Fatal(err)
			}
			return r, nothing
		}, large[:60000]},
		{"seqpacket socket", func(t *testing.T, data []byte) (*os.File, func() error) {
			r, w := socketpair(t, unix.SOCK_SEQPACKET)
			return r, packets(w, data)
		}, large[:100000]},
		{"datagram socket", func(t *testing.T, data []byte) (*os.File, func() error) {
			r, w := socketpair(t, unix.SOCK_DGRAM)
			return r, func() error {
				// An empty datagram is what these guests take for the end.
				err := packets(w, data)()
				return errorOr(unix.Sendto(int(w.Fd()), nil, 0, nil), err)
			}
		}, large[:100000]},
		{"terminal", func(t *testing.T, data []byte) (*os.File, func() error) {
			master, slave := testhost.RawPTY(t)
			// Line by line, as it is typed, so that ^D is the end.
			testhost.SetCanonical(t, slave)
			return slave, func() error {
				for line := range strings.Lines(string(data)) {
					if _, err := master.WriteString(line); err != nil {
						return err
					}
				}
				_, err := master.Write([]byte{4})
				return err
			}
		}, []byte(strings.Repeat("the quick brown fox\n", 2000))},
	}
}

// packets sends data in packets of 999 bytes, the size that no cat here
// truncates.
func packets(w *os.File, data []byte) func() error {
	return func() error {
		for len(data) > 0 {
			n := min(999, len(data))
			if _, err := w.Write(data[:n]); err != nil {
				return err
			}
			data = data[n:]
		}
		if kind, err := unix.GetsockoptInt(int(w.Fd()), unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind == unix.SOCK_DGRAM {
			return err
		}
		return w.Close()
	}
}

func socketpair(t *testing.T, kind int) (r, w *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return testhost.File(t, fds[0]), testhost.File(t, fds[1])
}

// fifo makes a named FIFO with a reader, which waited for the writer.
func fifo(t *testing.T) (r, w *os.File) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	opened := make(chan int)
	go func() {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			fd = -1
		}
		opened <- fd
	}()
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return testhost.File(t, <-opened), testhost.File(t, fd)
}

// TestStreams copies every kind of standard input to its end and compares all
// bytes, and the flags that the caller shares.
func TestStreams(t *testing.T) {
	for name, u := range cats(t) {
		path := u.seal(t)
		for _, s := range sources() {
			t.Run(name+"/"+s.name, func(t *testing.T) {
				stdin, feed := s.open(t, s.data)
				stdout := testhost.Memfd(t)
				stderr := testhost.Memfd(t)
				before := flags(t, stdin)
				c := testhost.Command{Path: path, Files: []*os.File{stdin, stdout, stderr}}
				p := c.Start(t)
				if feed == nil { // input without an end
					p.WaitAsleep()
					p.Signal(unix.SIGTERM)
					if s := p.Wait(); s.Signal() != unix.SIGTERM {
						t.Errorf("status %#x", s)
					}
					return
				}
				if err := feed(); err != nil {
					t.Fatal(err)
				}
				status := p.Wait()
				out := testhost.Contents(t, stdout)
				if status != 0 || out != string(s.data) {
					t.Errorf("status %#x, %d bytes of %d (equal up to %d), stderr %q", status, len(out), len(s.data),
						common(out, string(s.data)), testhost.Contents(t, stderr))
				}
				if after := flags(t, stdin); after != before && !strings.Contains(s.name, "socket") {
					t.Errorf("flags %#x before, %#x after", before, after)
				}
			})
		}
	}
}

// common is the length of the longest common prefix.
func common(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func flags(t *testing.T, f *os.File) int {
	t.Helper()
	fl, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fl
}

// TestStallingReader has a console that is full most of the time, whether it
// blocks or not.
func TestStallingReader(t *testing.T) {
	data := large[:2<<20]
	for _, kind := range []string{"pipe", "fifo", "socket"} {
		for _, nonblocking := range []bool{false, true} {
			for name, u := range cats(t) {
				if name == "poll first" && nonblocking && kind == "socket" {
					continue // it ignores the result of a write, as Solo5's bindings do
				}
				t.Run(fmt.Sprintf("%s/%s/%v", kind, name, nonblocking), func(t *testing.T) {
					var r, w *os.File
					switch kind {
					case "pipe":
						r, w = testhost.Pipe(t)
					case "fifo":
						r, w = fifo(t)
					case "socket":
						r, w = socketpair(t, unix.SOCK_STREAM)
					}
					if err := unix.SetNonblock(int(w.Fd()), nonblocking); err != nil {
						t.Fatal(err)
					}
					before := flags(t, w)
					in, feed := testhost.Pipe(t)
					go all(feed, data)()
					c := testhost.Command{Path: u.seal(t), Files: []*os.File{in, w, testhost.Null(t)}}
					p := c.Start(t)
					done := make(chan string)
					go func() {
						var got []byte
						buf := make([]byte, 100<<10)
						for n := 0; ; n++ {
							if n%8 == 0 {
								time.Sleep(5 * time.Millisecond)
							}
							k, err := r.Read(buf)
							got = append(got, buf[:k]...)
							if err != nil {
								break
							}
						}
						done <- string(got)
					}()
					status := p.Wait()
					if after := flags(t, w); after != before {
						t.Errorf("flags %#x before, %#x after", before, after)
					}
					w.Close()
					if got := <-done; status != 0 || got != string(data) {
						t.Errorf("status %#x, %d bytes of %d, equal up to %d", status, len(got), len(data), common(got, string(data)))
					}
				})
			}
		}
	}
}

// TestConsoleGone has a console that nobody reads.
func TestConsoleGone(t *testing.T) {
	r, w := testhost.Pipe(t)
	r.Close()
	u := cat(t, guests.Advanced)
	c := testhost.Command{Path: u.seal(t), Files: []*os.File{testhost.Memfd(t), w}}
	if _, err := c.Files[0].WriteAt(large, 0); err != nil {
		t.Fatal(err)
	}
	if s := c.Start(t).Wait(); s.Signal() != unix.SIGPIPE {
		t.Errorf("status %#x", s)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	c.Files[1] = full
	if s := c.Start(t).Wait(); s.ExitStatus() != 1 {
		t.Errorf("status %#x", s)
	}
}

// TestUnreadableInput has descriptors that are open and of no use.
func TestUnreadableInput(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	_, w := testhost.Pipe(t)
	for name, c := range map[string]struct {
		f     *os.File
		errno int
	}{
		"directory":  {dir, int(unix.EISDIR)},
		"write only": {w, int(unix.EBADF)},
	} {
		stdout := testhost.Memfd(t)
		r := cat(t, guests.Advanced).run(t, c.f, stdout)
		out := testhost.Contents(t, stdout)
		if want := fmt.Sprintf("cat: cannot read stdin: error %d\n", c.errno); r.Status != 1 || out != want || r.Stderr != "" {
			t.Errorf("%s: status %d, stdout %q, stderr %q", name, r.Status, out, r.Stderr)
		}
	}
}
