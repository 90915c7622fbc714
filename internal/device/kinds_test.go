package device

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// TestKinds has descriptors of the kernel's kinds: neither reading nor writing
// them waits, also what never becomes writable, unless they are refused.
func TestKinds(t *testing.T) {
	open := func(path string, flags int) func() (int, error) {
		return func() (int, error) { return unix.Open(path, flags, 0) }
	}
	for name, kind := range map[string]struct {
		make     func() (int, error)
		kind     Kind // 0: refused
		writable bool // ever
	}{
		"eventfd":  {func() (int, error) { return unix.Eventfd(0, 0) }, Other, true},
		"signalfd": {func() (int, error) { return unix.Signalfd(-1, &unix.Sigset_t{}, 0) }, Other, false},
		"timerfd":  {func() (int, error) { return unix.TimerfdCreate(unix.CLOCK_MONOTONIC, 0) }, Other, false},
		"inotify":  {func() (int, error) { return unix.InotifyInit1(0) }, Other, false},
		"epoll":    {func() (int, error) { return unix.EpollCreate1(0) }, 0, false},
		"pidfd":    {func() (int, error) { return unix.PidfdOpen(os.Getpid(), 0) }, 0, false},
		"memfd":    {func() (int, error) { return unix.MemfdCreate("m", 0) }, File, true},
		"null":     {open("/dev/null", unix.O_RDWR), Null, true},
		"zero":     {open("/dev/zero", unix.O_RDONLY), Null, false},
		"random":   {open("/dev/random", unix.O_RDWR), Other, true},
		"mounts":   {open("/proc/self/mounts", unix.O_RDONLY), File, false},
		"status":   {open("/proc/self/status", unix.O_RDONLY), File, false},
		"sysfs":    {open("/sys/kernel/uevent_seqnum", unix.O_RDONLY), File, false},
		"path":     {open("/dev/null", unix.O_PATH), 0, false},
		"folder":   {open("/", unix.O_RDONLY), 0, false},
		"ns":       {open("/proc/self/ns/net", unix.O_RDONLY), 0, false},
		"netlink":  {func() (int, error) { return unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, 0) }, Packet, true},
		"udp":      {func() (int, error) { return unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0) }, Packet, true},
		"tcp":      {func() (int, error) { return unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0) }, 0, false},
	} {
		fd, err := kind.make()
		if err != nil {
			testhost.Skip(t, name+": "+err.Error())
		}
		d, err := inherited(t, fd)
		if (err != nil) != (kind.kind == 0) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err != nil {
			checkLine(t, err)
			unix.Close(fd)
			continue
		}
		if d.Kind != kind.kind {
			t.Errorf("%s is %v", name, d.Kind)
		}
		p, err := d.Private()
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan unix.Errno)
		go func() {
			p.Read(make([]byte, 100))
			_, errno := p.Write(make([]byte, 8))
			done <- errno
		}()
		select {
		case errno := <-done:
			if !kind.writable && errno != unix.EBADF {
				t.Errorf("%s: a write: %v", name, errno)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s waits", name)
		}
		p.Close()
		unix.Close(fd)
	}
}
