package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/testhost"
)

// badImages break one rule each. The parser's own tests have them all; these
// are the kinds of mistakes, seen from the command line.
func badImages(t testing.TB) map[string]struct {
	image []byte
	want  string
} {
	good := encode(t, exiting(0))
	patched := func(at int, value uint64, size int) []byte {
		b := append([]byte(nil), good...)
		copy(b[at:], binary.LittleEndian.AppendUint64(nil, value)[:size])
		return b
	}
	broken := func(change func(*image.Spec)) []byte {
		s := exiting(0, image.Entry{Name: "a", Type: image.Net}, image.Entry{Name: "b", Type: image.Block})
		change(&s)
		return encode(t, s)
	}
	mft := strings.Index(string(good), "1TFM")
	if mft < 0 {
		mft = strings.Index(string(good), "MFT1")
	}
	mft += 4 + 8 + 4 // name and padding
	type bad = struct {
		image []byte
		want  string
	}
	return map[string]bad{
		"empty":       {nil, "ELF header: the file is truncated"},
		"text":        {[]byte(strings.Repeat("hello, world\n", 100)), "not an ELF file"},
		"truncated":   {good[:len(good)-1], "the file is truncated"},
		"headers cut": {good[:100], "program headers: the file is truncated"},
		"no target":   {broken(func(s *image.Spec) { s.Target = 3 }), "image is for Solo5 target virtio, expected hvt or spt"},
		"no version":  {broken(func(s *image.Spec) { s.Version = 3 }), "ABI version 3 of spt, expected 1 or 2"},
		"overlapping": {broken(func(s *image.Spec) {
			s.Segments = append(s.Segments, image.SpecSegment{Vaddr: 0x100800, Data: []byte{1}, Prot: image.R})
		}), "overlaps or precedes"},
		"overflowing": {broken(func(s *image.Spec) {
			s.Segments = append(s.Segments, image.SpecSegment{Vaddr: 0x200000, Data: []byte{1}, Memsz: 1<<64 - 1, Prot: image.R})
		}), "overflows"},
		"too low":        {broken(func(s *image.Spec) { s.Segments[0].Vaddr = 0xff000 }), "is below 0x100000"},
		"W+X":            {broken(func(s *image.Spec) { s.Segments[0].Prot = image.R | image.W | image.X }), "writable and executable"},
		"entry":          {broken(func(s *image.Spec) { s.Entry = 0x300000 }), "entry 0x300000 lies in no executable segment"},
		"count":          {patched(mft+4, 65, 4), "65 entries, expected 1 to 64"},
		"version of mft": {patched(mft, 2, 4), "version 2, expected 1"},
		"name":           {broken(func(s *image.Spec) { s.Manifest[1].Name = "a/b" }), `name "a/b", expected one or more letters and digits`},
		"terminal name":  {broken(func(s *image.Spec) { s.Manifest[1].Name = "\x1b[31m" }), `"\x1b[31m"`},
		"twice":          {broken(func(s *image.Spec) { s.Manifest[2] = s.Manifest[1] }), `"a" is already declared by entry 1`},
		"type":           {broken(func(s *image.Spec) { s.Manifest[2].Type = 7 }), "unknown type 7"},
	}
}

