package kernel

import (
	"errors"
	"fmt"
	"golang.org/x/sys/unix"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const workDirFD = 1<<64 - 100 // AT_FDCWD

// guestFS makes calls on the kernel's files below /m, and on the host's below a
// directory, and compares what comes of them.
type guestFS struct {
	t    *testing.T
	host string
	buf  uintptr // for paths and data
}

func (g *guestFS) path(at uintptr, p string) uint64 {
	copy(bytes(g.buf+at, uintptr(len(p)+1)), p+"\x00")
	return uint64(g.buf + at)
}

// errno is the number of a host's error.
func errno(err error) int64 {
	var e unix.Errno
	if errors.As(err, &e) {
		return -int64(e)
	}
	if err != nil {
		return -1
	}
	return 0
}

func (g *guestFS) same(what string, got int64, err error) bool {
	g.t.Helper()
	want := errno(err)
	// Which of two errors it is depends on the host's file system.
	either := func(a, b int64) bool { return got == a && want == b || got == b && want == a }
	odd := (strings.Contains(what, "/.") || strings.HasSuffix(what, "/") || strings.Contains(what, "/ ")) && got < 0 && want < 0 // of several reasons Linux has its favourites
	if got != want && !odd && !either(errNOTEMPTY, errEXIST) && !either(errNOTDIR, errISDIR) {
		g.t.Fatalf("%s: %d, the host says %d (%v)", what, got, want, err)
	}
	return got == 0
}

// names of a directory, as getdents gives them.
func (g *guestFS) names(p string) (all []string) {
	fd := result(sysOpenat, workDirFD, g.path(0, p), openDir, 0)
	if fd < 0 {
		g.t.Fatalf("open %s: %d", p, fd)
	}
	for {
		n := result(sysGetdents64, uint64(fd), uint64(g.buf+8192), 100)
		if n < 0 {
			g.t.Fatalf("getdents %s: %d", p, n)
		}
		if n == 0 {
			break
		}
		for at := g.buf + 8192; at < g.buf+8192+uintptr(n); at += uintptr(load16(at + direntLength)) {
			name := string(bytes(at+direntName, uintptr(length(at+direntName))))
			if name != "." && name != ".." {
				all = append(all, name)
			}
		}
	}
	result(sysClose, uint64(fd))
	slices.Sort(all)
	return all
}

// TestFilesModel does the same to the kernel's files and to the host's.
func TestFilesModel(t *testing.T) {
	boot(t, targetSPT, "")
	g := &guestFS{t, t.TempDir(), buffer(t, 64<<10)}
	if got := result(sysMkdirat, workDirFD, g.path(0, "/m"), 0o755); got != 0 {
		t.Fatal(got)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	name := func() string {
		p := ""
		for range 1 + rng.IntN(3) {
			p += "/" + []string{"a", "b", "c", "dd", ".", ".."}[rng.IntN(6)]
		}
		if strings.Contains(p, "..") || rng.IntN(10) == 0 { // it must not leave the directory
			p = "/a/b/../" + []string{"a", "b", "x"}[rng.IntN(3)]
		}
		if rng.IntN(12) == 0 {
			p += "/"
		}
		return p
	}
	done := map[string]int{}
	for range 20000 {
		p, q := name(), name()
		gp, gq, hp, hq := "/m"+p, "/m"+q, g.host+p, g.host+q
		switch op := rng.IntN(9); op {
		case 0:
			if g.same("mkdir "+p, result(sysMkdirat, workDirFD, g.path(0, gp), 0o755), unix.Mkdir(hp, 0o755)) {
				done["mkdir"]++
			}
		case 1, 2:
			data := strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(9000))
			flags := []int{unix.O_CREAT | unix.O_WRONLY, unix.O_CREAT | unix.O_WRONLY | unix.O_TRUNC, unix.O_WRONLY,
				unix.O_CREAT | unix.O_EXCL | unix.O_RDWR, unix.O_RDWR}[rng.IntN(5)]
			fd := result(sysOpenat, workDirFD, g.path(0, gp), uint64(flags), 0o644)
			hfd, err := unix.Open(hp, flags, 0o644)
			if !g.same(fmt.Sprintf("open %s %#x", p, flags), min(fd, 0), err) {
				break
			}
			copy(bytes(g.buf+8192, 9000), data)
			off := uint64(rng.IntN(5000))
			result(sysPwrite, uint64(fd), uint64(g.buf+8192), uint64(len(data)), off)
			result(sysWrite, uint64(fd), uint64(g.buf+8192), uint64(min(len(data), 10)))
			unix.Pwrite(hfd, []byte(data), int64(off))
			unix.Write(hfd, []byte(data[:min(len(data), 10)]))
			if rng.IntN(4) == 0 {
				n := rng.IntN(12000)
				g.same("ftruncate", result(sysFtruncate, uint64(fd), uint64(n)), unix.Ftruncate(hfd, int64(n)))
			}
			result(sysClose, uint64(fd))
			unix.Close(hfd)
			done["write"]++
		case 3:
			if g.same("unlink "+p, result(sysUnlinkat, workDirFD, g.path(0, gp), 0), unix.Unlink(hp)) {
				done["unlink"]++
			}
		case 4:
			if g.same("rmdir "+p, result(sysUnlinkat, workDirFD, g.path(0, gp), atRemoveDir), unix.Rmdir(hp)) {
				done["rmdir"]++
			}
		case 5:
			what := fmt.Sprintf("rename %s %s", p, q)
			if g.same(what, result(sysRename, g.path(0, gp), g.path(4096, gq)), unix.Rename(hp, hq)) {
				done["rename"]++
			}
		case 6:
			target := []string{"a", "b/c", "../a", "loop"}[rng.IntN(4)]
			if g.same("symlink "+p, result(sysSymlinkat, g.path(0, target), workDirFD, g.path(4096, gp)), unix.Symlink(target, hp)) {
				done["symlink"]++
			}
		case 7, 8:
			st, follow := g.buf+16384, uint64(op-7)*atNoFollow
			var h unix.Stat_t
			err := unix.Stat(hp, &h)
			if follow != 0 {
				err = unix.Lstat(hp, &h)
			}
			if g.same("stat "+p, result(sysNewfstatat, workDirFD, g.path(0, gp), uint64(st), follow), err) {
				done["stat"]++
				if mode := load32(st + statMode); mode != h.Mode || mode&modeType == modeFile && load64(st+statBytes) != uint64(h.Size) {
					t.Fatalf("stat %s: mode %o, size %d; the host's %o, %d", p, mode, load64(st+statBytes), h.Mode, h.Size)
				}
			}
		}
	}
	for _, what := range []string{"mkdir", "write", "unlink", "rmdir", "rename", "symlink", "stat"} {
		if done[what] < 20 {
			t.Errorf("%d times %s", done[what], what)
		}
	}
	// In the end both are alike.
	seen := 0
	err := filepath.WalkDir(g.host, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		gp := "/m" + strings.TrimPrefix(p, g.host)
		seen++
		switch {
		case d.IsDir():
			var want []string
			entries, _ := os.ReadDir(p)
			for _, e := range entries {
				want = append(want, e.Name())
			}
			if got := g.names(gp); !slices.Equal(got, want) {
				t.Errorf("%s has %q, the host %q", gp, got, want)
			}
		case d.Type()&os.ModeSymlink != 0:
			want, _ := os.Readlink(p)
			n := result(sysReadlinkat, workDirFD, g.path(0, gp), uint64(g.buf+8192), 4096)
			if n < 0 || string(bytes(g.buf+8192, uintptr(n))) != want {
				t.Errorf("link %s: %d", gp, n)
			}
		default:
			want, _ := os.ReadFile(p)
			fd := result(sysOpenat, workDirFD, g.path(0, gp), 0)
			n := result(sysRead, uint64(fd), uint64(g.buf+8192), 50000)
			if n < 0 || string(bytes(g.buf+8192, uintptr(n))) != string(want) {
				t.Errorf("file %s: %d bytes, the host's has %d", gp, n, len(want))
			}
			result(sysClose, uint64(fd))
		}
		return nil
	})
	if err != nil || seen < 3 {
		t.Errorf("%d files, %v", seen, err)
	}
}

