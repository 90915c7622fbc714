package device

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

func capacity(t *testing.T, fd int) int {
	t.Helper()
	n, err := unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWiden(t *testing.T) {
	r, w := pipe(t)
	if now := capacity(t, r); now >= maxPipe {
		t.Fatalf("a new pipe has %d bytes", now)
	}
	if _, err := unix.Write(w, []byte("kept")); err != nil {
		t.Fatal(err)
	}
	Widen(r)
	if now := capacity(t, w); now != maxPipe {
		t.Errorf("capacity %d, want %d", now, maxPipe)
	}
	buf := make([]byte, 10)
	if n, err := unix.Read(r, buf); err != nil || string(buf[:n]) != "kept" {
		t.Errorf("read %q, %v", buf[:max(n, 0)], err)
	}

	// Never narrower, where this process may go beyond pipe-max-size at all
	// (CAP_SYS_RESOURCE).
	if _, err := unix.FcntlInt(uintptr(r), unix.F_SETPIPE_SZ, 2*maxPipe); err == nil {
		Widen(r)
		if now := capacity(t, r); now != 2*maxPipe {
			t.Errorf("capacity %d, was %d", now, 2*maxPipe)
		}
	}

	// No pipe, no effect, no panic.
	Widen(open(t, "/dev/null", unix.O_RDONLY))
	Widen(-1)
}

// A user who has used up the pipe budget gets what is left, or keeps what there
// is.
func TestWidenLimited(t *testing.T) {
	soft, err := os.ReadFile("/proc/sys/fs/pipe-user-pages-soft")
	if err != nil {
		t.Fatal(err)
	}
	if pages, err := strconv.Atoi(strings.TrimSpace(string(soft))); err != nil || pages == 0 || pages > 16384 {
		testhost.Skip(t, "pipe-user-pages-soft is "+string(soft))
	}
	var pipes [][2]int
	testhost.Unprivileged(t, func() {
		// Each takes 1 MiB of the user's 64 MiB (pipe-user-pages-soft,
		// 16384 pages); 16 more find it used up.
		for range 80 {
			var fds [2]int
			if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			pipes = append(pipes, fds)
			before := capacity(t, fds[0])
			Widen(fds[0])
			if now := capacity(t, fds[0]); now < before || now > maxPipe {
				t.Errorf("pipe %d: capacity %d, was %d", len(pipes), now, before)
			}
		}
		if now := capacity(t, pipes[len(pipes)-1][0]); now == maxPipe {
			t.Errorf("the limit was never reached; pipe %d has %d bytes", len(pipes), now)
		}
	})
	for _, p := range pipes {
		unix.Close(p[0])
		unix.Close(p[1])
	}
}

func TestEOF(t *testing.T) {
	for _, e := range []EOF{EOFAuto, EOFZero, EOFAgain} {
		if got, err := ParseEOF(e.String()); got != e || err != nil {
			t.Errorf("%v: parsed as %v, %v", e, got, err)
		}
	}
	for _, s := range []string{"", "Auto", "zero ", "0", "never\n"} {
		_, err := ParseEOF(s)
		if err == nil {
			t.Errorf("%q is accepted", s)
			continue
		}
		checkLine(t, err)
	}
}
