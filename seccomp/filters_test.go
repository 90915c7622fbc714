package seccomp_test

import (
	"bytes"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/kvmhvt"
	"gocat/seccomp"
	"gocat/spt"
)

// filter is a policy with its program and the one by go-seccomp-bpf.
type filter struct {
	policy    *seccomp.Policy
	program   []unix.SockFilter
	vm, other *bpf.VM
}

// backendPolicies are the policies as the backends make them, with a device of
// every kind.
func backendPolicies(t testing.TB) (all []*seccomp.Policy) {
	t.Helper()
	m := image.Manifest{{Type: image.Reserved}}
	var devices []device.Device
	for i, kind := range []device.Kind{device.File, device.Pipe, device.Stream, device.Packet, device.SeqPacket, device.TTY, device.Other, device.Tap, device.Disk, device.Disk} {
		d := device.Device{Handle: i + 1, Name: "dev" + string(rune('a'+i)), Type: image.Net, Kind: kind, FD: 10 + i, Inherited: kind != device.Tap}
		if kind == device.Disk {
			d.Type, d.Inherited, d.BlockSize, d.Capacity = image.Block, false, 512<<(i%2), 1<<20
		}
		devices = append(devices, d)
		m = append(m, image.Entry{Name: d.Name, Type: d.Type})
	}
	for _, target := range []image.Target{image.SPT, image.HVT} {
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
		for i := range 4 {
			var p *seccomp.Policy
			if target == image.SPT {
				p, err = spt.Policy(&spt.Config{Guest: device.Guest{Image: img, File: file, Memory: 2 << 20, Devices: devices}, Failure: 1, Strict: i&1 != 0, QuietFaults: i&2 != 0})
			} else {
				p, err = kvmhvt.Policy(&kvmhvt.Config{Guest: device.Guest{Image: img, File: file, Memory: 2 << 20, Devices: devices}, Trace: kvmhvt.NoFD, Debug: kvmhvt.NoFD, KVM: kvmhvt.NoFD, Failure: 1, NetRing: i&1 != 0, Console: 1 + (i&2)*10})
			}
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, p)
		}
	}
	return all
}

// FuzzFilters gives any call to every filter that gocat makes. Two interpreters,
// the rules as they are written and go-seccomp-bpf agree on what becomes of it.
func FuzzFilters(f *testing.F) {
	var filters []filter
	for _, p := range append(backendPolicies(f), seccomp.TestPolicies()...) {
		program, err := p.Assemble()
		if err != nil {
			f.Fatal(err)
		}
		filters = append(filters, filter{p, program, seccomp.NewVM(f, program), seccomp.ElasticVM(f, p)})
		if len(p.Rules) < 50 {
			for i := range p.Rules {
				f.Add(uint8(len(filters)-1), uint8(i), uint32(0), uint32(0), uint8(i), p.Rules[i].Example().Args[0]+1<<32, uint64(i), uint64(0))
			}
		}
	}
	const none = 0
	f.Add(uint8(0), uint8(0), uint32(none), uint32(1), uint8(7), uint64(0), uint64(0), uint64(0))            // another architecture
	f.Add(uint8(0), uint8(0), uint32(0x40000000), uint32(none), uint8(7), uint64(0), uint64(0), uint64(0))   // x32
	f.Add(uint8(1), uint8(9), uint32(none), uint32(none), uint8(0), uint64(0), uint64(0), ^uint64(0))        // the instruction pointer
	f.Add(uint8(0), uint8(255), uint32(335), uint32(none), uint8(0), uint64(1)<<63, uint64(1), ^uint64(0)/2) // no rule's call
	// The call is one that rule allows, with bits of number and architecture
	// flipped and one or two of its other words replaced.
	f.Fuzz(func(t *testing.T, policy, rule uint8, nr, arch uint32, fields uint8, v, w, ip uint64) {
		filter := &filters[int(policy)%len(filters)]
		p := filter.policy
		c := seccomp.Call{Arch: unix.AUDIT_ARCH_X86_64}
		if int(rule) < len(p.Rules) {
			c = p.Rules[rule].Example()
		}
		c.Nr ^= nr
		c.Arch ^= arch
		if fields&7 < 6 {
			c.Set(seccomp.Field(fields&7), v)
		}
		if fields>>3&7 < 6 {
			c.Set(seccomp.Field(fields>>3&7), w)
		}
		c.IP ^= ip
		want := p.Decide(c)
		if got := seccomp.RunVM(t, filter.vm, c); got != want {
			t.Errorf("%s: the program returns %v where the rules say %v: %v", p.Name, got, want, c)
		}
		if got, err := seccomp.Run(filter.program, c); got != want || err != nil {
			t.Errorf("%s: our interpreter returns %v, %v where the rules say %v: %v", p.Name, got, err, want, c)
		}
		if got := seccomp.RunVM(t, filter.other, c); got != want && !p.AllowsByIP(c) {
			t.Errorf("%s: go-seccomp-bpf's program returns %v where the rules say %v: %v", p.Name, got, want, c)
		}
	})
}
