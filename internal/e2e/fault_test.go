package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// twoDevices is an spt guest with a network device net and a block device disk,
// which exits with status 5.
func twoDevices(t *testing.T) string {
	t.Helper()
	p := guests.NewProbe(image.SPT, image.Entry{Name: "net", Type: image.Net}, image.Entry{Name: "disk", Type: image.Block})
	p.Do(p.Exit(guests.N(5)))
	return imageFile(t, p, "two.spt")
}

func imageFile(t *testing.T, p *guests.Probe, name string) string {
	t.Helper()
	b, err := p.Image()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// diskWriter is a guest that writes the last block of its disk, which has size
// bytes, and exits with 5 when that fails as want says: errors are the guest's to
// handle. It goes on after that.
func diskWriter(t *testing.T, target image.Target, size uint64, want ...uint64) string {
	t.Helper()
	const block = 512
	n := guests.N
	p := guests.NewProbe(target, image.Entry{Name: "disk", Type: image.Block})
	if target == image.SPT {
		disk := p.DeviceFD(1)
		p.Do(p.Syscall(unix.SYS_PWRITE64, disk, n(guests.Scratch), n(block), n(size-block)).Equals(guests.Errno(want[0]), 2))
		p.Do(p.Syscall(unix.SYS_PREAD64, disk, n(guests.Scratch), n(block), n(0)).Equals(n(block), 3))
	} else {
		p.Hypercall(4, guests.Scratch, n(1), n(size-block), n(guests.Scratch+0x1000), n(block), n(0))
		p.Do(p.Move(guests.At32(guests.Scratch+32)).Equals(n(3), 2)) // SOLO5_R_EUNSPEC
		p.Hypercall(5, guests.Scratch, n(1), n(0), n(guests.Scratch+0x1000), n(block), n(0))
		p.Do(p.Move(guests.At32(guests.Scratch+32)).Equals(n(0), 3))
	}
	p.Do(p.Exit(n(5)))
	return imageFile(t, p, "writer."+target.String())
}

// targets has both kinds of guests.
func targets(t *testing.T, f func(t *testing.T, target image.Target)) {
	for _, target := range []image.Target{image.SPT, image.HVT} {
		t.Run(target.String(), func(t *testing.T) {
			needKVM(t, target.String())
			f(t, target)
		})
	}
}

// TestDiskFull has a file with holes on a file system without room for them
// behind a block device.
func TestDiskFull(t *testing.T) {
	testhost.NeedRoot(t, "to make namespaces and taps")
	targets(t, func(t *testing.T, target image.Target) {
		image := diskWriter(t, target, 1<<20, uint64(unix.ENOSPC))
		dir := t.TempDir()
		testhost.Tmpfs(t, dir)
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=64k"); err != nil {
			t.Fatal(err)
		}
		disk := filepath.Join(dir, "disk")
		if err := os.WriteFile(disk, make([]byte, 4096), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(disk, 1<<20); err != nil {
			t.Fatal(err)
		}
		for i := 0; ; i++ { // until there is no room
			if err := os.WriteFile(fmt.Sprintf("%s/%d", dir, i), make([]byte, 4096), 0o600); err != nil {
				break
			}
		}
		check(t, "disk full", command("run", "--mem=2", "--block=disk="+disk, image).Run(t), testhost.Result{Status: 5})
	})
}

// TestFileLimit has a limit on the size of files below that of a disk. An spt
// guest gets the signal itself.
func TestFileLimit(t *testing.T) {
	targets(t, func(t *testing.T, target image.Target) {
		writer := diskWriter(t, target, 8<<20, uint64(unix.EFBIG))
		disk := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(disk, make([]byte, 4096), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(disk, 8<<20); err != nil {
			t.Fatal(err)
		}
		c := command("run", "--mem=2", "--block=disk="+disk, writer)
		script(c, "ulimit -c 0; ulimit -f 8192") // 4 MiB, which the sealed guest does not reach
		want := 5
		if target == image.SPT {
			want = 128 + int(unix.SIGXFSZ)
		}
		check(t, "file limit", c.Run(t), testhost.Result{Status: want})
	})
}

// TestNoFiles has a limit on the size of files that the sealed guest does not fit
// in.
func TestNoFiles(t *testing.T) {
	c := command("run")
	script(c, "ulimit -f 16") // 8 KiB
	check(t, "no files", c.Run(t), testhost.Result{Status: notStarted,
		Stderr: "gocat: could not seal the guest in memory: write: file too large: the limit on the size of files (ulimit -f) holds there too\n"})
}

// TestDiskShrinks has a disk that becomes shorter than it was at the start.
func TestDiskShrinks(t *testing.T) {
	n := guests.N
	targets(t, func(t *testing.T, target image.Target) {
		p := guests.NewProbe(target, image.Entry{Name: "disk", Type: image.Block})
		p.Do(p.Puts("ready\n"))
		if target == image.SPT {
			p.Sweep(0, 1<<40, 1, func(guests.Value) []guests.Step {
				return []guests.Step{p.Syscall(unix.SYS_PREAD64, p.DeviceFD(1), n(guests.Scratch), n(512), n(4096-512)).Equals(n(512), 7)}
			})
		} else {
			p.Sweep(0, 1<<40, 1, func(guests.Value) []guests.Step {
				args := []guests.Step{}
				for i, v := range []uint64{1, 4096 - 512, guests.Scratch + 0x1000, 512, 0} {
					args = append(args, p.Store64(n(guests.Scratch+8*uint64(i)), n(v)))
				}
				return append(args, p.Out32(n(0x505), n(guests.Scratch)), p.Move(guests.At32(guests.Scratch+32)).Equals(n(0), 7))
			})
		}
		path := imageFile(t, p, "reader."+target.String())
		disk := testhost.Disk(t, 4096)
		c := command("run", "--mem=2", "--block=disk="+disk, path)
		r, w := testhost.Pipe(t)
		c.Files = []*os.File{testhost.Null(t), w, testhost.Memfd(t)}
		process := c.Start(t)
		testhost.Expect(t, r, "ready\n")
		if err := os.Truncate(disk, 0); err != nil {
			t.Fatal(err)
		}
		if s := testhost.Status(process.Wait()); s != 7 {
			t.Errorf("status %d", s)
		}
	})
}

// TestDescriptorsFull has ever fewer descriptors to be had: a guest runs, or one
// line says why not.
func TestDescriptorsFull(t *testing.T) {
	for way := range allWays(t) {
		t.Run(way, func(t *testing.T) {
			needKVM(t, way)
			ran := 0
			for limit := 3; limit < 24; limit++ {
				c := allWays(t)[way]
				script(c, fmt.Sprintf("ulimit -n %d", limit))
				r := through(t, *c, "through")
				if r == (testhost.Result{Stdout: "through"}) {
					ran++
				} else if ran > 0 || r.Status != notStarted || r.Stdout != "" || strings.Count(r.Stderr, "\n") != 1 || !strings.HasPrefix(r.Stderr, "gocat: ") {
					t.Errorf("%d descriptors: %+v", limit, r)
				}
			}
			if ran < 3 || ran > 20 {
				t.Errorf("%d guests ran", ran)
			}
		})
	}
}

// TestLittleAddressSpace has ever less address space. A guest runs in little more
// than its memory and the program take; in less, one line says so.
func TestLittleAddressSpace(t *testing.T) {
	for way := range allWays(t) {
		t.Run(way, func(t *testing.T) {
			needKVM(t, way)
			ran, refused := 0, 0
			for _, mb := range []int{26, 40, 50, 60, 100, 200, 400, 700, 1000, 1400} {
				c := allWays(t, "--mem=16")[way]
				script(c, fmt.Sprintf("ulimit -c 0; ulimit -v %d", mb<<10))
				r := through(t, *c, "through")
				line := strings.HasPrefix(r.Stderr, "gocat: ") && strings.Count(r.Stderr, "\n") == 1
				switch {
				case r == (testhost.Result{Stdout: "through"}):
					ran++
				case r.Stdout == "" && r.Status == notStarted && line:
					refused++
				default:
					t.Errorf("%d MB of address space: %+v", mb, r)
				}
			}
			if ran < 9 || refused == 0 && way == "hvt" {
				t.Errorf("%d guests ran, %d did not", ran, refused)
			}
		})
	}
}

// TestOutOfMemory has guests that touch more memory than their control group has:
// the kernel kills the guest, or the tender and its guest with it, and nothing is
// left.
func TestOutOfMemory(t *testing.T) {
	testhost.NeedRoot(t, "to make namespaces and taps")
	group := memoryGroup(t, 64<<20)
	childless := subreaper(t)
	targets(t, func(t *testing.T, target image.Target) {
		// mov rax, rdi; loop: mov byte [rax], 1; add rax, 4096; jmp loop
		code := []byte{0x48, 0x89, 0xf8, 0xc6, 0x00, 0x01, 0x48, 0x05, 0x00, 0x10, 0, 0, 0xeb, 0xf5}
		p := guests.NewProbe(target)
		touch := p.Execute(guests.N(p.Code(code)))
		touch.DI = guests.N(guests.Scratch + guests.ScratchSize)
		p.Do(p.Puts("begun\n"), touch)
		c := command("run", "--mem=512", imageFile(t, p, "hungry."+target.String()))
		script(c, "echo $$ > "+group)
		check(t, "out of memory", c.Run(t), testhost.Result{Status: 128 + int(unix.SIGKILL), Stdout: "begun\n"})
		childless()
	})
}

// memoryGroup makes a control group of limit bytes below this process's own and
// returns the file to join it by. It is removed when t ends.
func memoryGroup(t *testing.T, limit int) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		testhost.Skip(t, "no control groups: "+err.Error())
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		root, file := "/sys/fs/cgroup", "memory.max"
		if f[1] == "memory" {
			root, file = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
		} else if f[0] != "0" {
			continue
		}
		dir := fmt.Sprintf("%s%s/gocat-test-%d", root, f[2], os.Getpid())
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { unix.Rmdir(dir) })
		if os.WriteFile(filepath.Join(dir, file), fmt.Append(nil, limit), 0) == nil {
			return filepath.Join(dir, "cgroup.procs")
		}
	}
	testhost.Skip(t, "no control group for memory can be made here")
	return ""
}
