package kvmhvt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// code is machine code that is being put together.
type code []byte

func (c *code) add(b ...byte)          { *c = append(*c, b...) }
func (c *code) imm32(v uint64)         { *c = binary.LittleEndian.AppendUint32(*c, uint32(v)) }
func (c *code) op(v uint64, b ...byte) { c.add(b...); c.imm32(v) }

// hypercall makes a hypercall with arguments of eight bytes each.
func (c *code) hypercall(nr uint64, args ...uint64) {
	for i, v := range args {
		c.op(scratch+8*uint64(i), 0x48, 0xc7, 0x04, 0x25) // mov qword [scratch+8i], v
		c.imm32(v)
	}
	c.op(scratch, 0xb8)        // mov eax, scratch
	c.op(hypercallIO+nr, 0xba) // mov edx, port
	c.add(0xef)                // out dx, eax
}

// put puts a frame into the network ring, whose address is ring.
func (c *code) put(ring, handle, data, size uint64) {
	c.op(ring+ringEntTail, 0x8b, 0x0c, 0x25) // mov ecx, [tail]
	c.add(0x89, 0xc8)                        // mov eax, ecx
	c.op(ringSlots-1, 0x25)                  // and eax, slots-1
	c.add(0xc1, 0xe0, 5)                     // shl eax, 5
	for i, v := range []uint64{ringNetWrite, handle, data, 0, size} {
		c.op(ring+ringEntries+4*uint64(i), 0xc7, 0x80) // mov dword [rax+entry+4i], v
		c.imm32(v)
	}
	c.add(0xff, 0xc1)                        // inc ecx
	c.op(ring+ringEntTail, 0x89, 0x0c, 0x25) // mov [tail], ecx
}

// kick has the tender serve the network ring.
func (c *code) kick() {
	c.op(portKick, 0xba) // mov edx, port
	c.add(0xef)          // out dx, eax
}

// repeat returns a function that runs the code n times.
func (c code) repeat(n uint32) []byte {
	var f code
	f.add(0x53)                                // push rbx
	f.op(uint64(n), 0xbb)                      // mov ebx, n
	f.add(c...)                                // l:
	f.add(0xff, 0xcb)                          // dec ebx
	f.op(uint64(-int64(len(c)+8)), 0x0f, 0x85) // jnz l
	f.add(0x5b, 0xc3)                          // pop rbx; ret
	return f
}

// TestMany has guests do one thing very often: that costs the tender no memory and
// no descriptor, and makes it call nothing that its policy does not grant, for
// which it would have been killed.
func TestMany(t *testing.T) {
	usual := 33_000 // takes seconds
	if testing.Short() {
		usual = 5_000
	}
	n := uint32(testhost.Count(t, "GOCAT_MANY", usual))
	const ring = memEnd // past the guest's memory
	for _, tt := range []struct {
		name string
		add  func(c *code)
	}{
		{"trap", func(c *code) { c.add(0x0f, 0x01, 0x14, 0x24) }},       // lgdt [rsp]
		{"trap reading CR0", func(c *code) { c.add(0x0f, 0x20, 0xc0) }}, // mov rax, cr0
		{"walltime", func(c *code) { c.hypercall(hcWalltime, 0) }},
		{"puts", func(c *code) { c.hypercall(hcPuts, buffer, 0) }},
		{"poll", func(c *code) { c.hypercall(hcPoll, 0, 0, 0) }},
		{"block write", func(c *code) { c.hypercall(hcBlockWrite, 2, 512, buffer, 512, 0) }},
		{"block read", func(c *code) { c.hypercall(hcBlockRead, 2, 512, buffer, 512, 0) }},
		{"net write", func(c *code) { c.hypercall(hcNetWrite, 1, buffer, 64, 0) }},
		{"net read", func(c *code) { c.hypercall(hcNetRead, 1, buffer, 64, 0) }},
		{"bad handle", func(c *code) { c.hypercall(hcNetWrite, 9, buffer, 64, 0) }},
		{"ring", func(c *code) { c.put(ring, 1, buffer, 64); c.kick() }},
		{"ring at a poll", func(c *code) { c.put(ring, 1, buffer, 64); c.hypercall(hcPoll, 0, 0, 0) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name != "trap" {
				testhost.Slow(t)
			}
			var body code
			tt.add(&body)
			p := guests.NewProbe(image.HVT, image.Entry{Name: "net", Type: image.Net}, image.Entry{Name: "disk", Type: image.Block})
			p.Do(p.Puts("ready\n"), p.Execute(guests.N(p.Code(body.repeat(n)))))
			p.Do(p.Puts("done\n"))
			p.Hypercall(hcPoll, scratch, guests.N(^uint64(0)))
			frames := 0
			if tt.name == "net write" || strings.HasPrefix(tt.name, "ring") {
				frames = int(n)
			}
			testMany(t, n, frames, probe(t, p))
		})
	}
}

// testMany runs the guest, which sends as many frames.
func testMany(t *testing.T, n uint32, frames int, img string) {
	disk := write(t, make([]byte, 8192), nil)
	cmd := tenderCommand(t, "--ring", "--net:net=@0", "--block:disk="+disk, img)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs, ours := os.NewFile(uintptr(pair[0]), "guest"), testhost.File(t, pair[1])
	sent := make(chan int, 1)
	go func() {
		frame, k := make([]byte, 128), 0
		for {
			if size, _ := ours.Read(frame); size != 64 {
				sent <- k
				return
			}
			k++
		}
	}()
	out, w := testhost.Pipe(t)
	var errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, w, &errs
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	w.Close()
	line := make([]byte, 6)
	next := func(want string) {
		t.Helper()
		if k, err := out.Read(line); string(line[:k]) != want {
			cmd.Wait()
			t.Fatalf("the guest says %q, want %q: %v: %s", line[:k], want, err, &errs)
		}
	}
	next("ready\n")
	began := time.Now()
	before := held(t, cmd.Process.Pid)
	next("done\n")
	after := held(t, cmd.Process.Pid)
	t.Logf("%d in %v: before %v, after %v", n, time.Since(began).Round(time.Millisecond), before, after)
	if after.mapped != before.mapped || after.files != before.files || after.own > before.own+64 {
		t.Errorf("before %v, after %v", before, after)
	}
	cmd.Process.Kill()
	if got := <-sent; got != frames {
		t.Errorf("%d frames were sent, want %d", got, frames)
	}
}

// holding is what a process holds: memory that is its own and memory that is
// mapped, in KiB, and descriptors.
type holding struct{ own, mapped, files int }

func (h holding) String() string {
	return fmt.Sprintf("%d KiB of its own, %d KiB mapped, %d descriptors", h.own, h.mapped, h.files)
}

func held(t *testing.T, pid int) (h holding) {
	t.Helper()
	fmt.Sscan(field(t, pid, "RssAnon:"), &h.own)
	fmt.Sscan(field(t, pid, "VmSize:"), &h.mapped)
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	h.files = len(fds)
	return h
}

// field returns a line of /proc/PID/status.
func field(t *testing.T, pid int, name string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(b), "\n"+name)
	if !found {
		t.Fatalf("status lacks %s", name)
	}
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}
