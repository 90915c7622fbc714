package spt

import (
	"bytes"
	"encoding/binary"
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

// diskProbe is a guest with a block device of the file at path.
func diskProbe(t *testing.T, path string, steps func(*guests.Probe)) *unikernel {
	t.Helper()
	p := guests.NewProbe(image.SPT, image.Entry{Name: "disk", Type: image.Block})
	steps(p)
	return &unikernel{Image: encode(t, p), Block: []string{"disk=" + path}}
}

// commands are the two ways to start a guest.
func (u *unikernel) commands(t *testing.T) map[string]*testhost.Command {
	return map[string]*testhost.Command{"sealed": {Path: u.seal(t)}, "run": u.command(t)}
}

// entryField is the address of a field of a handle's manifest entry (Solo5
// mft_abi.h), where the spt ABI puts the manifest for guests of this package.
func entryField(handle int, offset uint64) uint64 {
	return bootBase + bootInfoSize + 8 + 104*uint64(handle) + offset
}

const block = 512

func readBlock(p *guests.Probe, at uint64) guests.Step {
	return p.Syscall(unix.SYS_PREAD64, hostFD(1), guests.N(guests.Scratch), guests.N(block), guests.N(at))
}

func writeBlock(p *guests.Probe, at uint64) guests.Step {
	return p.Syscall(unix.SYS_PWRITE64, hostFD(1), guests.N(guests.Scratch), guests.N(block), guests.N(at))
}

// TestBlock has a guest that copies each block of its disk to the console and
// changes the block.
func TestBlock(t *testing.T) {
	const size = 40 * block
	for i := range 2 {
		path := testhost.Disk(t, size)
		u := diskProbe(t, path, func(p *guests.Probe) {
			p.Do(p.Move(guests.At(entryField(1, 72))).Equals(guests.N(size), 10))    // capacity
			p.Do(p.Move(guests.At32(entryField(1, 80))).Equals(guests.N(block), 11)) // block size
			p.Do(p.Move(guests.At32(entryField(1, 96))).Equals(guests.N(1), 12))     // attached
			for at := uint64(0); at < size; at += block {
				p.Do(readBlock(p, at).Equals(guests.N(block), 13))
				p.Do(p.Syscall(unix.SYS_WRITE, guests.N(1), guests.N(guests.Scratch), guests.N(block)))
				p.Do(p.Store64(guests.N(guests.Scratch), guests.N(at)))
				p.Do(writeBlock(p, at).Equals(guests.N(block), 14))
			}
		})
		before := testhost.Random(size)
		name := []string{"sealed", "run"}[i]
		check(t, u.commands(t)[name].Run(t), 0, string(before), "")
		after, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := uint64(0); at < size; at += block {
			binary.LittleEndian.PutUint64(before[at:], at)
		}
		if !bytes.Equal(before, after) {
			t.Errorf("%s: the disk differs", name)
		}
	}
}

// TestBlockBounds has guests that go beyond their disk, which the host's file
// does as well.
func TestBlockBounds(t *testing.T) {
	const size = 4 * block
	path := testhost.Disk(t, size)
	for _, at := range []uint64{size - block + 1, size - 1, size, size + block, 1 << 32, 1<<32 | block, 1 << 63, ^uint64(0), ^uint64(block - 1)} {
		for name, step := range map[string]func(*guests.Probe, uint64) guests.Step{"pread64": readBlock, "pwrite64": writeBlock} {
			u := diskProbe(t, path, func(p *guests.Probe) { p.Do(step(p, at), p.Puts(alive)) })
			for way, c := range u.commands(t) {
				r := c.Run(t)
				if r.Status != 159 || r.Stdout != "" || !strings.Contains(r.Stderr, "forbidden system call "+name) {
					t.Errorf("%s at %#x, %s: %+v", name, at, way, r)
				}
			}
		}
	}
	// Inside they may begin at any byte, as under Solo5's tender.
	u := diskProbe(t, path, func(p *guests.Probe) {
		p.Do(readBlock(p, size-block).Equals(guests.N(block), 1), readBlock(p, 17).Equals(guests.N(block), 2))
	})
	check(t, u.run(t), 0, "", "")
	if fi, err := os.Stat(path); err != nil || fi.Size() != size {
		t.Errorf("the disk has %d bytes: %v", fi.Size(), err)
	}
}

// TestBlockChanged has disks that are not what they were when the guest was
// sealed.
func TestBlockChanged(t *testing.T) {
	const size = 4 * block
	path := testhost.Disk(t, size)
	u := diskProbe(t, path, func(p *guests.Probe) { p.Do(p.Puts(alive)) })
	c := testhost.Command{Path: u.seal(t)}
	check(t, c.Run(t), 0, alive, "")
	for _, now := range []int64{0, block, size - 1, size + 1, 2 * size, 1 << 32} {
		if err := os.Truncate(path, now); err != nil {
			t.Fatal(err)
		}
		check(t, c.Run(t), 1, "", fmt.Sprintf("gocat: block device 'disk': %s is no longer %d bytes long\n", path, size))
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("gocat: block device 'disk': could not open %s: ", path)
	check(t, c.Run(t), 1, "", want+"no such file or directory\n")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	check(t, c.Run(t), 1, "", want+"is a directory\n")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other := testhost.Disk(t, size)
	if err := os.Symlink(other, path); err != nil {
		t.Fatal(err)
	}
	check(t, c.Run(t), 0, alive, "")
}

// TestManyBlocks has as many block devices as a manifest can declare.
func TestManyBlocks(t *testing.T) {
	dir := t.TempDir()
	var entries []image.Entry
	u := &unikernel{}
	want := ""
	for i := range image.MaxEntries - 1 {
		name := fmt.Sprintf("d%d", i)
		path := filepath.Join(dir, name)
		content := bytes.Repeat([]byte{byte('0' + i)}, block)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, image.Entry{Name: name, Type: image.Block})
		u.Block = append(u.Block, name+"="+path)
		want += string(content[:1])
	}
	p := guests.NewProbe(image.SPT, entries...)
	for i := range entries {
		p.Do(p.Syscall(unix.SYS_PREAD64, hostFD(i+1), guests.N(guests.Scratch), guests.N(block), guests.N(0)).Equals(guests.N(block), 1))
		p.Do(p.Syscall(unix.SYS_WRITE, guests.N(1), guests.N(guests.Scratch), guests.N(1)))
	}
	u.Image = encode(t, p)
	for _, c := range u.commands(t) {
		check(t, c.Run(t), 0, want, "")
	}
}
