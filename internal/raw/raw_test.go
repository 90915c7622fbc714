package raw

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

type pair struct {
	a byte
	b *int
}

// Memory is the same from the arena and from the runtime.
func TestMemory(t *testing.T) {
	for _, early := range []bool{false, true, true} {
		if early {
			Begin()
			defer Undo()
		}
		if Early() != early {
			t.Errorf("Early is %v, want %v", Early(), early)
		}
		n := 7
		s := Slice[pair](2, 3)
		if len(s) != 2 || cap(s) != 3 || s[:3][2] != (pair{}) {
			t.Errorf("Slice: %v, capacity %d", s, cap(s))
		}
		s[1] = pair{1, &n}
		old := s
		for range 100 {
			s = Append(s, pair{2, nil}, pair{3, nil})
		}
		if len(s) != 202 || s[1] != (pair{1, &n}) || s[201].a != 3 || old[1] != s[1] {
			t.Errorf("Append: %d elements, %v, %v", len(s), s[1], s[201])
		}
		if p := New[pair](); *p != (pair{}) {
			t.Errorf("New: %v", *p)
		}
		c := Clone(s[:2])
		c[0].a = 9
		if s[0].a != 0 || c[1] != s[1] {
			t.Error("Clone is no copy")
		}
		for _, got := range [][2]string{
			{Join(nil, " "), ""}, {Join([]string{"", "a", ""}, " "), " a "}, {Join([]string{"a", "b"}, ", "), "a, b"},
			{Concat("a", "", "bc"), "abc"}, {Decimal(0), "0"}, {Decimal(1<<64 - 1), "18446744073709551615"},
			{string(CString("a")), "a\x00"}, {string(CString("")), "\x00"},
		} {
			if got[0] != got[1] {
				t.Errorf("%q, want %q", got[0], got[1])
			}
		}
		if early {
			Undo()
		}
	}
}

// The arena does not give what it does not have, and is zeroed when it is used
// again.
func TestArena(t *testing.T) {
	for range 2 {
		Begin()
		total := 0
		for range 20 {
			b := Slice[byte](100_000, 100_000)
			for i := range b {
				if b[i] != 0 {
					t.Fatal("memory is not zeroed")
				}
				b[i] = 1
			}
			total += len(b)
		}
		if total < 2*arenaSize-arenaSize/8 {
			t.Errorf("only %d bytes were asked for", total)
		}
		Undo()
	}
	Begin()
	defer Undo()
	defer func() {
		if recover() == nil {
			t.Error("a capacity below the length is no panic")
		}
	}()
	n := 2
	Slice[byte](n, n-1)
}

// Undo closes what was opened since Begin, and nothing else.
func TestUndo(t *testing.T) {
	isOpen := func(fd int) bool {
		_, err := Fcntl(fd, unix.F_GETFD, 0)
		return err == nil
	}
	before, err := Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer Close(before)
	Begin()
	var opened []int
	for _, open := range []func() (int, error){
		func() (int, error) { return Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC) },
		func() (int, error) { return MemfdCreate("test", unix.MFD_CLOEXEC) },
		func() (int, error) { return Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) },
		func() (int, error) { return Fcntl(before, unix.F_DUPFD_CLOEXEC, 10) },
		EpollCreate,
	} {
		fd, err := open()
		if err != nil {
			t.Fatal(err)
		}
		opened = append(opened, fd)
	}
	Undo()
	for _, fd := range opened {
		if isOpen(fd) {
			t.Errorf("descriptor %d is still open", fd)
		}
	}
	if !isOpen(before) {
		t.Errorf("descriptor %d was closed", before)
	}
}

// Errors are those of the kernel; a path with a NUL names no file.
func TestErrors(t *testing.T) {
	var st unix.Stat_t
	for _, test := range []struct {
		err  error
		want unix.Errno
	}{
		{func() error { _, err := Open("/nonexistent", 0); return err }(), unix.ENOENT},
		{func() error { _, err := Open("/dev/null\x00", 0); return err }(), unix.EINVAL},
		{Stat("/dev/null\x00", &st), unix.EINVAL},
		{Stat("/"+strings.Repeat("a", 5000), &st), unix.ENAMETOOLONG},
		{Close(-1), unix.EBADF},
		{ReadNothing(-1), unix.EBADF},
		{HasPeer(0x7fffffff), unix.EBADF},
	} {
		if test.err != test.want {
			t.Errorf("%v, want %v", test.err, test.want)
		}
	}
	if err := Stat("/dev/null", &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
		t.Errorf("/dev/null: mode %#o, %v", st.Mode, err)
	}
}
