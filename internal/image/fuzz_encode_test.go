package image

import (
	"bytes"
	"debug/elf"
	"io"
	"testing"
)

// FuzzEncode writes any image. debug/elf, which knows nothing of gocat, reads
// what the specification says, and so does Parse unless it breaks the ABI's rules.
func FuzzEncode(f *testing.F) {
	f.Add(uint32(SPT), uint32(2), uint64(0x100000), "a", "b", uint64(0x100000), []byte{0xf4}, uint64(0), uint8(R|X), uint64(0x102345), []byte("data"), uint64(0x3000), uint8(R|W))
	f.Add(uint32(HVT), uint32(1), uint64(0x100010), "", "stdin", uint64(0x100010), bytes.Repeat([]byte{0x90}, 5000), uint64(5001), uint8(X), uint64(0x200000), []byte(nil), uint64(1), uint8(R|W))
	f.Add(uint32(7), uint32(0), uint64(0), "a\x00", "bb", uint64(0), []byte(nil), uint64(0), uint8(R|W|X), ^uint64(0), []byte{1, 2}, uint64(1), uint8(0))
	f.Fuzz(func(t *testing.T, target, version uint32, entry uint64, net, block string, va1 uint64, data1 []byte, memsz1 uint64, prot1 uint8, va2 uint64, data2 []byte, memsz2 uint64, prot2 uint8) {
		s := Spec{
			Target: Target(target), Version: version, Entry: entry,
			Manifest: Manifest{{Type: Reserved}, {Name: net, Type: Net}, {Name: block, Type: Block}},
			Segments: []SpecSegment{{va1, data1, memsz1, Prot(prot1) & 7}, {va2, data2, memsz2, Prot(prot2) & 7}},
		}
		b, err := Encode(s)
		if err != nil {
			return
		}
		file, err := elf.NewFile(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if file.Class != elf.ELFCLASS64 || file.Machine != elf.EM_X86_64 || file.Type != elf.ET_EXEC || file.Entry != entry {
			t.Errorf("%+v", file.FileHeader)
		}
		loads := 0
		for _, p := range file.Progs {
			if p.Type != elf.PT_LOAD {
				continue
			}
			g := s.Segments[loads]
			data, err := io.ReadAll(p.Open())
			if err != nil || !bytes.Equal(data, g.Data) || p.Vaddr != g.Vaddr || p.Memsz != max(g.Memsz, uint64(len(g.Data))) ||
				Prot(p.Flags) != g.Prot || len(data) > 0 && p.Off%PageSize != p.Vaddr%PageSize {
				t.Errorf("segment %d of %+v is %+v, %v", loads, s, p.ProgHeader, err)
			}
			loads++
		}
		if loads != 2 {
			t.Errorf("%d segments", loads)
		}
		m, err := Parse(bytes.NewReader(b))
		if err != nil {
			return
		}
		checkInvariants(t, b, m)
		if m.Target != s.Target || m.Version != version || m.Entry != entry || len(m.Manifest) != 3 || m.Manifest[1] != s.Manifest[1] || m.Manifest[2] != s.Manifest[2] {
			t.Errorf("%+v became %+v", s, m)
		}
	})
}
