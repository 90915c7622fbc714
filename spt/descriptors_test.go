package spt

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// TestJunkDescriptors has a caller that forgot two hundred descriptors.
func TestJunkDescriptors(t *testing.T) {
	for _, high := range []int{500, 900, 1000} {
		if err := unix.Dup3(int(testhost.Null(t).Fd()), high, 0); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(high)
	}
	for _, run := range []bool{false, true} {
		u := cat(t, guests.Simple)
		c := &testhost.Command{Path: u.seal(t)}
		if run {
			c = u.command(t)
		}
		r, _ := testhost.Pipe(t)
		c.Files = []*os.File{r}
		for range 200 {
			c.Files = append(c.Files, testhost.Null(t))
		}
		p := c.Start(t)
		p.WaitAsleep()
		got := openFiles(t, p.Pid)
		want := []string{"0 pipe", "1 /dev/null", "2 /dev/null", "3 anon_inode:[eventpoll]", "4 anon_inode:[timerfd]", "6 pipe"}
		if !slices.Equal(got, want) {
			t.Errorf("run %v: descriptors %q, want %q", run, got, want)
		}
	}
}

// openFiles lists a process's descriptors, in order of their numbers.
func openFiles(t *testing.T, pid int) []string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd/", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		target, err := os.Readlink(dir + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(target, "pipe:") {
			target = "pipe"
		}
		all = append(all, e.Name()+" "+target)
	}
	return all
}

// TestClosedDescriptors has a caller that closed some of the standard ones.
func TestClosedDescriptors(t *testing.T) {
	disk := testhost.Disk(t, 4096)
	p := guests.NewProbe(image.SPT, image.Entry{Name: "disk", Type: image.Block})
	p.Do(p.Puts("up"), p.Syscall(unix.SYS_EPOLL_PWAIT, guests.Boot32(bootEpoll), guests.N(guests.Scratch), guests.N(1), guests.N(^uint64(0))))
	u := &unikernel{Image: encode(t, p), Block: []string{"disk=" + disk}}
	path := u.seal(t)
	for open := range 8 {
		c := testhost.Command{Path: path, Files: make([]*os.File, 3)}
		names := []string{"/dev/null", "/memfd:test (deleted)", "/memfd:test (deleted)"}
		var want []string
		for n := range 3 {
			if open>>n&1 != 0 {
				c.Files[n] = testhost.Memfd(t)
				if n == 0 {
					c.Files[n] = testhost.Null(t)
				}
			}
		}
		p := c.Start(t)
		if open&2 == 0 {
			if s := p.Wait(); s.ExitStatus() != 1 {
				t.Errorf("open %03b: status %#x", open, s)
			}
			message := testhost.Contents(t, c.Files[2])
			if open&4 != 0 && message != "gocat: standard output is not open: bad file descriptor\n" {
				t.Errorf("open %03b: %q", open, message)
			}
			continue
		}
		p.WaitAsleep()
		// Standard input is closed in any case, for it belongs to no device.
		want = append(want, "1 "+names[1])
		if open&4 != 0 {
			want = append(want, "2 "+names[2])
		} else {
			want = append(want, "2 anon_inode:[eventfd]")
		}
		want = append(want, "3 "+disk, "4 anon_inode:[eventpoll]", "5 anon_inode:[timerfd]")
		if got := openFiles(t, p.Pid); !slices.Equal(got, want) {
			t.Errorf("open %03b: descriptors %q, want %q", open, got, want)
		}
		if out := testhost.Contents(t, c.Files[1]); out != "up" {
			t.Errorf("open %03b: stdout %q", open, out)
		}
	}
}

// TestMissingDescriptor has a sealed guest that is started without a descriptor
// that it needs.
func TestMissingDescriptor(t *testing.T) {
	u := cat(t, guests.Simple)
	c := testhost.Command{Path: u.seal(t), Files: []*os.File{nil, testhost.Null(t), testhost.Memfd(t)}}
	if s := c.Start(t).Wait(); s.ExitStatus() != 1 {
		t.Errorf("status %#x", s)
	}
	if got, want := testhost.Contents(t, c.Files[2]), "gocat: network device 'stdin': descriptor 0 is not open: bad file descriptor\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}

	u.Net = []string{"stdin=@77"}
	check(t, u.run(t), 1, "", "gocat: network device 'stdin': descriptor 77 is not open: bad file descriptor\n")
}

