package kvmhvt

import (
	"bytes"
	"strings"
	"testing"

	"gocat/internal/abi"
	"gocat/internal/guests"
	"gocat/internal/image"
)

// TestABI1 runs a guest of ABI version 1, which has at most 1 GiB of memory.
func TestABI1(t *testing.T) {
	b, err := guests.Cat(image.HVT, guests.Simple)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("ABI1Solo5\x00\x00\x00\x01\x00\x00\x00\x02"))
	if at < 0 {
		t.Fatal("no ABI note of version 2")
	}
	b[at+16] = 1
	img := write(t, b, nil)
	for mem, status := range map[string]int{"2": 0, "1024": 0, "1026": 1, "4096": 1} {
		cmd := tenderCommand(t, append([]string{"--mem=" + mem, "--net:stdin=@0", img}, quietly...)...)
		cmd.Stdin = strings.NewReader("to ABI 1")
		r := runCommand(t, cmd)
		if r.status != status || status == 0 && r.stdout != "to ABI 1" || status == 1 && !strings.Contains(r.stderr, "ABI version 1 has at most 1024 MB") {
			t.Errorf("%s MB: %+v", mem, r)
		}
	}
}

// TestFullWrites shows that the feature bit is the one that the guests look at.
func TestFullWrites(t *testing.T) {
	if featureFullWrites != abi.FeatureFullWrites {
		t.Errorf("%#x, the guests' is %#x", featureFullWrites, abi.FeatureFullWrites)
	}
	p := guests.NewProbe(image.HVT)
	p.Do(p.Move(guests.Boot32(40)).Equals(guests.N(featureFullWrites), 2))
	if r := runTender(t, probe(t, p)); r.status != 0 {
		t.Errorf("%+v", r)
	}
}

// TestBootInfo looks at what a guest is told at its start, and at the registers
// with which it starts.
func TestBootInfo(t *testing.T) {
	p := guests.NewProbe(image.HVT, image.Entry{Name: "net", Type: image.Net})
	n := guests.N
	p.Do(
		p.Move(guests.Boot(0)).Equals(n(memEnd), 2),
		p.Move(guests.Boot(8)).Equals(n(scratch+guests.ScratchSize), 3),
		p.Move(guests.Boot(16)).Differs(n(0), 4),
		p.Move(guests.BootAddress()).Equals(n(bootInfoAddr), 5),
		p.Move(guests.Boot32(44)).Equals(n(0), 6),
		p.Move(guests.Boot(48)).Equals(n(0), 7),                                              // no ring
		p.Move(guests.At32(bootInfoAddr+bootInfoSize+4)).Equals(n(2), 8),                     // manifest: two entries
		p.Move(guests.At32(bootInfoAddr+bootInfoSize+8+104+88)).Equals(n(0), 9),              // no host descriptor
		p.Move(guests.At(bootInfoAddr+bootInfoSize+8+2*104)).Equals(n(0x67726120656e6f), 10), // "one arg"
		p.Move(p.Entry(guests.EntrySP)).Equals(n(memEnd-8), 11),
		p.Move(p.Entry(guests.EntryDI)).Equals(n(bootInfoAddr), 12),
		p.Move(p.Entry(guests.EntryAX)).Equals(n(0), 13),
	)
	if r := runTender(t, "--net:net=@0", probe(t, p), "one", "arg"); r.status != 0 {
		t.Errorf("%+v", r)
	}
}