func TestBadImages(t *testing.T) {
	t.Parallel()
	for name, bad := range badImages(t) {
		t.Run(name, func(t *testing.T) {
			path := file(t, "kernel.spt", bad.image)
			for _, args := range [][]string{
				{"run", path}, {"seal", "-o", filepath.Join(filepath.Dir(path), "sealed"), path}, {"policy", path}, {"inspect", path}, {"manifest", "query", path},
			} {
				r := gocat(t, args...)
				r.wantError(t, "gocat", bad.want)
				if !strings.HasPrefix(r.stderr, "gocat: "+path+": ") {
					t.Errorf("the error does not begin with the image's name: %q", r.stderr)
				}
			}
			wantFiles(t, filepath.Dir(path), "kernel.spt")
			call{program: links + "/solo5-spt", args: []string{path}}.run(t).wantError(t, "solo5-spt", bad.want)
		})
	}
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	net := kernel(t, exiting(0, image.Entry{Name: "a", Type: image.Net}))
	block := kernel(t, exiting(0, image.Entry{Name: "b", Type: image.Block}))
	none := kernel(t, exiting(0))
	big := exiting(0)
	big.Segments[0].Memsz = 3 << 20
	odd := file(t, "odd.img", make([]byte, 600))
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{dir + "/missing"}, "could not open: no such file or directory"},
		{[]string{dir + "/two\nlines"}, `two\nlines: could not open`},
		{[]string{""}, "KERNEL is empty"},
		{[]string{dir}, "not a regular file"},
		{[]string{fifo}, "not a regular file"},
		{[]string{"--nonsense", none}, "unknown option --nonsense: see --help"},
		{[]string{"--memm=4", none}, "unknown option --memm=4; did you mean --mem? See --help"},
		{[]string{"-x", none}, "unknown option -x: see --help"},
		{[]string{"--mem"}, "option --mem needs a value: MB"},
		{[]string{"--quote=1", none}, "takes no value"},
		{[]string{"--mem:a=1", none}, "unknown option"},
		{[]string{"--mem=0", none}, `"0": want a number of megabytes`},
		{[]string{"--mem=-1", none}, `"-1": want a number of megabytes`},
		{[]string{"--mem=2x", none}, `"2x": want a number of megabytes`},
		{[]string{"--mem=99999999999999999999", none}, "want a number of megabytes"},
		{[]string{"--mem=4K", none}, `"4K": want a number of megabytes`},
		{[]string{"--mem=G", none}, `"G": want a number of megabytes`},
		{[]string{"--mem=18014398509481985G", none}, "want a number of megabytes"},
		{[]string{"--mem=2", kernel(t, big)}, "past the guest's memory of 2 MB: give at least --mem=6"},
		{[]string{"--backend=xen", none}, `"xen": want spt or hvt`},
		{[]string{"--backend=hvt", none}, "is built for spt, not for hvt: run it with --backend=spt"},
		{[]string{"--eof=never", none}, `"never": want auto, zero or again`},
		{[]string{"--eof=again", none}, "only --backend=hvt can hide it"},
		{[]string{"--guest=fast"}, `"fast": want advanced or simple`},
		{[]string{"--profile=lax", none}, `"lax": want solo5 or strict`},
		{[]string{none, strings.Repeat("x", 8192)}, "command line is 8192 bytes long: at most 8191"},

		{[]string{net}, "declared but not attached: net 'a': give --net a=IFACE|@FD|user"},
		{[]string{net, "--net", "a=@0"}, "options go before the unikernel, and --net a=@0 comes after it: gocat run --net a=@0 " + net},
		{[]string{net, "x", "--net:a=@0"}, "options go before the unikernel, and --net:a=@0 comes after it"},
		{[]string{block, "--block=b=x"}, "options go before the unikernel, and --block=b=x comes after it"},
		{[]string{"--net:b=tap0", net}, "no such net device; it declares net 'a'"},
		{[]string{"--net:a=tap0", none}, "it declares no devices"},
		{[]string{"--net:a=nosuchtap", net}, `no interface "nosuchtap"`},
		{[]string{"--net:a=lo", net}, `interface "lo"`},
		{[]string{"--net=a=", net}, `interface ""`},
		{[]string{"--net=a", net}, "want NAME=IFACE or NAME=@FD"},
		{[]string{"--net:a=@x", net}, "want @ and a decimal number"},
		{[]string{"--net:a=@-1", net}, "want @ and a decimal number"},
		{[]string{"--net:a=@99", net}, "descriptor 99 is not open"},
		{[]string{"--net:a=@1", net}, "descriptor 1 is not readable: it is open for writing only"},
		{[]string{"--net:a=@0", "--net-mac:a=1:2", net}, `MAC address "1:2"`},
		{[]string{"--net:a=@0", "--net-mtu=a=65536", net}, `MTU "65536"`},
		{[]string{block}, "declared but not attached: block 'b': give --block b=PATH"},
		{[]string{"--block:b=" + dir, block}, "is a directory; want a regular file"},
		{[]string{"--block:b=" + dir + "/missing", block}, "no such file or directory"},
		{[]string{"--block:b=" + odd, block}, "Backing storage size must be block aligned (512 bytes), it is 600 bytes"},
		{[]string{"--block:b=" + odd, "--block-sector-size:b=521", block}, "Block size must be a multiple of 2"},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			work := t.TempDir()
			call{dir: work, args: append([]string{"run"}, test.args...)}.run(t).wantError(t, "gocat", test.want)
			wantFiles(t, work)
		})
	}
}