// TestDeviceNumbers has devices on descriptors of any number.
func TestDeviceNumbers(t *testing.T) {
	for _, fd := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 100} {
		for _, quiet := range []bool{false, true} {
			r, w := testhost.Pipe(t)
			if _, err := w.WriteString("through"); err != nil {
				t.Fatal(err)
			}
			w.Close()
			u := cat(t, guests.Simple)
			u.Net = []string{fmt.Sprintf("stdin=@%d", fd)}
			u.QuietFaults = quiet
			files := []*os.File{testhost.Null(t), testhost.Memfd(t), testhost.Memfd(t)}
			for len(files) <= fd {
				files = append(files, nil)
			}
			files[fd] = r
			got := u.run(t, files...)
			if fd == 1 {
				continue // a console that cannot be written
			}
			if out := testhost.Contents(t, files[1]); got.Status != 0 || out != "through" {
				t.Errorf("descriptor %d, quiet %v: status %d, stdout %q", fd, quiet, got.Status, out)
			}
		}
	}
}

// TestManyDescriptors has as many devices as a manifest can declare, on
// descriptors in no order.
func TestManyDescriptors(t *testing.T) {
	var entries []image.Entry
	u := &unikernel{}
	files := make([]*os.File, 300)
	files[0], files[1], files[2] = testhost.Null(t), testhost.Memfd(t), testhost.Memfd(t)
	var writers []*os.File
	for i := range image.MaxEntries - 1 {
		name := fmt.Sprintf("n%d", i)
		fd := 3 + (i*61)%290
		r, w := testhost.Pipe(t)
		files[fd] = r
		writers = append(writers, w)
		entries = append(entries, image.Entry{Name: name, Type: image.Net})
		u.Net = append(u.Net, fmt.Sprintf("%s=@%d", name, fd))
	}
	p := guests.NewProbe(image.SPT, entries...)
	for i := range entries {
		// Read a byte of every device, by the number in its manifest entry,
		// when epoll says so.
		p.Do(p.Syscall(unix.SYS_EPOLL_PWAIT, guests.Boot32(bootEpoll), guests.N(guests.Scratch), guests.N(1), guests.N(1000)).Equals(guests.N(1), 1))
		p.Do(p.Move(guests.At32(guests.Scratch+4)).Equals(guests.N(uint64(i+1)), 2))
		p.Do(p.Syscall(unix.SYS_READ, hostFD(i+1), guests.N(guests.Scratch+64), guests.N(100)).Equals(guests.N(1), 3))
		p.Do(p.Syscall(unix.SYS_WRITE, guests.N(1), guests.N(guests.Scratch+64), guests.N(1)))
		p.Do(p.Syscall(unix.SYS_READ, hostFD(i+1), guests.N(guests.Scratch+64), guests.N(100)).Equals(guests.Errno(uint64(unix.EAGAIN)), 4))
	}
	u.Image = encode(t, p)
	c := testhost.Command{Path: u.seal(t), Files: files}
	process := c.Start(t)
	var want []byte
	for i, w := range writers {
		b := byte('0' + i)
		want = append(want, b)
		process.WaitAsleep()
		if _, err := w.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
		for len(testhost.Contents(t, files[1])) <= i && process.Running() {
		}
	}
	if s := process.Wait(); s.ExitStatus() != 0 || testhost.Contents(t, files[1]) != string(want) {
		t.Errorf("status %#x, stdout %q, stderr %q", s, testhost.Contents(t, files[1]), testhost.Contents(t, files[2]))
	}
}

// hostFD is the descriptor of a handle's device.
func hostFD(handle int) guests.Value { return guests.At32(entryField(handle, 88)) }
