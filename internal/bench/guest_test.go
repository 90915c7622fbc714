package bench

import (
	"fmt"
	"testing"

	"golang.org/x/arch/x86/x86asm"

	"gocat/internal/image"
	"gocat/internal/peer"
)

var (
	gocatSPT = peer.Gocat("gocat", image.SPT)
	solo5SPT = &peer.Tender{Kind: "solo5-spt", Name: "solo5-spt v1", Target: image.SPT, ABI: 2, Path: "solo5-spt"}
)

// The machine code is whole instructions, and its jumps lead to some.
func TestLoops(t *testing.T) {
	for name, code := range map[string][]byte{"call": callLoop, "read": readLoop, "out": outLoop, "ring": ringLoop} {
		starts := map[int]bool{}
		var jumps []int
		for at := 0; at < len(code); {
			i, err := x86asm.Decode(code[at:], 64)
			if err != nil {
				t.Fatalf("%s: offset %d: %v", name, at, err)
			}
			starts[at] = true
			at += i.Len
			if rel, ok := i.Args[0].(x86asm.Rel); ok {
				jumps = append(jumps, at+int(rel))
			}
			if at == len(code) && i.Op != x86asm.RET {
				t.Errorf("%s ends with %v", name, i)
			}
		}
		if len(jumps) == 0 {
			t.Errorf("%s does not loop", name)
		}
		for _, to := range jumps {
			if !starts[to] {
				t.Errorf("%s jumps to %d, into an instruction", name, to)
			}
		}
	}
}

func TestImages(t *testing.T) {
	names := map[string]bool{}
	for _, w := range []work{hello, cat(4096, false), cat(chunk, false), clock(0), clock(5), read(0, false), read(5, false), read(5, true)} {
		for _, target := range []image.Target{image.SPT, image.HVT} {
			b, err := w.build(target)
			if err != nil {
				t.Fatal(err)
			}
			i, err := peer.NewImage(b)
			if err != nil {
				t.Fatal(err)
			}
			if i.Target != target || (len(i.Manifest) == 2) != w.device {
				t.Errorf("%s for %v: %+v", w.name, target, i.Manifest)
			}
			i.Close()
			key := fmt.Sprint(w.name, target)
			if names[key] {
				t.Errorf("two works are called %s", w.name)
			}
			names[key] = true
		}
	}
}