// What the user may not open is said so, also where it is there.
func TestUnprivileged(t *testing.T) {
	testhost.NeedRoot(t, "to become another user")
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir), filepath.Dir(program)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	disk := filepath.Join(dir, "disk")
	image := filepath.Join(dir, "kernel")
	for _, path := range []string{disk, image} {
		if err := os.WriteFile(path, make([]byte, 512), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	block := kernel(t, exiting(0, imageBlock("b")))
	if err := os.Chmod(filepath.Dir(block), 0o755); err != nil {
		t.Fatal(err)
	}
	nobody := func(args ...string) result { return call{args: args, nobody: true, dir: "/"}.run(t) }
	nobody("run", image).wantError(t, "gocat", "could not open: permission denied")
	nobody("run", "--block:b="+disk, block).wantError(t, "gocat", "permission denied")
	nobody("seal", "-o", filepath.Join(dir, "cat")).wantError(t, "gocat", "permission denied")
	wantFiles(t, dir, "disk", "kernel")
}

func imageBlock(name string) image.Entry { return image.Entry{Name: name, Type: image.Block} }

func TestBadCommands(t *testing.T) {
	t.Parallel()
	none := kernel(t, exiting(0))
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"rnu"}, `unknown command "rnu"; did you mean run? See gocat --help`},
		{[]string{"frobnicate"}, `unknown command "frobnicate": see gocat --help`},
		{[]string{"manifest", "qery"}, `unknown command "qery"; did you mean query? See gocat manifest --help`},
		{[]string{"--nonsense"}, "unknown option --nonsense: see gocat --help"},
		{[]string{"bench", "--fromat=json"}, "unknown option --fromat; did you mean --format? See gocat bench --help"},
		{[]string{"bench", "-x"}, "unknown option -x: see gocat bench --help"},
		{[]string{"bench", "--format"}, "option --format needs a value: table|json|go|html"},
		{[]string{"bench", "--count=x"}, `--count: "x": want a number`},
		{[]string{"bench", "--format=go", "-o", "x.html"}, "--output: x.html ends in .html, but --format is go"},
		{[]string{"compare", "--timeout=x"}, `--timeout: "x": want a time, such as 20s`},
		{[]string{"compare", "--format=table", "-o", "x.json"}, "--output: x.json ends in .json, but --format is table"},
		{[]string{"compare", "-o", "x.txt2"}, "--output: x.txt2 ends in .txt2, which says no format: give one with --format"},
		{[]string{"bench", "-o", "x.md"}, "--output: x.md ends in .md, which says no format: give one with --format"},
		{[]string{"image", "-o", "x.tar.gz"}, "--output: x.tar.gz ends in .gz, which says no format: give one with --format"},
		{[]string{"build", "-o", "x.hvt", "--target=spt"}, "--output: x.hvt is the name of an image for hvt, but --target is spt"},
		{[]string{"guest", "-o", "x.spt", "--backend=hvt"}, "--output: x.spt is the name of an image for spt, but --backend is hvt"},
		{[]string{"version", "x"}, `unexpected argument "x": gocat version`},
		{[]string{"inspect"}, "KERNEL is missing: gocat inspect KERNEL"},
		{[]string{"inspect", none, "x"}, `unexpected argument "x": gocat inspect KERNEL`},
		{[]string{"inspect", "--format=xml", none}, `--format: "xml": want text or json`},
		{[]string{"inspect", ""}, "KERNEL is empty"},
		{[]string{"policy", "--format=xml", none}, `--format: "xml": want text, json, bpf or raw`},
		{[]string{"policy", "--format", "raw", "--eof=again"}, "only --backend=hvt can hide it"},
		{[]string{"seal", none}, "give one with -o FILE"},
		{[]string{"seal", "-o", "", none}, "--output: want FILE"},
		{[]string{"doctor", "--format=xml"}, `--format: "xml": want text or json`},
		{[]string{"guest"}, "give one with -o FILE"},
		{[]string{"guest", "-o", "x", "fancy"}, `"fancy": want advanced or simple`},
		{[]string{"guest", "-o", "x", "--backend=xen"}, `--backend: "xen": want spt or hvt`},
		{[]string{"help", "nonsense"}, `unknown command "nonsense": see gocat --help`},
		{[]string{"completion", "nonsense"}, "nonsense"},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			work := t.TempDir()
			call{dir: work, args: test.args}.run(t).wantError(t, "gocat", test.want)
			wantFiles(t, work)
		})
	}
}

// wantFiles fails t unless dir holds exactly the named files.
func wantFiles(t testing.TB, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("%s holds %q, want %q", dir, got, names)
	}
}