// TestFilesFull fills the memory that files may have.
func TestFilesFull(t *testing.T) {
	boot(t, targetSPT, "")
	g := &guestFS{t, "", buffer(t, 16<<10)}
	used := fsUsed
	fd := result(sysOpenat, workDirFD, g.path(0, "/tmp/big"), openCreate|openReadWrt, 0o644)
	n := int64(0)
	for n >= 0 && n < 1<<30 {
		r := result(sysPwrite, uint64(fd), uint64(g.buf), 8192, uint64(n))
		if r < 0 {
			if r != errNOSPC {
				t.Errorf("full: %d", r)
			}
			break
		}
		n += r
	}
	if n < int64(fsLimit)/2 || fsUsed > fsLimit {
		t.Errorf("%d bytes, limit %d, used %d", n, fsLimit, fsUsed)
	}
	if r := result(sysPwrite, uint64(fd), uint64(g.buf), 1, 1<<62); r != errFBIG && r != errNOSPC {
		t.Errorf("far away: %d", r)
	}
	result(sysUnlinkat, workDirFD, g.path(0, "/tmp/big"), 0)
	result(sysClose, uint64(fd))
	if fsUsed > used+chunkNodes*nodeSize {
		t.Errorf("%d bytes are used, %d before", fsUsed, used)
	}
	for i := range maxNodes + 10 {
		fd := result(sysOpenat, workDirFD, g.path(0, fmt.Sprint("/tmp/", i)), openCreate|openReadWrt, 0o644)
		if fd == errNOSPC {
			return
		}
		if fd < 0 {
			t.Fatal(fd)
		}
		result(sysClose, uint64(fd))
	}
	t.Error("there is no end of files")
}

// A packed file becomes shorter where it lies, and a file of its own when it is
// written.
func TestPackedShorter(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		const size, short = 10_000, 100
		packed := buffer(t, size)
		for i := range bytes(packed, size) {
			bytes(packed, size)[i] = 'p'
		}
		d := node{data: packed, size: size, packed: true}
		if r := d.resize(short); r != 0 || d.size != short || d.data != packed || d.room != 0 {
			t.Fatalf("%d: %d bytes, room for %d", r, d.size, d.room)
		}
		from := buffer(t, 1)
		bytes(from, 1)[0] = 'w'
		if r := d.writeAt(from, 1, 2*short); r != 1 {
			t.Fatal(r)
		}
		want := strings.Repeat("p", short) + strings.Repeat("\x00", short) + "w"
		if got := string(bytes(d.data, d.size)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got := string(bytes(packed, size)); got != strings.Repeat("p", size) {
			t.Error("the packed tree is changed")
		}
	})
}
