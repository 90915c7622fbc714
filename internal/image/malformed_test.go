package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"gocat/internal/abi"
)

// Offsets of the fields of an Elf64_Phdr.
const (
	pType   = 0
	pFlags  = 4
	pOffset = 8
	pVaddr  = 16
	pFilesz = 32
	pMemsz  = 40
	pAlign  = 48
)

// Program headers of hello, in Encode's order.
const (
	phABI = iota + 1
	phMFT
	phText
	phRodata
	phData
	phBSS
	phStack
)

var le = binary.LittleEndian

func field(b []byte, ph, off int) []byte { return b[ehdrSize+ph*phdrSize+off:] }

func set(b []byte, ph, off int, v uint64) { le.PutUint64(field(b, ph, off), v) }

// content is what the program header ph points at.
func content(b []byte, ph int) []byte { return b[le.Uint64(field(b, ph, pOffset)):] }

// withOwn makes the last program header a note of gocat's own.
func withOwn(b []byte, typ uint32, addr uint64) []byte {
	note := le.AppendUint64(noteHeader(ownName, typ, abi.NoteOwnSize), addr)
	set(b, phStack, pOffset, uint64(len(b)))
	set(b, phStack, pFilesz, uint64(len(note)))
	le.PutUint32(field(b, phStack, pType), ptNote)
	return append(b, note...)
}

