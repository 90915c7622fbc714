package audit

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/usernet"
	"gocat/kvmhvt"
	"gocat/seccomp"
	"gocat/spt"
)

var update = flag.Bool("update", false, "write docs/surface.md anew")

const surfaceFile = "../../docs/surface.md"

// example is a guest with a device of each kind: an inherited pipe, a tap, a
// stream socket and a disk.
func example(t *testing.T, target image.Target) (*image.Image, *bytes.Reader, []device.Device) {
	t.Helper()
	devices := []device.Device{
		{Handle: 1, Name: "stdin", Type: image.Net, Kind: device.Pipe, FD: 0, Inherited: true},
		{Handle: 2, Name: "service", Type: image.Net, Kind: device.Tap, FD: 5, Path: "tap100"},
		{Handle: 3, Name: "peer", Type: image.Net, Kind: device.Stream, FD: 6, Inherited: true},
		{Handle: 4, Name: "storage", Type: image.Block, Kind: device.Disk, FD: 7, Path: "disk.img", BlockSize: 512, Capacity: 1 << 20},
	}
	m := image.Manifest{{Type: image.Reserved}}
	for _, d := range devices {
		m = append(m, image.Entry{Name: d.Name, Type: d.Type})
	}
	b, err := image.Encode(image.Spec{Target: target, Version: 2, Entry: 0x100000, Manifest: m,
		Segments: []image.SpecSegment{{Vaddr: 0x100000, Data: []byte{0xf4}, Prot: image.R | image.X}}})
	if err != nil {
		t.Fatal(err)
	}
	file := bytes.NewReader(b)
	img, err := image.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	return img, file, devices
}

func sptPolicy(t *testing.T, strict bool) *seccomp.Policy {
	t.Helper()
	img, file, devices := example(t, image.SPT)
	p, err := spt.Policy(&spt.Config{Guest: device.Guest{Image: img, File: file, Memory: 32 << 20, Devices: devices}, Failure: 1, Strict: strict})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func hvtPolicy(t *testing.T) *seccomp.Policy {
	t.Helper()
	img, file, devices := example(t, image.HVT)
	img.Timer = img.Entry // anywhere
	p, err := kvmhvt.Policy(&kvmhvt.Config{Guest: device.Guest{Image: img, File: file, Memory: 32 << 20, Devices: devices}, Trace: kvmhvt.NoFD, Debug: kvmhvt.NoFD, KVM: kvmhvt.NoFD, Failure: 1, NetRing: true, CPL: 3, Console: 1})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// surface is the text of docs/surface.md.
func surface(t *testing.T) string {
	var b strings.Builder
	b.WriteString(`# What is left of the kernel

<!-- Generated from packages seccomp, spt and kvmhvt: go test ./internal/audit -run TestSurface -update -->

The system calls that a guest, or the tender of one, can make once gocat has confined it. Each line is one rule: a call, the conditions on its arguments, of which all must hold, and what it is for. A call that no line allows kills the process, and so does every call of the 32-bit and x32 interfaces. Arguments that a line does not name are free; the kernel checks them.

Numbers of descriptors are those of an example: a guest with the network devices *stdin*, an inherited pipe, descriptor 0; *service*, a tap, 5; *peer*, a stream socket, 6; and the block device *storage*, 7, of 1 MiB in sectors of 512 bytes. ` + "`gocat policy`" + ` prints the same for any guest with its own devices.

On kernels that have them, system calls 335 (uretprobe) and 336 (uprobe) pass every seccomp filter. Neither does anything for a guest.
`)
	section := func(title, text string, p *seccomp.Policy) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", title, text)
		calls, rest, ioctls := map[uint32]bool{}, []seccomp.Rule(nil), []seccomp.Rule(nil)
		answered := ""
		for _, r := range p.Rules {
			if r.Errno != 0 {
				answered += fmt.Sprintf("\nNot made, but answered by the filter with an error of its own, by which the start sees that it holds: `%s`.\n", r.String())
				continue
			}
			calls[r.Nr] = true
			if r.Nr == unix.SYS_IOCTL {
				ioctls = append(ioctls, r)
			} else {
				rest = append(rest, r)
			}
		}
		fmt.Fprintf(&b, "%d system calls, %d rules.\n%s", len(calls), len(rest)+len(ioctls), answered)
		table := func(rules []seccomp.Rule) {
			b.WriteString("\n| call | for |\n|---|---|\n")
			for _, r := range rules {
				fmt.Fprintf(&b, "| `%s` | %s |\n", r.String(), r.Why)
			}
		}
		table(rest)
		if ioctls != nil {
			b.WriteString("\nRequests of `ioctl`, all of KVM:\n")
			table(ioctls)
		}
	}
	section("An spt guest", "The policy of guests built for Solo5 (`--profile=solo5`). The epoll descriptor is 3, the timer 4. Standard error is written to by the fault reporter alone, from one address, before the process dies; `--quiet-faults` takes that line away.", sptPolicy(t, false))
	section("An spt guest under the strict policy", "The policy of the bundled cats, and of other guests with `--profile=strict`.", sptPolicy(t, true))
	section("The tender of an hvt guest", "The guest itself makes no system calls. It reaches its tender, the gocat process, by the hypercalls of Solo5, and these calls are what is left to a guest that has taken over the tender. Descriptor 1000 stands for the virtual processor, 1001 for the epoll and 1002 for the timer. `/dev/kvm` and the virtual machine's descriptor are closed by then. Landlock and the lack of capabilities, which hold too, are not in this list.", hvtPolicy(t))
	c, err := usernet.Parse("user")
	if err != nil {
		t.Fatal(err)
	}
	calls := c.Calls()
	slices.Sort(calls)
	none, err := usernet.Parse("user,outbound=none")
	if err != nil {
		t.Fatal(err)
	}
	var without []string
	for _, name := range calls {
		if !slices.Contains(none.Calls(), name) {
			without = append(without, name)
		}
	}
	fmt.Fprintf(&b, "\n## gocat-net, the process of a user network\n\n%d system calls, with any arguments: `%s`.\n\nWith `outbound=none` these are not among them: `%s`.\n",
		len(calls), strings.Join(calls, "`, `"), strings.Join(without, "`, `"))
	return b.String()
}

// TestSurface compares docs/surface.md with the policies.
func TestSurface(t *testing.T) {
	want := surface(t)
	if *update {
		if err := os.WriteFile(surfaceFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(surfaceFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/surface.md is not what the policies say: see what has changed with go test ./internal/audit -run TestSurface -update")
	}
}
