package kernel

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMappings makes the same calls on a mapped file here and on the host: it is
// written to, through the file and the mappings, grows and shrinks, and what both
// have in it is compared.
func TestMappings(t *testing.T) {
	const most = 64 * pageSize
	boot(t, targetSPT, "")
	buf := buffer(t, most)
	g := &guestFS{t: t, buf: buf}
	host, err := os.OpenFile(filepath.Join(t.TempDir(), "f"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	fd := result(sysOpenat, workDirFD, g.path(0, "/tmp/mapped"), openCreate|openReadWrt, 0o644)
	if fd < 0 {
		t.Fatal(fd)
	}
	type pair struct {
		here, there []byte
		offset      int
		writes      bool
	}
	var pairs []pair
	size := 0
	r := rand.New(rand.NewPCG(1, 2))
	unmap := func(i int) {
		p := pairs[i]
		if got := result(sysMunmap, uint64(addressOf(&p.here[0])), uint64(len(p.here))); got != 0 {
			t.Fatalf("munmap: %d", got)
		}
		unix.Munmap(p.there)
		pairs = slices.Delete(pairs, i, i+1)
	}
	for range 3000 {
		switch r.IntN(6) {
		case 0: // write to the file
			b := make([]byte, 1+r.IntN(3*pageSize))
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			at := r.IntN(most - len(b))
			copy(bytes(buf, uintptr(len(b))), b)
			if got := result(sysPwrite, uint64(fd), uint64(buf), uint64(len(b)), uint64(at)); got != int64(len(b)) {
				if got != errNOSPC || len(pairs) == 0 {
					t.Fatalf("pwrite of %d at %d: %d", len(b), at, got)
				}
				continue
			}
			host.WriteAt(b, int64(at))
			size = max(size, at+len(b))
		case 1: // change its size
			n := r.IntN(most)
			if got := result(sysFtruncate, uint64(fd), uint64(n)); got != 0 {
				if got != errNOSPC || len(pairs) == 0 {
					t.Fatalf("ftruncate to %d: %d", n, got)
				}
				continue
			}
			host.Truncate(int64(n))
			size = n
		case 2: // map it, no two parts with one end
			offset, n := r.IntN(8)*pageSize, (1+r.IntN(16))*pageSize
			if len(pairs) == 8 || slices.ContainsFunc(pairs, func(p pair) bool { return p.offset+len(p.here) == offset+n }) {
				continue
			}
			writes := r.IntN(2) == 0
			prot := unix.PROT_READ
			if writes {
				prot |= unix.PROT_WRITE
			}
			got := result(sysMmap, 0, uint64(n), uint64(prot), mapShared, uint64(fd), uint64(offset))
			if got == errNOMEM && len(pairs) > 0 {
				continue
			}
			there, err := unix.Mmap(int(host.Fd()), int64(offset), n, prot, unix.MAP_SHARED)
			if got < 0 || err != nil {
				t.Fatalf("mmap: %d, %v", got, err)
			}
			pairs = append(pairs, pair{bytes(uintptr(got), uintptr(n)), there, offset, writes})
		case 3: // write through a mapping
			if len(pairs) == 0 {
				continue
			}
			p := pairs[r.IntN(len(pairs))]
			if n := min(len(p.here), size-p.offset); p.writes && n > 0 {
				i, v := r.IntN(n), byte(r.Uint32())
				p.here[i], p.there[i] = v, v
			}
		case 4:
			if len(pairs) > 0 {
				unmap(r.IntN(len(pairs)))
			}
		case 5: // compare
			for _, p := range pairs {
				if n := min(len(p.here), size-p.offset); n > 0 && string(p.here[:n]) != string(p.there[:n]) {
					t.Fatalf("%d bytes at %d differ between the mappings", n, p.offset)
				}
			}
			want := make([]byte, size)
			host.ReadAt(want, 0)
			got := result(sysPread, uint64(fd), uint64(buf), most, 0)
			if got != int64(size) || string(bytes(buf, uintptr(size))) != string(want) {
				t.Fatalf("the file has %d bytes, the host's %d, and they differ", got, size)
			}
		}
	}
	for len(pairs) > 0 {
		unmap(0)
	}
	if got := result(sysMmap, 0, pageSize, 3, mapShared, uint64(fd), 0); got < 0 {
		t.Fatal(got)
	} else {
		if r := result(sysMadvise, uint64(got), pageSize, adviceDontNeed); r != 0 {
			t.Errorf("madvise: %d", r)
		}
		if r := result(sysMunmap, uint64(got), 2*pageSize); r != errINVAL {
			t.Errorf("munmap of more than a mapping: %d", r)
		}
		if r := result(sysMmap, uint64(got), pageSize, 3, mapAnonymous|mapFixed); r != errINVAL {
			t.Errorf("mmap over a mapping: %d", r)
		}
		for _, nr := range []uint64{sysMsync, sysMlock, sysMunlock} {
			if r := result(nr, uint64(got), pageSize, 4); r != 0 {
				t.Errorf("call %d of a mapping: %d", nr, r)
			}
			if r := result(nr, uint64(memory.limit), pageSize, 4); r != errNOMEM {
				t.Errorf("call %d of what is no memory: %d", nr, r)
			}
		}
		// What is written behind the end of the file is not there when it grows.
		behind := bytes(uintptr(got), pageSize)
		result(sysFtruncate, uint64(fd), 10)
		behind[20] = 1
		result(sysFtruncate, uint64(fd), 30)
		if behind[20] != 0 {
			t.Errorf("the file has what was written behind its end")
		}
		// The file goes with its last mapping.
		used := fsUsed
		result(sysUnlinkat, workDirFD, g.path(0, "/tmp/mapped"), 0)
		result(sysClose, uint64(fd))
		if fsUsed != used {
			t.Errorf("the file is gone while it is mapped")
		}
		if r := result(sysMunmap, uint64(got), pageSize); r != 0 || fsUsed >= used {
			t.Errorf("munmap: %d, %d of %d bytes are still used", r, fsUsed, used)
		}
	}
	if nMappings != 0 {
		t.Errorf("%d mappings remain", nMappings)
	}
}