func TestMalformed(t *testing.T) {
	entry := func(i int) int { return noteHeaderSize + abi.NoteMFT1Pad + abi.ManifestHeader + i*abi.EntrySize }
	tests := []struct {
		name  string
		patch func(b []byte) []byte // may change b in place and return nil
		want  string
	}{
		{"empty", func(b []byte) []byte { return b[:0] }, "ELF header: the file is truncated"},
		{"half a header", func(b []byte) []byte { return b[:63] }, "ELF header: the file is truncated"},
		{"magic", func(b []byte) []byte { b[3] = 'G'; return nil }, "not an ELF file"},
		{"class", func(b []byte) []byte { b[4] = 1; return nil }, "ELF class 1, expected 2"},
		{"endianness", func(b []byte) []byte { b[5] = 2; return nil }, "data encoding 2, expected 1"},
		{"version", func(b []byte) []byte { b[20] = 0; return nil }, "ELF version 0, expected 1"},
		{"type", func(b []byte) []byte { b[16] = 3; return nil }, "ELF type 3, expected 2"},
		{"machine", func(b []byte) []byte { b[18] = 183; return nil }, "ELF machine 183, expected 62"},
		{"ehsize", func(b []byte) []byte { b[52] = 52; return nil }, "ELF header size 52, expected 64"},
		{"phentsize", func(b []byte) []byte { b[54] = 32; return nil }, "program header size 32, expected 56"},
		{"phnum 0", func(b []byte) []byte { b[56] = 0; return nil }, "0 program headers, expected 1 to 64"},
		{"phnum 65", func(b []byte) []byte { b[56] = 65; return nil }, "65 program headers, expected 1 to 64"},
		{"phnum 65535", func(b []byte) []byte { le.PutUint16(b[56:], 0xffff); return nil }, "65535 program headers"},
		{"phoff past the end", func(b []byte) []byte { le.PutUint64(b[32:], uint64(len(b))-10); return nil },
			"program headers: the file is truncated"},
		{"phoff overflows", func(b []byte) []byte { le.PutUint64(b[32:], math.MaxUint64-8); return nil },
			"program headers: offset 0xfffffffffffffff7: the file is truncated"},

		{"no ABI note", func(b []byte) []byte { field(b, phABI, pType)[0] = 0; return nil },
			"No Solo5 ABI information found in executable"},
		{"no manifest note", func(b []byte) []byte { field(b, phMFT, pType)[0] = 0; return nil },
			"No Solo5 manifest found in executable"},
		{"note of another owner", func(b []byte) []byte { content(b, phABI)[nhdrSize] = 's'; return nil },
			"No Solo5 ABI information found in executable"},
		{"note name not terminated", func(b []byte) []byte { content(b, phABI)[nhdrSize+5] = '6'; return nil },
			"No Solo5 ABI information found in executable"},
		{"note of another type", func(b []byte) []byte { content(b, phMFT)[8] = 'N'; return nil },
			"No Solo5 manifest found in executable"},
		{"note smaller than a header", func(b []byte) []byte { set(b, phMFT, pFilesz, 11); return nil },
			"program header 2 (PT_NOTE): note does not fall within valid size: 11 bytes, fewer than a note header's 12"},
		{"note too small for a name", func(b []byte) []byte { set(b, phABI, pFilesz, 19); return nil },
			"No Solo5 ABI information found in executable"},
		{"ABI note too small", func(b []byte) []byte { content(b, phABI)[4] = 15; return nil },
			"program header 1 (PT_NOTE): note does not fall within valid size: content of 15 bytes, expected 16 to 32"},
		{"ABI note too big", func(b []byte) []byte { content(b, phABI)[4] = 33; return nil }, "content of 33 bytes, expected 16 to 32"},
		{"manifest note of padding", func(b []byte) []byte { le.PutUint32(content(b, phMFT)[4:], 4); return nil },
			"note does not fall within valid size: content of 4 bytes, expected 5 to 6668"},
		{"manifest note too big", func(b []byte) []byte { le.PutUint32(content(b, phMFT)[4:], 6669); return nil },
			"content of 6669 bytes, expected 5 to 6668"},
		{"manifest note of 4 GB", func(b []byte) []byte { le.PutUint32(content(b, phMFT)[4:], math.MaxUint32); return nil },
			"content of 4294967295 bytes"},
		{"note exceeds its segment", func(b []byte) []byte { set(b, phABI, pFilesz, 35); return nil },
			"note does not fall within valid size: content of 16 bytes in a segment of 35"},
		{"note past the end", func(b []byte) []byte { set(b, phABI, pOffset, uint64(len(b))-19); return nil },
			"program header 1 (PT_NOTE): note header: the file is truncated"},
		{"note at the end of all numbers", func(b []byte) []byte { set(b, phABI, pOffset, math.MaxUint64); return nil },
			"note header: offset 0xffffffffffffffff: the file is truncated"},
		{"note content past the end", func(b []byte) []byte {
			note := bytes.Clone(content(b, phMFT)[:noteHeaderSize+8])
			set(b, phMFT, pOffset, uint64(len(b)))
			return append(b, note...)
		}, "program header 2 (PT_NOTE): note content: the file is truncated"},
		{"two ABI notes", func(b []byte) []byte {
			copy(field(b, phStack, 0)[:phdrSize], field(b, phABI, 0))
			return nil
		}, "program header 7 (PT_NOTE): second Solo5 note of type 0x31494241"},
		{"two manifests", func(b []byte) []byte {
			copy(field(b, phStack, 0)[:phdrSize], field(b, phMFT, 0))
			return nil
		}, "program header 7 (PT_NOTE): second Solo5 note of type 0x3154464d"},

		{"fault handler outside", func(b []byte) []byte { return withOwn(b, abi.NoteFLT1, 0x102000) },
			"fault handler 0x102000 lies in no executable segment"},
		{"timer words in the text", func(b []byte) []byte { return withOwn(b, abi.NoteTMR1, 0x100000) },
			"timer words 0x100000 lie in no writable segment"},
		{"word of signals in the text", func(b []byte) []byte { return withOwn(b, abi.NoteSIG1, 0x100000) },
			"word of signals 0x100000 lies in no writable segment"},
		{"word for the ring in the text", func(b []byte) []byte { return withOwn(b, abi.NoteRNG1, 0x100000) },
			"word for the network ring 0x100000 lies in no writable segment"},
		{"network ring for spt", func(b []byte) []byte { return withOwn(b, abi.NoteRNG1, 0x107000) },
			"a network ring, which is for hvt, in an image for spt"},
		{"generation in the text", func(b []byte) []byte { return withOwn(b, abi.NoteGEN1, 0x100000) },
			"words of a generation 0x100000 lie in no writable segment"},
		{"generation past the end", func(b []byte) []byte { return withOwn(b, abi.NoteGEN1, 0x108000-24) },
			"words of a generation 0x107fe8 lie in no writable segment"},
		{"timer words nowhere", func(b []byte) []byte { return withOwn(b, abi.NoteTMR1, math.MaxUint64-3) },
			"timer words 0xfffffffffffffffc lie in no writable segment"},
		{"timer words past the end", func(b []byte) []byte { return withOwn(b, abi.NoteTMR1, 0x108000-4) },
			"timer words 0x107ffc lie in no writable segment"},
		{"fault note too big", func(b []byte) []byte {
			b = withOwn(b, abi.NoteFLT1, 0x100000)
			content(b, phStack)[4] = 9
			return b
		}, "program header 7 (PT_NOTE): note does not fall within valid size: content of 9 bytes, expected 8 to 8"},

		{"target virtio", func(b []byte) []byte { content(b, phABI)[20] = 3; return nil }, "target virtio, expected hvt or spt"},
		{"target muen", func(b []byte) []byte { content(b, phABI)[20] = 4; return nil }, "target muen,"},
		{"target genode", func(b []byte) []byte { content(b, phABI)[20] = 5; return nil }, "target genode,"},
		{"target xen", func(b []byte) []byte { content(b, phABI)[20] = 6; return nil }, "target xen,"},
		{"target 7", func(b []byte) []byte { content(b, phABI)[20] = 7; return nil }, "target unknown target 7"},
		{"target 0", func(b []byte) []byte { content(b, phABI)[20] = 0; return nil }, "target unknown target 0"},
		{"ABI version 0", func(b []byte) []byte { content(b, phABI)[24] = 0; return nil }, "ABI version 0 of spt, expected 1 or 2"},
		{"ABI version 3", func(b []byte) []byte { content(b, phABI)[24] = 3; return nil }, "ABI version 3 of spt, expected 1 or 2"},
		{"bad manifest", func(b []byte) []byte { content(b, phMFT)[entry(1)] = '-'; return nil },
			`Solo5 manifest is invalid: entry 1: name "-tdin"`},

		{"align 0", func(b []byte) []byte { set(b, phRodata, pAlign, 0); return nil },
			"program header 4 (PT_LOAD): alignment 0x0 is not a power of two"},
		{"align 3 pages", func(b []byte) []byte { set(b, phRodata, pAlign, 0x3000); return nil },
			"program header 4 (PT_LOAD): alignment 0x3000 is not a power of two"},
		{"align 16", func(b []byte) []byte { set(b, phRodata, pAlign, 16); return nil },
			"program header 4 (PT_LOAD): range 0x102000 to 0x102010 is not page-aligned: alignment 0x10"},
		{"align 2 MB", func(b []byte) []byte { set(b, phText, pAlign, 0x200000); return nil },
			"program header 3 (PT_LOAD): address 0x100000, aligned to 0x200000, is below 0x100000"},
		{"align 8 EB", func(b []byte) []byte { set(b, phText, pAlign, 1<<63); return nil }, "is below 0x100000"},
		{"below 1 MB", func(b []byte) []byte { set(b, phText, pVaddr, 0xfffff); return nil },
			"program header 3 (PT_LOAD): address 0xfffff, aligned to 0x1000, is below 0x100000"},
		{"bss at 0", func(b []byte) []byte { set(b, phBSS, pVaddr, 0); return nil },
			"program header 6 (PT_LOAD): address 0x0, aligned to 0x1000, is below 0x100000"},
		{"descending", func(b []byte) []byte { set(b, phData, pVaddr, 0x100000); return nil },
			"program header 5 (PT_LOAD): range 0x100000 to 0x102000 overlaps or precedes program header 4, 0x102000 to 0x103000"},
		{"overlap", func(b []byte) []byte { set(b, phRodata, pVaddr, 0x101ff0); return nil },
			"program header 4 (PT_LOAD): range 0x101000 to 0x102000 overlaps or precedes program header 3, 0x100000 to 0x102000"},
		{"overlap by alignment", func(b []byte) []byte { set(b, phRodata, pAlign, 0x8000); return nil },
			"program header 4 (PT_LOAD): range 0x100000 to 0x108000 overlaps or precedes program header 3"},
		{"bss overlaps", func(b []byte) []byte { set(b, phBSS, pVaddr, 0x105fff); set(b, phData, pMemsz, 0x2ff1); return nil },
			"program header 6 (PT_LOAD): range 0x105000 to 0x108000 overlaps or precedes program header 5, 0x103000 to 0x107000"},
		{"W+X", func(b []byte) []byte { field(b, phData, pFlags)[0] = 3; return nil },
			"program header 5 (PT_LOAD): range 0x103000 to 0x106000 asks for -wx: writable and executable"},
		{"R+W+X", func(b []byte) []byte { field(b, phText, pFlags)[0] = 7; return nil },
			"program header 3 (PT_LOAD): range 0x100000 to 0x102000 asks for rwx: writable and executable"},
		{"filesz > memsz", func(b []byte) []byte { set(b, phRodata, pMemsz, 8); return nil },
			"program header 4 (PT_LOAD): size 0x9 in the file exceeds size 0x8 in memory"},
		{"filesz without memsz", func(b []byte) []byte { set(b, phRodata, pMemsz, 0); return nil },
			"size 0x9 in the file exceeds size 0x0 in memory"},
		{"end overflows", func(b []byte) []byte { set(b, phBSS, pMemsz, math.MaxUint64-0x106000+1); return nil },
			"program header 6 (PT_LOAD): address 0x106000 plus size 0xffffffffffefa000, aligned to 0x1000, overflows"},
		{"end overflows when aligned", func(b []byte) []byte { set(b, phBSS, pMemsz, math.MaxUint64-0x106000); return nil },
			"plus size 0xffffffffffef9fff, aligned to 0x1000, overflows"},
		{"offset overflows", func(b []byte) []byte { set(b, phText, pOffset, math.MaxUint64); return nil },
			"program header 3 (PT_LOAD): offset 0xffffffffffffffff plus size 0x1388 overflows"},
		{"offset past int64", func(b []byte) []byte { set(b, phText, pOffset, math.MaxInt64); return nil },
			"program header 3 (PT_LOAD): 0x1388 bytes at offset 0x7fffffffffffffff of the file"},
		{"one byte short", func(b []byte) []byte { return b[:len(b)-1] },
			"program header 5 (PT_LOAD): 0x9 bytes at offset 0x3010 of the file: the file is truncated"},
		{"no segments", func(b []byte) []byte {
			for ph := phText; ph <= phBSS; ph++ {
				set(b, ph, pFilesz, 0)
				set(b, ph, pMemsz, 0)
			}
			return nil
		}, "no segment to load"},
		{"entry 0", func(b []byte) []byte { le.PutUint64(b[24:], 0); return nil }, "entry 0x0 lies in no executable segment"},
		{"entry in rodata", func(b []byte) []byte { le.PutUint64(b[24:], 0x102000); return nil },
			"entry 0x102000 lies in no executable segment"},
		{"entry past the end", func(b []byte) []byte { le.PutUint64(b[24:], 0x108000); return nil },
			"entry 0x108000 lies in no executable segment"},
	}
	for _, tt := range tests {
		b := mustEncode(t, hello(SPT))
		if c := tt.patch(b); c != nil {
			b = c
		}
		m, err := Parse(bytes.NewReader(b))
		if err == nil {
			t.Errorf("%s: parsed as %+v", tt.name, m)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) || strings.ContainsRune(err.Error(), '\n') {
			t.Errorf("%s: error %q, expected one line with %q", tt.name, err, tt.want)
		}
	}
}

