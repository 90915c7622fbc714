package spt

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/raw"
	"gocat/internal/testhost"
)

// manySegments has segments of every shape, which fill more than a huge page: what its
// memory holds when it begins, and the code of a dumper of all of it at text.
func manySegments(t *testing.T) (u *unikernel, want []byte) {
	t.Helper()
	const to = 8 << 20
	random := rand.NewChaCha8([32]byte{7})
	data := func(n int) []byte {
		b := make([]byte, n)
		random.Read(b)
		return b
	}
	spec := image.Spec{Target: image.SPT, Version: 2, Entry: text, Segments: []image.SpecSegment{
		{Vaddr: text, Data: dumper(text, to, lineBase), Prot: image.R | image.X},
		{Vaddr: 0x101123, Data: data(77), Prot: image.R},
		{Vaddr: 0x1fe555, Data: data(1<<20 + 8191), Prot: image.R},
		{Vaddr: 0x302000, Data: data(3), Memsz: 9000, Prot: image.R},
		{Vaddr: 0x310010, Data: data(700_001), Memsz: 900_000, Prot: image.R | image.W},
		{Vaddr: 0x400000, Memsz: 5000, Prot: image.R | image.W},
		{Vaddr: 0x402000, Data: data(4096), Prot: image.R | image.X},
		{Vaddr: 0x403000, Memsz: 4096, Prot: image.R},
	}}
	b, err := image.Encode(spec)
	if err != nil {
		t.Fatal(err)
	}
	want = make([]byte, to)
	for _, s := range spec.Segments {
		copy(want[s.Vaddr:], s.Data)
	}
	return &unikernel{Image: b, Memory: to}, want
}

// isDirect reports whether Run would have the guest read its segments itself.
func isDirect(t *testing.T, u *unikernel) bool {
	t.Helper()
	c := u.sealable(t)
	c.File = &raw.File{FD: 0}
	return direct(c) != noFile
}

// TestLoad compares the memory of a guest that reads its segments itself, and that of
// one whose segments are a part of its executable, with what the image says.
func TestLoad(t *testing.T) {
	u, want := manySegments(t)
	if !isDirect(t, u) {
		testhost.Skip(t, "a security module or PR_SET_MDWE forbids to make memory executable")
	}
	forbidden := *u
	forbidden.NoExecGain = true
	for name, c := range map[string]*testhost.Command{
		"read by the guest": u.command(t), "sealed": {Path: u.seal(t)}, "no executable memory": forbidden.command(t),
	} {
		r := c.Run(t)
		if strings.HasSuffix(r.Stderr, "PR_SET_MDWE: "+unix.EINVAL.Error()+"\n") {
			continue // which is of Linux 6.3
		}
		if r.Status != 0 || r.Stderr != "" {
			t.Errorf("%s: status %d, stderr %q", name, r.Status, r.Stderr)
			continue
		}
		dump := parseDump(t, r.Stdout, text, u.Memory)
		for at := uint64(text); at < u.Memory; at += image.PageSize {
			if !bytes.Equal(dump[at], want[at:at+image.PageSize]) {
				t.Errorf("%s: page %#x differs (mapped: %v)", name, at, dump[at] != nil)
			}
		}
	}
}

// TestLoadCut has an image that becomes shorter after it was looked at.
func TestLoadCut(t *testing.T) {
	u, _ := manySegments(t)
	for _, left := range []int{1, 1 << 20} {
		u.Cut = left
		r := u.command(t).Run(t)
		if r.Status != 1 || r.Stdout != "" || !strings.HasPrefix(r.Stderr, "gocat: segment ") || strings.Count(r.Stderr, "\n") != 1 ||
			!strings.Contains(r.Stderr, "could not read ") {
			t.Errorf("%d bytes left: %+v", left, r)
		}
	}
}

// TestLoaded looks at a guest that has read its segments: it has no descriptor of the
// file, which may be overwritten and cut off, and only its code can be executed.
func TestLoaded(t *testing.T) {
	u := cat(t, guests.Advanced)
	const filled = 2 << 20
	var err error
	u.Image, err = guests.WithSegment(u.Image, image.SpecSegment{Vaddr: filled, Data: bytes.Repeat([]byte{0x90}, filled), Prot: image.R})
	if err != nil {
		t.Fatal(err)
	}
	u.Memory = 16 << 20
	if !isDirect(t, u) {
		testhost.Skip(t, "a security module or PR_SET_MDWE forbids to make memory executable")
	}
	c := u.command(t)
	in, w := testhost.Pipe(t)
	out := testhost.Memfd(t)
	c.Files = []*os.File{in, out, testhost.Memfd(t)}
	p := c.Start(t)
	p.WaitAsleep()
	checkMaps(t, testhost.Maps(t, p.Pid), u.Memory)
	for _, m := range testhost.Maps(t, p.Pid) {
		if m.Name == u.Path || m.Start <= filled && m.End > filled && (m.Prot != "r--p" || m.Name != "") {
			t.Errorf("mapping %+v", m)
		}
	}
	dir := fmt.Sprintf("/proc/%d/fd", p.Pid)
	open, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range open {
		if to, _ := os.Readlink(dir + "/" + fd.Name()); to == u.Path {
			t.Errorf("descriptor %s is of the image", fd.Name())
		}
	}
	if huge := pageFlags(t, p.Pid, filled); !strings.Contains(huge, " hg") {
		if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err == nil {
			t.Errorf("the segment has flags %q: huge pages were not asked for", huge)
		}
	}
	if err := os.WriteFile(u.Path, bytes.Repeat([]byte{0xcc}, 4<<20), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(u.Path, 0); err != nil {
		t.Fatal(err)
	}
	w.WriteString("still here")
	w.Close()
	if s := p.Wait(); s != 0 || testhost.Contents(t, out) != "still here" {
		t.Errorf("status %#x, stdout %q", s, testhost.Contents(t, out))
	}
}

// pageFlags returns the flags of the mapping at addr of a process.
func pageFlags(t *testing.T, pid int, addr uint64) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		t.Fatal(err)
	}
	within := false
	for line := range strings.Lines(string(b)) {
		var start, end uint64
		if n, _ := fmt.Sscanf(line, "%x-%x ", &start, &end); n == 2 {
			within = start <= addr && addr < end
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && within {
			return flags
		}
	}
	return ""
}