// TestTolerated is what Solo5's tenders load, odd as it is.
func TestTolerated(t *testing.T) {
	tests := []struct {
		name  string
		patch func(b []byte)
		end   uint64
	}{
		{"OS ABI", func(b []byte) { b[7], b[8] = 3, 1 }, 0x108000},
		{"align 1 of whole pages", func(b []byte) {
			set(b, phBSS, pAlign, 1)
			set(b, phBSS, pMemsz, 0x3000)
		}, 0x109000},
		{"align 64 KB", func(b []byte) {
			set(b, phBSS, pAlign, 0x10000)
			set(b, phBSS, pVaddr, 0x110010)
		}, 0x120000},
		{"empty PT_LOAD at 0", func(b []byte) {
			copy(field(b, phStack, pType), []byte{ptLoad, 0, 0, 0})
			set(b, phStack, pAlign, 0)
		}, 0x108000},
		{"flags of the OS", func(b []byte) { le.PutUint32(field(b, phRodata, pFlags), 0xfff00004) }, 0x108000},
		{"no access", func(b []byte) { le.PutUint32(field(b, phRodata, pFlags), 0) }, 0x108000},
		{"entry in the last page's padding", func(b []byte) { le.PutUint64(b[24:], 0x101fff) }, 0x108000},
		{"ABI 1", func(b []byte) { content(b, phABI)[24] = 1 }, 0x108000},
		{"ABI note with room to spare", func(b []byte) {
			content(b, phABI)[4] = 32
			set(b, phABI, pFilesz, 52)
		}, 0x108000},
	}
	for _, tt := range tests {
		b := mustEncode(t, hello(HVT))
		tt.patch(b)
		m, err := Parse(bytes.NewReader(b))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		checkInvariants(t, b, m)
		if m.End != tt.end {
			t.Errorf("%s: image ends at %#x, expected %#x", tt.name, m.End, tt.end)
		}
	}
}

// TestReadError keeps apart a file that cannot be read and one that is short.
func TestReadError(t *testing.T) {
	sick := errors.New("input/output error")
	b := mustEncode(t, hello(SPT))
	for n := 0; n < len(b); n += 16 {
		_, err := Parse(&failingReader{r: bytes.NewReader(b), good: int64(n), err: sick})
		if err != nil && !errors.Is(err, sick) {
			t.Fatalf("after %d good bytes: %v", n, err)
		}
		if err == nil && n < 0x3010 {
			t.Fatalf("after %d good bytes of %d: no error", n, len(b))
		}
	}
}

// failingReader fails all reads that touch a byte from good on.
type failingReader struct {
	r    io.ReaderAt
	good int64
	err  error
}

func (f *failingReader) ReadAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > f.good {
		return 0, f.err
	}
	return f.r.ReadAt(b, off)
}
